"""A look at a retrieved candidate: what it is on the target's plan, what it costs here, which limits it breaks.

Numbers of parameters and multiply-adds follow from depths and widths alone. So a candidate that is too large is known
before its weights are read or anything is timed, and there may be any number of such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from nnunet_iac.metaspace.ranking import Ranked
from nnunet_iac.nnunet.cases.recalibration import recalibrate_on
from nnunet_iac.nnunet.files.plans import configuration_of
from nnunet_iac.nnunet.retrieval.retrieval_target import Target
from nnunet_iac.nnunet.retrieval.retrieved_start import RetrievedStart, retrieved_start
from nnunet_iac.zoo.adaptation import adapted
from nnunet_iac.zoo.candidates_entries import read_supernet, subnetwork_architecture
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.costs import Costs, Limits, Size, measure_costs, size_of
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.stock import StockArchitecture
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.supernet import ElasticUNet

SUPERNETS = 8
"""That are kept in memory: read once, not for each of their candidates."""


@dataclass(frozen=True, eq=False)
class Made:
    """What was made of a candidate.

    Attributes:
        candidate: what says which it is, as JSON.
        start: on the target's plan.
        costs: measured here.
    """

    candidate: Mapping[str, Any]
    start: RetrievedStart
    costs: Costs


class CandidateLooks:
    """Looks at candidates for one target.

    Args:
        zoo: where the supernets lie.
        target: that they are for.
        limits: that they must not break.
        seed: of what a source has no weights for.
        device: where to measure.
        say: is told what each costs.
    """

    def __init__(
        self, zoo: Zoo, target: Target, limits: Limits, *, seed: int, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self.zoo, self.target, self.limits, self.seed, self.device, self.say = zoo, target, limits, seed, device, say
        self._planned = configuration_of(target.plans, target.configuration)
        self._entry: Callable[[str], Entry] = lru_cache(maxsize=None)(zoo.entry)
        self._supernet: Callable[[str], ElasticUNet] = lru_cache(maxsize=SUPERNETS)(self._read)
        self._size: Callable[[str, SubnetConfiguration], Size] = lru_cache(maxsize=None)(self._count)

    def outsized(self, one: Ranked) -> list[str]:
        """Return which limits on parameters and multiply-adds a candidate breaks; nothing is read of its weights.

        Raises:
            ValueError: if one of candidate and plan is plain and the other residual.
        """
        if self.limits.max_parameters is None and self.limits.max_macs is None:
            return []
        return self.limits.broken_by(self._size(one.task.candidates.supernet, one.configuration))

    def look(self, one: Ranked) -> tuple[Made, list[str]]:
        """Make a candidate's start on the target's plan, measure it, and say what it breaks."""
        target, entry = self.target, self._entry(one.task.candidates.supernet)
        candidate = extract(self._supernet(entry.id), one.configuration)
        plan = (target.plans, target.configuration, target.network.dataset)
        start = retrieved_start(entry, candidate, *plan, name=target.name, seed=self.seed)
        costs = measure_costs(start.network, start.target.inputs, self._planned["patch_size"], device=self.device)
        broken = self.limits.broken_by(costs)
        near = f"Dice {one.own_dice:.2f} at home, similarity {one.similarity:.3f}, remoteness {one.remoteness:.3f}"
        self.say(f"{one.name}: {near}, {costs}{'; too much' if broken else ''}")
        # A supernet's running statistics are those of its largest network, on another data set. Costs do not hang on
        # them.
        if not broken and (layers := recalibrate_on(start.network, target.data, seed=self.seed)):
            self.say(f"{one.name}: {layers} layers of batch normalisation recalibrated on training cases of the target")
        return Made({"supernet": entry.id, "configuration": one.configuration.to_dict()}, start, costs), broken

    def _read(self, supernet: str) -> ElasticUNet:
        return read_supernet(self.zoo, self._entry(supernet))

    def _count(self, supernet: str, configuration: SubnetConfiguration) -> Size:
        source = subnetwork_architecture(self._entry(supernet), configuration)
        network = adapted(source, StockArchitecture(self._planned["architecture"]))
        inputs, outputs = self.target.network.inputs, self.target.network.outputs
        return size_of(lambda: network.build(inputs, outputs), inputs, self._planned["patch_size"])
