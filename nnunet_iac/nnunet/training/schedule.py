"""Learning rates of cells and host: nnU-Net's polynomial decay, times a factor for each parameter group."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunet_iac.cells.network import CellUNet


class GroupPolyLR(PolyLRScheduler):
    """``lr = scale * initial_lr * (1 - epoch / epochs)^0.9``, where a group without ``scale`` has 1."""

    def step(self, current_step: Any = None) -> None:
        """Set the rates of an epoch."""
        super().step(current_step)
        for group in self.optimizer.param_groups:
            group["lr"] *= group.get("scale", 1.0)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def make_optimizer(
    network: CellUNet, *, initial_lr: float, weight_decay: float, epochs: int, host_scale: float = 1.0
) -> tuple[torch.optim.SGD, GroupPolyLR]:
    """Return nnU-Net's optimiser and schedule for a network with or without cells.

    The cells come first (nnU-Net logs the first group's rate), the host second; a host parameter without gradient
    is not moved, so one optimiser serves frozen and free hosts.
    """
    host: dict[str, Any] = {"params": network.host_parameters(), "scale": host_scale}
    cells = [] if network.cells is None else [{"params": list(network.cells.parameters()), "scale": 1.0}]
    optimizer = torch.optim.SGD([*cells, host], initial_lr, weight_decay=weight_decay, momentum=0.99, nesterov=True)
    return optimizer, GroupPolyLR(optimizer, initial_lr, epochs)


def carry_momentum(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Give parameters that both optimisers hold the state they had."""
    known = {p for group in new.param_groups for p in group["params"]}
    for parameter, state in old.state.items():
        if parameter in known:
            new.state[parameter] = state
