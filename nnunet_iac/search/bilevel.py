"""The two half-steps of a first-order bilevel search: architecture on one batch, weights on another.

Source: PC-DARTS, train_search.py and architect.py (first order). Two differences: the architecture half-step asks
autograd for the architecture's gradients only, so it leaves no weight gradients behind and spends no time on them;
and the architecture optimiser has no weight decay, because with the small gradients of a cell in a good host an L2
term of 1e-3 is larger than the signal and pulls every edge back to uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.health import Autocast, Finding, find_source
from nnunet_iac.search import ranks

Batch = Mapping[str, Any]
"""A batch of nnU-Net: ``data`` ``(B, C, *spatial)`` and ``target``, a tensor or one for each output resolution."""
Loss = Callable[[Any, Any], torch.Tensor]


@dataclass
class Precision:
    """Where and how precisely to compute: autocast and gradient scaling on CUDA, plain float32 elsewhere.

    As nnU-Net 2.8 does, autocast has torch's data type for the device: float16 unless ``torch.set_autocast_dtype`` was
    told otherwise. Scaling is what float16 needs, and does no harm to bfloat16, whose range is that of float32.
    """

    device: torch.device
    scaler: torch.amp.GradScaler | None = None
    architecture_scaler: torch.amp.GradScaler | None = None

    @classmethod
    def of(cls, device: torch.device) -> Precision:
        """Return nnU-Net's choice for a device; the two half-steps have gradients of very different sizes."""
        if device.type != "cuda":
            return cls(device)
        return cls(device, torch.amp.GradScaler("cuda"), torch.amp.GradScaler("cuda"))

    def loss_of(self, network: nn.Module, loss: Loss, batch: Batch) -> torch.Tensor:
        """Move a batch to the device and return its loss."""
        with nullcontext() if self.half is None else self.half():
            return self._plain_loss(network, loss, batch)

    def source_of(self, network: nn.Module, loss: Loss, batch: Batch) -> Finding:
        """Return where the NaN or Inf of a batch comes from, the same on all ranks; see :mod:`nnunet_iac.cells.health`.

        Args:
            network: without wrappers.
            loss: ``loss(output, target)``.
            batch: that failed.
        """
        with ranks.alone(network, loss):
            found = find_source(network, lambda: self._plain_loss(network, loss, batch), batch, half=self.half)
        return ranks.first_known(found)

    @property
    def half(self) -> Autocast | None:
        """What opens the autocast, None where there is none."""
        return partial(torch.autocast, "cuda") if self.device.type == "cuda" else None

    def _plain_loss(self, network: nn.Module, loss: Loss, batch: Batch) -> torch.Tensor:
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"]
        if isinstance(target, Sequence):
            target = [t.to(self.device, non_blocking=True) for t in target]
        else:
            target = target.to(self.device, non_blocking=True)
        return loss(network(data), target)


def architecture_step(
    network: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    penalty: Callable[[], torch.Tensor] | None = None,
) -> float:
    """Update the architecture parameters on one batch and return the loss; weights and their gradients stay.

    Args:
        network: host with mixed cells.
        loss: ``loss(output, target)``.
        batch: the batch.
        optimizer: of the architecture parameters.
        precision: where and how precisely to compute.
        penalty: a number to add to the loss before its gradient is taken; the returned loss is without it.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    value = precision.loss_of(network, loss, batch)
    objective = value if penalty is None else value + penalty()
    scaler = precision.architecture_scaler
    scaled = objective if scaler is None else scaler.scale(objective)
    gradients = [g.detach() for g in torch.autograd.grad(scaled, parameters)]
    ranks.average(gradients)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if scaler is not None:
        # Skips the step on overflow and lowers the scale.
        scaler.step(optimizer)
        scaler.update()
    elif all(bool(torch.isfinite(g).all()) for g in gradients):
        optimizer.step()
    else:
        optimizer.zero_grad(set_to_none=True)
        raise FloatingPointError("architecture gradients: expected finite numbers, got NaN or Inf")
    optimizer.zero_grad(set_to_none=True)
    return ranks.mean(value)


def weight_step(
    network: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    clip: float = 12.0,
) -> float:
    """Update the weights on one batch (gradient norm clipped as nnU-Net does) and return the loss."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    value = precision.loss_of(network, loss, batch)
    if precision.scaler is None:
        value.backward(inputs=parameters)
        ranks.average(_gradients(parameters))
        norm = nn.utils.clip_grad_norm_(parameters, clip)
        if not bool(torch.isfinite(norm)):
            raise FloatingPointError("weight gradients: expected finite numbers, got NaN or Inf")
        optimizer.step()
    else:
        precision.scaler.scale(value).backward(inputs=parameters)
        # Before the scale is taken away, so that all ranks see the same overflow.
        ranks.average(_gradients(parameters))
        precision.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip)
        precision.scaler.step(optimizer)
        precision.scaler.update()
    return ranks.mean(value)


def _gradients(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
