"""Sub-networks trained alone, to be compared with what the supernet said about them.

Each is a stock network of its own, with fresh weights that nnU-Net draws from the seed, and all see the same batches
for the same number of steps, with nnU-Net's optimiser. They are measured on the patches that the estimates are from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from nnunet_iac.nnunet.files.run_state import damaged, read_state, write_state
from nnunet_iac.nnunet.supernets.supernet_data import SupernetData
from nnunet_iac.nnunet.supernets.supernet_measure import Estimate, PatchMeasure
from nnunet_iac.nnunet.supernets.supernet_run import Lessons, Log, SupernetRun
from nnunet_iac.zoo.candidates_entries import Candidates
from nnunet_iac.zoo.candidates_fidelity import FEWEST, rank_fidelity
from nnunet_iac.zoo.shrinking import SupernetPlan
from nnunet_iac.zoo.stock import StockArchitecture
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.supernet import ElasticUNet

STATE, NETWORK, RESULT = "audit_state.pt", "network_{}.pt", "audit.json"

FILES = (STATE, NETWORK.format("*"), RESULT)
"""Files of an audit, as patterns."""


@dataclass(frozen=True)
class AuditPlan:
    """How long sub-networks are trained alone.

    Attributes:
        networks: how many of the candidates.
        epochs: of each.
        iterations: steps of an epoch.
        learning_rate: initial.
        seed: of the choice, the weights and the batches.

    Raises:
        ValueError: if a number is out of range.
    """

    networks: int
    epochs: int
    iterations: int
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.networks < FEWEST or self.epochs < 1 or self.iterations < 1 or self.seed < 0:
            raise ValueError(
                f"--networks, --epochs, --iterations, --seed: expected at least {FEWEST}, 1, 1 and 0, got "
                f"{self.networks}, {self.epochs}, {self.iterations} and {self.seed}"
            )
        self.training.phase_at(0)  # says what is wrong with the rate

    @property
    def training(self) -> SupernetPlan:
        """nnU-Net's training of one network, without anything elastic."""
        return SupernetPlan(
            self.epochs, 0, 0, random_networks=0, learning_rate=self.learning_rate, distillation=0.0, seed=self.seed
        )

    def chosen(self, candidates: int) -> list[int]:
        """Return the numbers of the candidates to train, uniformly drawn; with more networks earlier ones stay.

        Raises:
            ValueError: if there are not so many.

        Example:
            >>> fewer, more = (AuditPlan(count, 1, 1).chosen(20) for count in (3, 5))
            >>> more[:3] == fewer
            True
        """
        if self.networks > candidates:
            raise ValueError(f"--networks: expected at most the {candidates} candidates, got {self.networks}")
        numbers = list(range(candidates))
        Random(f"{self.seed} audit").shuffle(numbers)
        return numbers[: self.networks]


class SupernetAudit:
    """An audit on its way; networks that are finished are kept in its folder and not trained again.

    Args:
        candidates: of the zoo.
        data: that they were measured on.
        plan: how long to train.
        measure: the patches that they were measured on.
        folder: for its files; must exist when it runs.

    Raises:
        ValueError: if there are not so many candidates.
    """

    def __init__(
        self, candidates: Candidates, data: SupernetData, plan: AuditPlan, measure: PatchMeasure, folder: Path
    ) -> None:
        self.candidates, self.data, self.plan, self.measure, self.folder = candidates, data, plan, measure, folder
        self.chosen = plan.chosen(len(candidates.configurations))
        how = asdict(plan)
        del how["networks"]
        self.identity = {"entry": candidates.entry.id, "plan": how, "data": data.identity}

    def run(self, log: Log) -> dict[str, Any]:
        """Train what is left, and return the record.

        Raises:
            FloatingPointError: if a training diverges; what is finished is kept.
            ValueError: if the folder holds another audit, or is damaged.
        """
        done = self._finished()
        for place, index in enumerate(self.chosen, start=1):
            words = f"network {place} of {len(self.chosen)} (candidate {index})"
            log(words)
            if index not in done:
                done[index] = self._train_alone(index, log)
                write_state(self.folder / STATE, self.identity, {"done": {k: asdict(v) for k, v in done.items()}})
            # A kill may have come before this.
            (self.folder / NETWORK.format(index)).unlink(missing_ok=True)
            log(f"{words}: Dice {done[index].dice:.4f} alone, {self.candidates.dice[index]:.4f} in the supernet")
        return self._record(done)

    def network(self, index: int) -> ElasticUNet:
        """Return a candidate's stock network with fresh weights; it is elastic in nothing that is used."""
        architecture, target = StockArchitecture(self.data.target.architecture), self.data.target
        configuration = self.candidates.configurations[index]
        channels = self.candidates.space.channels(configuration)
        resized = architecture.resized(channels, configuration.depths, configuration.decoder_depths)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.plan.seed)
            return ElasticUNet(resized, target.inputs, target.outputs, fractions=(1.0,))

    def _train_alone(self, index: int, log: Log) -> Estimate:
        plan, data, device = self.plan, self.data, self.measure.device
        lessons = Lessons(
            lambda start: data.batches(seed=plan.seed, start=start, device=device),
            data.loss(deep_supervision=True),
            data.activation,
            plan.iterations,
        )
        state = self.folder / NETWORK.format(index)
        identity = {**self.identity, "candidate": index}
        run = SupernetRun(self.network(index), plan.training, lessons, state, identity, device)
        run.resume()
        run.run(log)
        return self.measure(extract(run.supernet, run.supernet.space.largest).network)

    def _finished(self) -> dict[int, Estimate]:
        state = read_state(self.folder / STATE, self.identity)
        try:
            return {} if state is None else {int(k): Estimate(**v) for k, v in state["done"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self.folder / STATE, error) from error

    def _record(self, done: dict[int, Estimate]) -> dict[str, Any]:
        candidates = self.candidates
        alone = [done[index].dice for index in self.chosen]
        estimated = [float(candidates.dice[index]) for index in self.chosen]
        parameters = [int(candidates.parameters[index]) for index in self.chosen]
        networks = [
            {
                "candidate": index,
                "configuration": candidates.configurations[index].to_dict(),
                "parameters": size,
                "estimated": estimate,
                "alone": dice,
            }
            for index, size, estimate, dice in zip(self.chosen, parameters, estimated, alone, strict=True)
        ]
        return {
            "schema": 1,
            "entry": candidates.entry.id,
            "supernet": candidates.supernet,
            "plan": asdict(self.plan),
            "measured": self.measure.description,
            "fidelity": rank_fidelity(estimated, alone).to_dict(),
            "size_as_estimate": rank_fidelity(parameters, alone).to_dict(),
            "networks": networks,
        }
