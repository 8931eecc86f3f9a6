"""Soft targets: how far a sub-network's answer is from the largest network's.

In-place distillation (universally slimmable networks; BigNAS): the teacher is the largest network of the same step, its
probabilities are constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F

Activation = Literal["softmax", "sigmoid"]
"""``softmax`` for classes, ``sigmoid`` for regions that may overlap."""


def distillation_loss(
    student: torch.Tensor | Sequence[torch.Tensor],
    teacher: torch.Tensor | Sequence[torch.Tensor],
    activation: Activation = "softmax",
) -> torch.Tensor:
    """Return the divergence of the student's probabilities from the teacher's, in nats for each voxel.

    ``KL(p || q) = sum_k p_k (ln p_k - ln q_k)``, ``p`` the teacher's softmax over classes; for regions the sum of the
    divergences of their Bernoulli variables. Mean over batch and voxels. Over the outputs of deep supervision the mean
    with nnU-Net's weights, see :func:`output_weights`. It is 0 exactly where the two agree, and its gradient is that of
    the cross-entropy with soft targets.

    Args:
        student: logits ``(B, K, *spatial)``, or one for each output resolution, the highest first.
        teacher: likewise; no gradient flows into it.
        activation: what the logits mean.

    Raises:
        ValueError: if the outputs differ in number or shape, or the activation is unknown.

    Example:
        >>> round(float(distillation_loss(torch.zeros(1, 2, 1), torch.tensor([[[0.0], [100.0]]]))), 4)
        0.6931
    """
    if activation not in get_args(Activation):
        raise ValueError(f"activation: expected one of {get_args(Activation)}, got {activation!r}")
    students, teachers = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (student, teacher))
    shapes = [[tuple(x.shape) for x in side] for side in (students, teachers)]
    if not students or shapes[0] != shapes[1]:
        raise ValueError(f"student, teacher: expected equal shapes, got {shapes[0]} and {shapes[1]}")
    divergence = _softmax_divergence if activation == "softmax" else _sigmoid_divergence
    weighted = [
        weight * divergence(mine, theirs.detach())
        for weight, mine, theirs in zip(output_weights(len(students)), students, teachers, strict=True)
        if weight
    ]
    return torch.stack(weighted).sum()


def output_weights(count: int) -> tuple[float, ...]:
    """Return nnU-Net's weights of deep-supervision outputs: halved from one to the next, the last 0, their sum 1.

    Example:
        >>> output_weights(3), output_weights(1)
        ((0.6666666666666666, 0.3333333333333333, 0.0), (1.0,))
    """
    weights = [0.5**number for number in range(max(1, count - 1))] + [0.0] * (count > 1)
    return tuple(weight / sum(weights) for weight in weights)


def _softmax_divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    mine, theirs = student.float().log_softmax(1), teacher.float().log_softmax(1)
    return F.kl_div(mine, theirs, reduction="none", log_target=True).sum(1).mean()


def _sigmoid_divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    student, teacher = student.float(), teacher.float()
    inside = F.kl_div(F.logsigmoid(student), F.logsigmoid(teacher), reduction="none", log_target=True)
    outside = F.kl_div(F.logsigmoid(-student), F.logsigmoid(-teacher), reduction="none", log_target=True)
    return (inside + outside).sum(1).mean()
