"""A running search: the network, its two optimisers and what the pruning rule remembers, as one resumable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from nnunet_iac.cells.architecture import architecture_parameters, weight_parameters
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.stability import Decision, StabilityState
from nnunet_iac.search.state import pack_stability, unpack_stability


@dataclass
class Run:
    """The mutable part of a search.

    Attributes:
        network: host with mixed cells.
        cells: the cells.
        weights: optimiser of the weights.
        architecture: optimiser of the architecture parameters.
        stability: what the pruning rule remembers.
        decision: what it said last.
        variation: sum of each logit's squared steps, ``(G, E, O)``, on the CPU.
        epoch: finished epochs.
        seconds: their wall-clock.
        batches: batches drawn from each stream.
        restored: whether the last good epoch was restored once.
    """

    network: CellUNet
    cells: MixedCells
    weights: torch.optim.Optimizer
    architecture: torch.optim.Adam
    stability: StabilityState
    decision: Decision
    variation: torch.Tensor
    epoch: int = 0
    seconds: float = 0.0
    batches: int = 0
    restored: bool = False

    def content(self, identity: dict[str, Any], plan: SearchPlan) -> dict[str, Any]:
        """Return what a state file holds."""
        trained: torch.nn.Module = self.network if plan.mode == "joint" else self.cells
        return {
            "identity": identity,
            "network": trained.state_dict(),
            "weights": self.weights.state_dict(),
            "architecture": self.architecture.state_dict(),
            "stability": pack_stability(self.stability),
            "decided": self.decision.decided,
            "stop": self.decision.stop,
            "variation": self.variation,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "batches": self.batches,
            "restored": self.restored,
            "random": torch.get_rng_state(),
        }

    def restore(self, content: dict[str, Any], plan: SearchPlan) -> None:
        """Go back to what a state file holds."""
        trained: torch.nn.Module = self.network if plan.mode == "joint" else self.cells
        trained.load_state_dict(content["network"])
        self.weights.load_state_dict(content["weights"])
        self.architecture.load_state_dict(content["architecture"])
        self.stability = unpack_stability(content["stability"])
        self.decision = replace(_open_decision(self.cells), decided=content["decided"], stop=content["stop"])
        self.variation = content["variation"]
        self.epoch, self.seconds = content["epoch"], content["seconds"]
        self.batches, self.restored = content["batches"], content["restored"]
        torch.set_rng_state(content["random"])


def start_run(network: CellUNet, cells: MixedCells, plan: SearchPlan) -> Run:
    """Return a search before its first epoch."""
    weights = torch.optim.SGD(
        list(weight_parameters(network)),
        lr=plan.weight_lr,
        momentum=0.99,
        nesterov=True,
        weight_decay=plan.weight_decay,
    )
    # Gradients of a cell in a good host can be far below Adam's usual epsilon of 1e-8.
    architecture = torch.optim.Adam(
        architecture_parameters(cells), lr=plan.architecture_lr, betas=(0.5, 0.999), eps=1e-16, weight_decay=0.0
    )
    shape = cells.architecture.alpha.shape
    variation = torch.zeros(shape, dtype=torch.float64)
    return Run(network, cells, weights, architecture, StabilityState.start(*shape), _open_decision(cells), variation)


def _open_decision(cells: MixedCells) -> Decision:
    mask = cells.architecture.mask.cpu()
    edges = mask[..., 0]
    return Decision(mask, torch.full(edges.shape, torch.nan), torch.zeros_like(edges), (), stop=False)
