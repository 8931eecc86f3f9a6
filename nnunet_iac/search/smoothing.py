"""Perturbed operation weights for the weight step (SmoothDARTS): weights that do well around alpha, not only at it.

Source: xiangning-chen/SmoothDARTS, sota/cnn/train_search.py and attacker/perturb.py. The architecture step sees the
clean softmax; the weight step sees ``p + delta``, put back onto the simplex. ``beta`` stays clean (the released code
perturbs none of PC-DARTS; our choice).

Ranks that search together draw the first rank's numbers and attack the loss of all their batches, so that every one
finds the weights that a single rank with the whole batch would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from nnunet_iac.search import ranks

Perturbation = Literal["none", "random", "adversarial"]

SMALLEST = 0.03
"""Size of the perturbation in the first epoch (SmoothDARTS)."""
ATTACK_STEPS = 7
"""Steps of projected gradient ascent (SmoothDARTS)."""


def perturbation_size(epoch: int, epochs: int, largest: float) -> float:
    """Return ``0.03 + (largest - 0.03) * epoch / epochs``.

    Example:
        >>> perturbation_size(0, 100, 0.5), perturbation_size(100, 100, 0.5)
        (0.03, 0.5)
    """
    return SMALLEST + (largest - SMALLEST) * epoch / epochs


def onto_simplex(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Clamp each row to [0, 1] and divide it by its sum; a row that became zero is one at its former largest entry.

    Args:
        values: ``(G, E, O)``.
        mask: operations still active, ``(G, E, O)``; the others get 0.

    Example:
        >>> onto_simplex(torch.tensor([[[0.5, 1.5, -1.0]]]), torch.ones(1, 1, 3, dtype=torch.bool))[0, 0].tolist()
        [0.3333333432674408, 0.6666666865348816, 0.0]
    """
    inside = values.clamp(0.0, 1.0) * mask
    largest = values.masked_fill(~mask, -torch.inf).argmax(-1, keepdim=True)
    empty = inside.sum(-1, keepdim=True) == 0
    inside = torch.where(empty, torch.zeros_like(inside).scatter(-1, largest, 1.0), inside)
    return inside / inside.sum(-1, keepdim=True)


def random_perturbation(probabilities: torch.Tensor, mask: torch.Tensor, size: float) -> torch.Tensor:
    """Return ``p + U(-size, size)`` on the simplex (SDARTS-RS), from PyTorch's global CPU generator.

    Args:
        probabilities: ``(G, E, O)``.
        mask: ``(G, E, O)``.
        size: half the width of the uniform distribution.
    """
    return onto_simplex(probabilities.detach() + _uniform(probabilities, size), mask)


def adversarial_perturbation(
    probabilities: torch.Tensor,
    mask: torch.Tensor,
    size: float,
    loss: Callable[[torch.Tensor], torch.Tensor],
    steps: int = ATTACK_STEPS,
) -> torch.Tensor:
    """Return the weights within ``size`` of ``p`` that raise the loss most (SDARTS-ADV), or ``p`` if none does.

    The network is to be attacked in evaluation mode; see :func:`evaluating`.

    Projected gradient ascent in the largest norm: a random start, then ``steps`` steps of ``2 * size / steps`` along
    the sign of the gradient, clipped to the box around ``p`` and put back onto the simplex.

    Args:
        probabilities: ``(G, E, O)``.
        mask: ``(G, E, O)``.
        size: half the edge of the box.
        loss: the training loss of this rank's batch for given operation weights; called ``steps + 2`` times.
        steps: steps of the ascent.
    """
    clean = probabilities.detach()
    with torch.no_grad():
        before = ranks.mean(loss(clean))
    attacked = onto_simplex(clean + _uniform(clean, size), mask)
    for _ in range(steps):
        attacked.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        ranks.average([gradient])  # before its sign is taken: that of a half batch is not that of the whole one
        moved = attacked.detach() + 2 * size / steps * gradient.sign()
        attacked = onto_simplex(clean + (moved - clean).clamp(-size, size), mask)
    with torch.no_grad():
        after = ranks.mean(loss(attacked))
    return attacked if after >= before else clean


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while, then every module back into the mode it had (SmoothDARTS).

    The forwards of an attack are no training: they must not move running statistics, and dropout would make the loss
    of two perturbations differ by chance.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with evaluating(norm):
        ...     norm.training
        False
        >>> norm.training
        True
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def beta_decay(alpha: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return ``mean_e logsumexp(alpha_e)`` over the active operations (beta-DARTS), a number.

    Its gradient is the softmax: it pulls down what leads, and so keeps one operation from running away early.

    Args:
        alpha: ``(G, E, O)``.
        mask: ``(G, E, O)``.

    Example:
        >>> float(beta_decay(torch.zeros(1, 1, 8), torch.ones(1, 1, 8, dtype=torch.bool)).exp())
        8.0
    """
    return alpha.masked_fill(~mask, -torch.inf).logsumexp(-1).mean()


def _uniform(like: torch.Tensor, size: float) -> torch.Tensor:
    # Drawn on the CPU, whose generator's state a resumed search restores.
    return ranks.same(((2 * torch.rand(like.shape, dtype=like.dtype) - 1) * size).to(like.device))
