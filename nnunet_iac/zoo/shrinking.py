"""When a supernet learns what: progressive shrinking and the sandwich rule, as a plan that decides and never trains.

Sources: once-for-all (first the largest network, then depth, then width), universally slimmable networks (sandwich
rule: largest, smallest and a few random ones in each step), MedNNS (its four stages and their numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace

PhaseName = Literal["full", "depth", "width"]


@dataclass(frozen=True)
class Phase:
    """Where in the schedule an epoch stands.

    Attributes:
        name: ``full`` trains the largest network alone; ``depth`` all depths at full width; ``width`` all networks.
        epoch: number of the epoch within the phase, from 0.
        epochs: length of the phase.
    """

    name: PhaseName
    epoch: int
    epochs: int


@dataclass(frozen=True)
class SupernetPlan:
    """How a supernet is trained.

    MedNNS trains 100, 10, 10 and 30 epochs (full; depth; width; sandwich) at rates 0.1, 5e-4, 5e-4 and 1e-4, four
    networks a step in the middle, eight in the sandwich, all from ImageNet weights. Scaled to segmentation, our choice:
    its last two stages are one phase of 40; optimiser and first rate are nnU-Net's, which start from nothing; the rate
    falls to a tenth for the shrinking (not to a thousandth, since the narrow networks too start from nothing); four
    networks a step, as a step of a U-Net is dear; soft targets instead of label smoothing.

    Attributes:
        full_epochs: epochs of the largest network alone; 0 if a trained host was loaded.
        depth_epochs: epochs with elastic depth.
        width_epochs: epochs with elastic depth and width.
        random_networks: drawn in each step besides largest and smallest.
        learning_rate: initial rate of the full phase (SGD, Nesterov, poly decay within each phase: nnU-Net's).
        shrinking_learning_rate: initial rate of the two others.
        momentum: of SGD.
        weight_decay: of SGD.
        distillation: weight of the soft targets, see :mod:`nnunet_iac.zoo.distillation`; 0 for none, as in MedNNS.
        clip: largest norm of the summed gradient (nnU-Net's).
        seed: of the draws.

    Raises:
        ValueError: if a number is out of range; all faults are named together.

    Example:
        >>> plan = SupernetPlan()
        >>> plan.epochs, [plan.phase_at(epoch).name for epoch in (99, 100, 110, 149)]
        (150, ['full', 'depth', 'width', 'width'])
    """

    full_epochs: int = 100
    depth_epochs: int = 10
    width_epochs: int = 40
    random_networks: int = 2
    learning_rate: float = 1e-2
    shrinking_learning_rate: float = 1e-3
    momentum: float = 0.99
    weight_decay: float = 3e-5
    distillation: float = 1.0
    clip: float = 12.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("full_epochs", "depth_epochs", "width_epochs", "random_networks")
        positive = ("learning_rate", "shrinking_learning_rate", "clip")
        problems = [
            *(
                f"{n}: expected an integer of at least 0, got {v!r}"
                for n in counts
                if not _is_count(v := vars(self)[n])
            ),
            *(f"{n}: expected a positive number, got {v!r}" for n in positive if not _is_finite(v := vars(self)[n], 0)),
            *(
                f"{n}: expected a number of at least 0, got {v!r}"
                for n in ("weight_decay", "distillation")
                if (v := vars(self)[n]) != 0 and not _is_finite(v, 0)
            ),
        ]
        if not 0 <= self.momentum < 1:
            problems.append(f"momentum: expected a number in [0, 1), got {self.momentum!r}")
        if not problems and self.epochs == 0:
            problems.append("full_epochs, depth_epochs, width_epochs: expected at least one epoch, got none")
        if problems:
            raise ValueError("supernet plan: " + "; ".join(problems))

    @property
    def epochs(self) -> int:
        """Length of the whole training."""
        return self.full_epochs + self.depth_epochs + self.width_epochs

    def phase_at(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 0.

        Raises:
            ValueError: if the plan has no such epoch.
        """
        if not 0 <= epoch < self.epochs:
            raise ValueError(f"epoch: expected from 0 to {self.epochs - 1}, got {epoch}; give the plan more epochs")
        if epoch < self.full_epochs:
            return Phase("full", epoch, self.full_epochs)
        epoch -= self.full_epochs
        if epoch < self.depth_epochs:
            return Phase("depth", epoch, self.depth_epochs)
        return Phase("width", epoch - self.depth_epochs, self.width_epochs)

    def learning_rate_at(self, epoch: int) -> float:
        """Return the rate of an epoch: ``initial (1 - t / T)^0.9`` with ``t`` of the phase's ``T`` epochs gone."""
        phase = self.phase_at(epoch)
        initial = self.learning_rate if phase.name == "full" else self.shrinking_learning_rate
        return float(initial * (1 - phase.epoch / phase.epochs) ** 0.9)

    def sorts_channels_at(self, epoch: int) -> bool:
        """Whether channels are to be sorted before this epoch: the first with elastic width, whatever came before."""
        phase = self.phase_at(epoch)
        return phase.name == "width" and phase.epoch == 0

    def configurations(self, space: ElasticSpace, epoch: int, iteration: int) -> tuple[SubnetConfiguration, ...]:
        """Return the networks of one step: the largest, the smallest of the phase, random ones; each once.

        A pure function of the seed and the two numbers, so that a training goes on after a kill with the draws it
        would have made.

        Args:
            space: of the supernet.
            epoch: from 0.
            iteration: step of the epoch, from 0.
        """
        phase = self.phase_at(epoch).name
        if phase == "full":
            return (space.largest,)
        width = phase == "width"
        smallest = space.smallest if width else replace(space.smallest, widths=space.largest.widths)
        drawn = (
            space.random(seed=f"{self.seed} {epoch} {iteration} {number}", width=width)
            for number in range(self.random_networks)
        )
        return tuple(dict.fromkeys((space.largest, smallest, *drawn)))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: object, above: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > above
