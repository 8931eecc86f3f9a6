"""Everything of ``nnunet-iac zoo build`` but the zoo: train the supernet, measure candidates, describe the data.

Each step leaves a file in the build's folder that a later run goes on from; see
:mod:`nnunet_iac.nnunet.supernets.supernet_entries` for what then goes into the zoo.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_iac.atomic import write_text
from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.cases.dataset_features import region_features
from nnunet_iac.nnunet.cases.encoders import RANDOM
from nnunet_iac.nnunet.files.run_state import damaged, read_state, write_state
from nnunet_iac.nnunet.files.weights import WeightTarget
from nnunet_iac.nnunet.supernets.supernet_data import SupernetData
from nnunet_iac.nnunet.supernets.supernet_host import SupernetHost
from nnunet_iac.nnunet.supernets.supernet_measure import PatchMeasure
from nnunet_iac.nnunet.supernets.supernet_run import Lessons, Log, SupernetRun
from nnunet_iac.zoo.candidates import SEED, sample_candidates
from nnunet_iac.zoo.candidates_response import NoisePlan, functional_response
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import MULTIPLE
from nnunet_iac.zoo.shrinking import SupernetPlan
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.supernet import ElasticUNet
from nnunet_iac.zoo.weights_files import sha256_of, to_bytes

STATE, CURVE, CANDIDATES, FEATURES = "supernet_state.pt", "supernet.jsonl", "candidates.pt", "features.pt"
BEFORE = "before_shrinking.pt"

FILES = (STATE, CURVE, CANDIDATES, FEATURES, BEFORE)
"""Files of a build; the curve follows from the state."""

LOST, DEAD, MANY = 0.05, 0.05, 0.2
"""Our choice: a largest network that lost this much Dice by shrinking was damaged by it, and a sub-network below this
Dice has learned nothing; with a larger share of those, an order of the sub-networks says little."""


@dataclass(frozen=True)
class BuildPlan:
    """What a build does.

    Attributes:
        training: of the supernet.
        iterations: steps of an epoch.
        multiple: what channel counts are multiples of.
        candidates: sub-networks that are measured.
        measured: patches that each is measured on.
        features: patches whose features describe the data set.
        noise: images that each candidate answers to.

    Raises:
        ValueError: if a number is out of range.
    """

    training: SupernetPlan = field(default_factory=SupernetPlan)
    iterations: int = 250
    multiple: int = MULTIPLE
    candidates: int = 100
    measured: int = 64
    features: int = 128
    noise: NoisePlan = field(default_factory=NoisePlan)

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"--features: expected at least one patch, got {self.features}")


@dataclass(frozen=True, eq=False)
class Measured:
    """Candidates and what was measured, in their order; see :class:`~nnunet_iac.zoo.candidates_entries.Candidates`."""

    configurations: tuple[SubnetConfiguration, ...]
    dice: NDArray[np.float64]
    loss: NDArray[np.float64]
    responses: NDArray[np.float32]


def doubts(dice: Sequence[float], before: float | None) -> list[str]:
    """Return what makes the order of a build's candidates doubtful, in sentences with a remedy.

    Args:
        dice: of the candidates, the largest network first.
        before: of the largest network before shrinking, None if unknown.

    Example:
        >>> doubts([0.8, 0.7, 0.6], before=0.81)
        []
        >>> doubts([0.5, 0.0, 0.6], before=0.81)[0][:72]
        'shrinking has damaged the largest network: its Dice was 0.8100 before an'
    """
    found = []
    if before is not None and before - dice[0] > LOST:
        found.append(
            f"shrinking has damaged the largest network: its Dice was {before:.4f} before and is {dice[0]:.4f}; give "
            "more epochs (--width-epochs), or a lower --shrinking-learning-rate"
        )
    dead = sum(one < DEAD for one in dice)
    if dead > MANY * len(dice):
        found.append(
            f"{dead} of {len(dice)} candidates have a Dice below {DEAD}: they have not learned to segment, so their "
            "order says little; give more epochs (--width-epochs, --iterations)"
        )
    return found


def fresh_supernet(target: WeightTarget, multiple: int, seed: int, **more: Any) -> ElasticUNet:
    """Return the supernet of a plan with the weights that nnU-Net draws from a seed.

    Raises:
        ValueError: if the plan's network is not a stock host, or the widths do not suit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ElasticUNet(target.architecture, target.inputs, target.outputs, multiple=multiple, **more)


class SupernetBuild:
    """A build on its way.

    Args:
        data: what it learns from and is measured on.
        plan: what it does.
        folder: for its files; must exist when it runs.
        device: where to compute.
        host: a trained host to start from.

    Raises:
        ValueError: if the plan's network has no such space, or not so many candidates, or nothing would train the
            full network.
    """

    def __init__(
        self,
        data: SupernetData,
        plan: BuildPlan,
        folder: Path,
        device: torch.device,
        host: SupernetHost | None = None,
    ) -> None:
        self.data, self.plan, self.folder, self.device, self.host = data, plan, folder, device, host
        seed = plan.training.seed
        if host is None and plan.training.full_epochs == 0:
            raise ValueError(
                "--full-epochs: expected at least 1 where no trained host is given, got 0; give one with --host"
            )
        self.measure_patches = PatchMeasure(data, plan.measured, seed, device)
        self.supernet = fresh_supernet(data.target, plan.multiple, seed)
        self.configurations = sample_candidates(self.supernet.space, plan.candidates)
        if host is not None:
            host.load_into(self.supernet)
        lessons = Lessons(
            lambda start: data.batches(seed=seed, start=start, device=device),
            data.loss(deep_supervision=True),
            data.activation,
            plan.iterations,
        )
        identity = {
            "data": data.identity,
            "architecture": data.target.architecture,
            "multiple": plan.multiple,
            "host": None if host is None else host.sha256,
        }
        self.run = SupernetRun(self.supernet, plan.training, lessons, folder / STATE, identity, device)

    def resume(self) -> bool:
        """Go on where an earlier run was stopped; see :meth:`SupernetRun.resume`."""
        return self.run.resume()

    def train(self, log: Log) -> None:
        """Train what is left."""

        def say(text: str) -> None:
            self._write_curve()
            log(text)

        if self.run.epoch == 0:  # whatever is there was measured by another build
            (self.folder / BEFORE).unlink(missing_ok=True)
        self.run.run(say, until=max(self.plan.training.full_epochs, self.run.epoch))
        if self.run.epoch == self.plan.training.full_epochs and not (self.folder / BEFORE).is_file():
            self._measure_before(log)
        self.run.run(say)
        self._write_curve()

    @property
    def dice_before(self) -> float | None:
        """Dice of the largest network before it shared its weights with others; None if nobody measured it then.

        Raises:
            ValueError: if the file of an earlier run is damaged, or of another run.
        """
        path = self.folder / BEFORE
        remedy = f"remove {path}; the figure will be missing"
        state = read_state(path, self._before_identity, remedy=remedy)
        if state is None:
            return None
        try:
            return float(state["dice"])
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(path, error, remedy) from error

    def _measure_before(self, log: Log) -> None:
        estimate = self.measure_patches(extract(self.supernet, self.supernet.space.largest).network.to(self.device))
        write_state(self.folder / BEFORE, self._before_identity, {"dice": estimate.dice, "loss": estimate.loss})
        log(f"largest network before shrinking: Dice {estimate.dice:.4f} on {self.plan.measured} held-out patches")

    def measure(self, log: Log) -> Measured:
        """Measure the candidates that were not measured yet, one state after each.

        Raises:
            ValueError: if the file of an earlier run holds others, or is damaged.
        """
        path, identity = self.folder / CANDIDATES, self._candidates_identity()
        rows = _rows(path, identity)
        if rows:
            log(f"{len(rows)} of {len(self.configurations)} candidates were measured before")
        noise = self.plan.noise.draw(self.supernet.input_channels, self.data.training.patch_size)
        width = self.supernet.space.features[-1]
        left = self.configurations[len(rows) :]
        for configuration in tqdm(left, desc="candidates", leave=False, disable=None):
            network = extract(self.supernet, configuration).network
            estimate = self.measure_patches(network)
            response = functional_response(network, noise, width)
            rows.append((estimate.dice, estimate.loss, response.tolist()))
            write_state(path, identity, {"rows": rows})
        dice, loss, responses = zip(*rows, strict=True)
        return Measured(self.configurations, np.array(dice), np.array(loss), np.array(responses, dtype=np.float32))

    def describe_data(self) -> dict[str, torch.Tensor]:
        """Return ``features`` ``(N, F)`` and ``labels`` ``(N,)`` of regions of the supernet part; kept in a file.

        Raises:
            ValueError: if no patch has a labelled voxel, or the file of an earlier run holds others or is damaged.
        """
        path, data, seed = self.folder / FEATURES, self.data.training, self.plan.training.seed
        identity, remedy = self.features_facts, f"remove {path} to make them anew"
        state = read_state(path, identity, remedy=remedy)
        if state is None:
            side = region_features(data, patches=self.plan.features, seed=seed, device=self.device)
            state = {"features": torch.as_tensor(side.features).float(), "labels": torch.as_tensor(side.labels)}
            write_state(path, identity, state)
        try:
            return {name: state[name] for name in ("features", "labels")}
        except KeyError as error:
            raise damaged(path, error, remedy) from error

    @property
    def features_facts(self) -> dict[str, Any]:
        """How the data set's features were made, as JSON has it."""
        return {
            "encoder": RANDOM,
            "patches": self.plan.features,
            "seed": self.plan.training.seed,
            "data": self.data.identity,
        }

    @property
    def _before_identity(self) -> dict[str, Any]:
        return {**self.run.identity, "measured": self.measure_patches.description}

    def _candidates_identity(self) -> dict[str, Any]:
        weights = sha256_of(to_bytes(unique_tensors(self.supernet)))
        return {
            "weights": weights,
            "candidates": len(self.configurations),
            "seed": SEED,
            "measured": self.measure_patches.description,
            "noise": self.plan.noise.to_dict(),
            "data": self.data.identity,
        }

    def _write_curve(self) -> None:
        lines = [json.dumps(row) for row in self.run.history]
        write_text(self.folder / CURVE, "\n".join(lines) + "\n")


def _rows(path: Path, identity: dict[str, Any]) -> list[tuple[float, float, list[float]]]:
    remedy = f"remove {path} to measure anew with the same supernet"
    state = read_state(path, identity, remedy=remedy)
    if state is None:
        return []
    try:
        return [(float(dice), float(loss), list(response)) for dice, loss, response in state["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from error
