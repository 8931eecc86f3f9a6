"""What a search on several data sets at once learns from: their cases, looked at through the plan of the first.

The first data set's plan gives architecture, patch and batch size; labels, spacing, normalisation and preprocessed
files are each data set's own. A fold's training cases are split by patient, data set by data set: one part trains the
weights, the other the architecture, as in a search on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.cases.image_samples import PreparedData
from nnunet_iac.nnunet.cases.loaders import open_stream
from nnunet_iac.nnunet.files.plans import configuration_of, preprocessed_folder, with_genotype
from nnunet_iac.nnunet.files.weights import WeightTarget, weight_target
from nnunet_iac.nnunet.supernets.supernet_data import StandIn, SupernetData, supernet_data
from nnunet_iac.nnunet.training.cell_search import SearchData
from nnunet_iac.search.heads import HeadLoss
from nnunet_iac.search.turns import Turns

FIRST_STREAM = 200
"""Number of the first data set's first batch stream; each data set has two. Other runs use lower ones."""


@dataclass(frozen=True, eq=False)
class MultiData:
    """The data sets of a search.

    Attributes:
        parts: of each data set, with the first one's architecture, patch and batch size: ``training`` trains the
            weights, ``selection`` the architecture.
        target: the first one's network without cells, with the outputs of all heads.
    """

    parts: tuple[SupernetData, ...]
    target: WeightTarget

    @property
    def datasets(self) -> list[str]:
        """Names, in the order of the heads."""
        return [part.training.dataset for part in self.parts]

    @property
    def heads(self) -> list[int]:
        """Outputs of each head."""
        return [part.target.outputs for part in self.parts]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the image channels; ``""`` where the data sets disagree."""
        names = zip(*(part.target.interface.channels for part in self.parts), strict=True)
        return tuple(found[0] if len(set(found)) == 1 else "" for found in names)

    @property
    def identity(self) -> dict[str, Any]:
        """What two searches must agree on to be the same; the order counts, and no case is named."""
        return {"parts": [part.identity for part in self.parts], "heads": self.heads}

    def loss(self) -> HeadLoss:
        """Return nnU-Net's loss of each data set on its head, under deep supervision."""
        return HeadLoss(self.heads, [part.loss(deep_supervision=True) for part in self.parts])

    def search_data(self, seed: int, device: torch.device) -> SearchData:
        """Return the batches by turns, with cases named ``<data set>/<case>``."""

        def open_turns(cases: list[str], stream: int, start: int, augment: bool) -> Turns:
            side = stream % 2  # the streams of a search are 2 (weights) and 3 (architecture)
            tasks = [StandIn(part, device, deep_supervision=True) for part in self.parts]
            own = [_of(part.training.dataset, cases) for part in self.parts]

            def opener(number: int) -> Any:
                return lambda first: open_stream(
                    tasks[number],
                    own[number],
                    augment=augment,
                    seed=seed,
                    stream=FIRST_STREAM + 2 * number + side,
                    start=first,
                    share=2 * len(self.parts),
                )

            return Turns([opener(number) for number in range(len(self.parts))], start, self.datasets)

        unknown = [part.training.dataset for part in self.parts if part.patients is None]
        return SearchData(
            weights=_named([part.training for part in self.parts]),
            architecture=_named([part.selection for part in self.parts]),
            open_stream=open_turns,
            source=None if unknown else "; ".join(str(part.patients) for part in self.parts),
            identity=self.identity,
        )


def multi_data(
    datasets: Sequence[str],
    configuration: str,
    plans_name: str = "nnUNetPlans",
    *,
    fold: int | str = 0,
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    fraction: float = 0.5,
) -> MultiData:
    """Find the data of a search on several data sets; nothing is trained or written.

    Args:
        datasets: numbers or names; the first one's plan gives the architecture.
        configuration: of the plans, the same name in all data sets.
        plans_name: of the plans, the same name in all data sets.
        fold: whose training cases are taken, or ``all``.
        patch_size: None for that of the first one's plan.
        batch_size: None for that of the first one's plan.
        fraction: of each data set's training patients whose cases train the architecture.

    Raises:
        FileNotFoundError: if plans, ``dataset.json`` or preprocessed cases are missing.
        ValueError: if there are fewer than two data sets, one is named twice, one has another number of image channels
            or dimensions than the first, or one has a single patient; the message names it.
        NotImplementedError: for the second stage of a cascade.
    """
    names = [preprocessed_folder(dataset).name for dataset in datasets]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"-d: expected two or more different data sets with --multi, got {names}")
    own = {"patch_size": patch_size, "batch_size": batch_size}
    parts = [
        _part(name, configuration, plans_name, fold=fold, share=fraction, **({} if number else own))
        for number, name in enumerate(names)
    ]
    first = parts[0]
    if problems := [problem for part in parts[1:] if (problem := _misfit(part, first))]:
        raise ValueError("-d: " + "; ".join(problems) + "; leave these out, or search on them in another run")
    plans = with_genotype(first.training.plans, configuration, Genotype.identity())
    target = weight_target(plans, configuration, dict(first.training.content))
    alike = (first, *(_seen_as(part, first) for part in parts[1:]))
    return MultiData(alike, replace(target, outputs=sum(part.target.outputs for part in alike)))


def _part(name: str, configuration: str, plans_name: str, **more: Any) -> SupernetData:
    try:
        return supernet_data(name, configuration, plans_name, **more)
    except ValueError as error:
        raise error if name in str(error) else ValueError(f"{name}: {error}") from error


def _misfit(part: SupernetData, first: SupernetData) -> str:
    """Return in words why a data set cannot share the first one's network; empty if it can."""
    found, wanted = ((one.target.inputs, one.training.dimensions) for one in (part, first))
    if found == wanted:
        return ""
    return (
        f"expected {wanted[0]} image channel(s) in {wanted[1]}D as {first.training.dataset} has, got {found[0]} in "
        f"{found[1]}D of {part.training.dataset}"
    )


def _seen_as(part: SupernetData, first: SupernetData) -> SupernetData:
    """Return a data set's part with the first one's architecture, patch and batch size."""
    configuration, size = part.training.configuration, first.training.patch_size
    plans = deepcopy(part.training.plans)
    # The whole architecture, because nnU-Net merges inherited configurations one level deep.
    architecture = configuration_of(first.training.plans, configuration)["architecture"]
    plans["configurations"][configuration]["architecture"] = architecture
    training, selection = (replace(side, plans=plans, patch_size=size) for side in (part.training, part.selection))
    target = weight_target(plans, configuration, dict(part.training.content))
    return replace(part, training=training, selection=selection, target=target, batch_size=first.batch_size)


def _named(parts: Sequence[PreparedData]) -> list[str]:
    return [f"{part.dataset}/{case}" for part in parts for case in part.cases]


def _of(dataset: str, cases: Sequence[str]) -> list[str]:
    """Return the names of a data set's cases, as its files have them."""
    return [case.removeprefix(f"{dataset}/") for case in cases if case.startswith(f"{dataset}/")]
