"""What the meta-space learns from: a data set's image features, and sub-networks with how well each did on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_iac.metaspace.topology import TOPOLOGY
from nnunet_iac.similarity.labelled_features import LabelledFeatures, label_groups
from nnunet_iac.similarity.mixture import LabelGaussians, label_gaussians
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DatasetSample:
    """Features of images of a data set, from a frozen encoder.

    Attributes:
        name: of the data set, such as ``Dataset027_ACDC``.
        features: ``(N, F)``, one row for each image (or label region of an image), kept as float64.
        encoder: what says which encoder made the features, as JSON; features of others cannot be compared.
        labels: ``(N,)``, the label of each row; without them all rows are of one label.

    Raises:
        ValueError: if there is no row, a number is not finite, or the labels do not fit.

    Example:
        >>> DatasetSample("Dataset001_A", [[0.0, 1.0], [2.0, 3.0]], "random 2d").features.shape
        (2, 2)
    """

    name: str
    features: Array
    encoder: Any
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        features = finite_rows(f"features of {self.name}", self.features)
        labels = np.zeros(len(features), dtype=np.int64) if self.labels is None else np.asarray(self.labels)
        side = LabelledFeatures(features, labels)
        object.__setattr__(self, "features", side.features)
        object.__setattr__(self, "labels", side.labels)

    @property
    def gaussians(self) -> LabelGaussians:
        """The Gaussians of its labels, for distances between data sets."""
        return label_gaussians(label_groups(LabelledFeatures(self.features, np.asarray(self.labels))))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Sub-networks of one supernet, with how well they did on its data set.

    Attributes:
        topology: ``(n, TOPOLOGY)``, see :mod:`nnunet_iac.metaspace.topology`.
        responses: ``(n, R)``, what each answers to fixed noise; ``R`` may differ between supernets.
        dice: ``(n,)``, performance, 0 to 1.
        parameters: ``(n,)``, their numbers of parameters.
        configurations: of each.
        supernet: id of the supernet's entry in the zoo; empty if there is none.
        space: that the configurations are of; None if it is not known.
        ancestors: other data sets that the supernet's weights have seen, because its host started from them.

    Raises:
        ValueError: if lengths do not fit, there are fewer than two, a number is not finite, or all do equally well;
            all faults are named together.
    """

    topology: Array
    responses: Array
    dice: Array
    parameters: Array
    configurations: tuple[SubnetConfiguration, ...]
    supernet: str = ""
    space: ElasticSpace | None = None
    ancestors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("topology", "responses"):
            object.__setattr__(self, name, finite_rows(name, getattr(self, name)))
        for name in ("dice", "parameters"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "configurations", tuple(self.configurations))
        problems = [*_length_problems(self), *_dice_problems(self.dice)]
        if problems:
            raise ValueError("candidates: " + "; ".join(problems))

    def __len__(self) -> int:
        return len(self.dice)


@dataclass(frozen=True, eq=False)
class Task:
    """A data set under one configuration of its plans, with candidates that were scored on it.

    Tasks of the same data set (folds, 2D and 3D) are left out together when one is held out.

    Attributes:
        name: for people, unique among the tasks of a fit.
        sample: images of the data set.
        candidates: sub-networks.
    """

    name: str
    sample: DatasetSample
    candidates: Candidates

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.sample.name

    @property
    def digest(self) -> str:
        """SHA-256 of what a fit learns from: features, candidates and how well each did; the same on every machine."""
        told, found = self.candidates, hashlib.sha256()
        arrays = (self.sample.features, np.asarray(self.sample.labels), told.responses, told.dice, told.parameters)
        for array in arrays:
            found.update(f"{array.shape}".encode() + np.ascontiguousarray(array, dtype="<f8").tobytes())
        found.update(json.dumps([one.to_dict() for one in told.configurations]).encode())
        return found.hexdigest()

    @property
    def lineage(self) -> tuple[str, ...]:
        """The data sets that the candidates' weights have seen, its own first."""
        return (self.dataset, *self.candidates.ancestors)


def check_tasks(tasks: Sequence[Task], least: int) -> None:
    """Check that tasks can be learned from together.

    Raises:
        ValueError: if there are too few data sets, names repeat, or features come from different encoders.
    """
    datasets = sorted({task.dataset for task in tasks})
    if len(datasets) < least:
        raise ValueError(
            f"tasks: expected at least {least} data sets, got {len(datasets)} ({', '.join(datasets) or 'none'}); "
            "build more with nnunet-iac zoo build"
        )
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError(f"tasks: expected names of their own, got {[task.name for task in tasks]}")
    first = tasks[0].sample
    for task in tasks[1:]:
        check_encoder(task.name, task.sample, first.encoder, first.features.shape[1])


def check_encoder(argument: str, sample: DatasetSample, encoder: Any, width: int) -> None:
    """Check that a sample's features come from an encoder.

    Raises:
        ValueError: naming both encoders, or both numbers of features.
    """
    if sample.encoder != encoder:
        raise ValueError(
            f"{argument}: expected features of the encoder {encoder!r}, got {sample.encoder!r}; embed all data sets "
            "with one encoder, or choose one plans configuration (-c)"
        )
    if sample.features.shape[1] != width:
        raise ValueError(f"{argument}: expected {width} features of each image, got {sample.features.shape[1]}")


def finite_rows(name: str, values: ArrayLike) -> Array:
    """Return an array ``(n, columns)`` of finite numbers as float64.

    Raises:
        ValueError: if it is not.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name}: expected (rows, columns) with at least one of each, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity in {_bad_rows(rows)} rows; drop them")
    return rows


def _bad_rows(rows: Array) -> int:
    return int((~np.isfinite(rows).all(axis=1)).sum())


def _length_problems(candidates: Candidates) -> list[str]:
    count, problems = len(candidates.topology), []
    if candidates.topology.shape[1] != TOPOLOGY:
        problems.append(f"topology: expected {TOPOLOGY} columns, got {candidates.topology.shape[1]}")
    if len(candidates.responses) != count or len(candidates.configurations) != count:
        problems.append(
            f"expected {count} responses and configurations as in topology, got {len(candidates.responses)} and "
            f"{len(candidates.configurations)}"
        )
    for name in ("dice", "parameters"):
        values = getattr(candidates, name)
        if values.shape != (count,) or not np.isfinite(values).all():
            problems.append(f"{name}: expected {count} finite numbers, got shape {values.shape} or NaN among them")
    return problems


def _dice_problems(dice: Array) -> list[str]:
    if not np.isfinite(dice).all():
        return []
    if ((dice < 0) | (dice > 1)).any():
        return [f"dice: expected numbers from 0 to 1, got {dice.min():g} to {dice.max():g}; percent must be divided"]
    if dice.size < 2 or dice.min() == dice.max():
        return ["dice: expected at least two candidates that differ, got equal performances: there is nothing to rank"]
    return []
