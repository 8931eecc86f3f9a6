"""The sandwich step, slow and obviously right: separate stock networks, gradients carried back tensor by tensor.

Uses the extracted networks and the supernet's weights; of the package's slicing, layout and training code nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

MERGING = re.compile(r"decoder\.stages\.\d+\.convs\.0\.conv\.weight")


def soft_target_loss(students: Sequence[torch.Tensor], teachers: Sequence[torch.Tensor], regions: bool) -> torch.Tensor:
    """KL of each output but the last, halved from one to the next, divided by the sum of the weights."""
    total, weights = torch.zeros(()), 0.0
    for number, (student, teacher) in enumerate(zip(students[:-1], teachers[:-1], strict=True)):
        weight = 1 / 2**number
        if regions:
            p, q = teacher.sigmoid(), student.sigmoid()
            divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        else:
            p, q = teacher.softmax(1), student.softmax(1)
            divergence = p * (p / q).log()
        voxels = student[:, 0].numel()
        total = total + weight * divergence.sum() / voxels
        weights += weight
    return total / weights


def gradients(
    full: nn.Module,
    subnetworks: Sequence[nn.Module],
    loss: Callable[[Any, Any], torch.Tensor],
    data: torch.Tensor,
    target: Any,
    distillation: float,
    regions: bool = False,
) -> dict[str, torch.Tensor]:
    """Summed gradients for every parameter of the supernet; ``subnetworks[0]`` is the largest, which teaches."""
    summed = {name: torch.zeros_like(p) for name, p in full.named_parameters()}
    with torch.no_grad():
        teachers = subnetworks[0](data)
    for number, network in enumerate(subnetworks):
        outputs = network(data)
        objective = loss(outputs, target)
        if number > 0:
            objective = objective + distillation * soft_target_loss(outputs, teachers, regions)
        names, parameters = zip(*network.named_parameters(), strict=True)
        grads = torch.autograd.grad(objective, parameters, allow_unused=True)
        for name, gradient in zip(names, grads, strict=True):
            if gradient is not None:
                carry_back(name, gradient, summed[name])
    return summed


def carry_back(name: str, gradient: torch.Tensor, into: torch.Tensor) -> None:
    """Add a sub-network's gradient where its weights were: the first entries of each axis, of both halves if merged."""
    if MERGING.fullmatch(name):
        rows, half, full = gradient.shape[0], gradient.shape[1] // 2, into.shape[1] // 2
        into[:rows, :half] += gradient[:, :half]
        into[:rows, full : full + half] += gradient[:, half:]
        return
    corner = into
    for axis in range(min(2, gradient.dim())):
        corner = corner.narrow(axis, 0, gradient.shape[axis])
    corner += gradient
