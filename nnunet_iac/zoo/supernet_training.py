"""One training step of a supernet: the gradients of several sub-networks, summed, in one step of the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.health import Finding, find_source
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.distillation import Activation, distillation_loss
from nnunet_iac.zoo.supernet import ElasticUNet

Batch = Mapping[str, Any]
"""A batch of nnU-Net: ``data`` ``(B, C, *spatial)`` and ``target``, a tensor or one for each output resolution."""
Loss = Callable[[Any, Any], torch.Tensor]


@dataclass(frozen=True)
class SandwichRecord:
    """What one step saw.

    Attributes:
        losses: of each network with the true targets, in the order of the configurations.
        divergences: of each network from the largest, see :func:`~nnunet_iac.zoo.distillation.distillation_loss`; 0
            for the largest and where nothing is distilled.
    """

    losses: tuple[float, ...]
    divergences: tuple[float, ...]


def train_step(
    supernet: ElasticUNet,
    loss: Loss,
    batch: Batch,
    configurations: Sequence[SubnetConfiguration],
    optimizer: torch.optim.Optimizer,
    *,
    distillation: float = 1.0,
    activation: Activation = "softmax",
    clip: float = 12.0,
    scaler: torch.amp.GradScaler | None = None,
) -> SandwichRecord:
    """Train all given sub-networks on one batch by one step of the optimiser.

    The objective is ``L(largest) + sum_i (L(i) + lambda KL(largest || i))``; gradients are summed, not averaged
    (MedNNS, universally slimmable networks), then clipped as nnU-Net does. Networks run one after the other, so that
    the memory is that of the largest. It draws nothing (unless the plan has dropout): the same call gives the same
    weights.

    Args:
        supernet: in training mode.
        loss: ``loss(output, target)``, with deep supervision wrapped as nnU-Net does.
        batch: the batch, on any device.
        configurations: the networks of this step; where something is distilled, the largest first.
        optimizer: of the supernet's parameters.
        distillation: ``lambda``, 0 for none.
        activation: what the logits mean; ``sigmoid`` for regions.
        clip: largest norm of the summed gradient.
        scaler: for mixed precision on CUDA, None elsewhere.

    Raises:
        ValueError: if there is no configuration, one does not exist, or the largest does not stand first.
        FloatingPointError: if a gradient is NaN or infinite (without a scaler, which skips such a step), with the
            source (see :mod:`nnunet_iac.cells.health`); the weights are those from before.

    Example:
        >>> supernet = ElasticUNet({
        ...     "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        ...     "arch_kwargs": {"n_stages": 2, "features_per_stage": [8, 8], "conv_op": "torch.nn.modules.conv.Conv2d",
        ...         "kernel_sizes": [[3, 3], [3, 3]], "strides": [[1, 1], [2, 2]], "n_conv_per_stage": [1, 1],
        ...         "n_conv_per_stage_decoder": [1], "nonlin": "torch.nn.LeakyReLU"},
        ...     "_kw_requires_import": ["conv_op", "nonlin"]}, 1, 2, multiple=2, deep_supervision=False)
        >>> batch = {"data": torch.ones(1, 1, 4, 4), "target": torch.ones(1, 4, 4, dtype=torch.long)}
        >>> optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01)
        >>> both = [supernet.space.largest, supernet.space.smallest]
        >>> first = train_step(supernet, nn.functional.cross_entropy, batch, both, optimizer)
        >>> later = train_step(supernet, nn.functional.cross_entropy, batch, both, optimizer)
        >>> [before > after for before, after in zip(first.losses, later.losses)]
        [True, True]
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    record = accumulate_gradients(
        supernet, loss, batch, configurations, distillation=distillation, activation=activation, scaler=scaler
    )
    if scaler is not None:
        scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    if scaler is not None:
        scaler.step(optimizer)
        scaler.update()
    elif bool(torch.isfinite(norm)):
        optimizer.step()
    else:
        optimizer.zero_grad(set_to_none=True)
        source = source_of(supernet, loss, batch, configurations)
        raise FloatingPointError(
            f"supernet gradients: expected finite numbers, got NaN or Inf (losses {record.losses}). {source}. "
            "Look for NaN in the images, or lower the learning rate"
        )
    optimizer.zero_grad(set_to_none=True)
    return record


def accumulate_gradients(
    supernet: ElasticUNet,
    loss: Loss,
    batch: Batch,
    configurations: Sequence[SubnetConfiguration],
    *,
    distillation: float = 1.0,
    activation: Activation = "softmax",
    scaler: torch.amp.GradScaler | None = None,
) -> SandwichRecord:
    """Add the gradients of one step to the parameters' ``grad``; arguments and errors of :func:`train_step`."""
    _check_configurations(supernet, configurations, distillation)
    device = next(supernet.parameters()).device
    data, target = _moved(batch["data"], device), _moved(batch["target"], device)
    losses, divergences = [], []
    teacher: Any = None
    for configuration in configurations:
        with torch.autocast("cuda") if device.type == "cuda" else nullcontext():
            output = supernet(data, configuration)
            value = loss(output, target)
            divergence = torch.zeros_like(value)
            if teacher is not None:
                divergence = distillation_loss(output, teacher, activation)
            objective = value + distillation * divergence
        (objective if scaler is None else scaler.scale(objective)).backward()
        if teacher is None and distillation:
            teacher = [o.detach() for o in output] if isinstance(output, list) else output.detach()
        losses.append(value.detach())
        divergences.append(divergence.detach())
    return SandwichRecord(_floats(losses), _floats(divergences))


def source_of(
    supernet: ElasticUNet, loss: Loss, batch: Batch, configurations: Sequence[SubnetConfiguration]
) -> Finding:
    """Return where the NaN or Inf of a step comes from; arguments of :func:`train_step`."""
    device = next(supernet.parameters()).device
    data, target = _moved(batch["data"], device), _moved(batch["target"], device)

    def compute() -> torch.Tensor:
        return torch.stack([loss(supernet(data, c), target) for c in configurations]).sum()

    half = partial(torch.autocast, "cuda") if device.type == "cuda" else None
    return find_source(supernet, compute, batch, half=half)


def _check_configurations(
    supernet: ElasticUNet, configurations: Sequence[SubnetConfiguration], distillation: float
) -> None:
    if not configurations:
        raise ValueError("configurations: expected at least one network, got none; use SupernetPlan.configurations")
    if not distillation >= 0:
        raise ValueError(f"distillation: expected a number of at least 0, got {distillation}")
    for configuration in configurations:
        supernet.space.check(configuration)
    if distillation and len(configurations) > 1 and configurations[0] != supernet.space.largest:
        raise ValueError(
            f"configurations: expected the largest network first, which teaches the others, got {configurations[0]}; "
            "put space.largest there or set distillation to 0"
        )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    return [part.to(device, non_blocking=True) for part in value]


def _floats(values: Iterable[torch.Tensor]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
