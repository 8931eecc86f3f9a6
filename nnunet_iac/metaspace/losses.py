r"""The losses of the meta-space, as functions of tensors.

``L = w_perf L_perf + w_rank L_rank + w_fid L_fid`` (MedNNS, arXiv 2504.15865, names the three; its code has none of
them, so all forms but the first are our reading). ``D`` tasks, ``M`` candidates of each, ``E`` dimensions, rows of
length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def performance_loss(predicted: Tensor, dice: Tensor) -> Tensor:
    """Return the mean squared error of predicted performances ``(D, M)``.

    Example:
        >>> performance_loss(torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5, 0.0]])).item()
        0.5
    """
    return (predicted - dice).square().mean()


def rank_loss(similarities: Tensor, dice: Tensor, *, sigma: float) -> Tensor:
    r"""Return how far the order by similarity is from the order by performance, within each task.

    ``mean of softplus(-(s_i - s_j) / sigma)`` over the pairs with ``P_i > P_j``; ties are left out. Tasks count
    equally, one in which all tie counts nothing; without any pair the loss is 0. In units of nats.

    Args:
        similarities: ``(D, M)``, of each candidate with its own data set.
        dice: ``(D, M)``, performances.
        sigma: temperature.

    Example:
        >>> both = torch.tensor([[0.2, 0.2, 0.1]])
        >>> round(rank_loss(both, torch.tensor([[0.9, 0.9, 0.5]]), sigma=0.1).item(), 4)
        0.3133
    """
    better = dice[:, :, None] > dice[:, None, :]
    gaps = functional.softplus((similarities[:, None, :] - similarities[:, :, None]) / sigma)
    pairs = better.sum(dim=(1, 2))
    means = (gaps * better).sum(dim=(1, 2)) / pairs.clamp_min(1)
    return means.sum() / (pairs > 0).sum().clamp_min(1)


def fid_loss(datasets: Tensor, fid: Tensor, *, beta: float) -> Tensor:
    r"""Return how far distances in the space are from Fréchet distances of the image features.

    ``mean over pairs of (||z_D - z_D'||^2 - beta FID(D, D'))^2``; 0 if there is no pair.

    Args:
        datasets: ``(D, E)``.
        fid: ``(D, D)``, squared Bures-Wasserstein distances, normalised, see :func:`normalised_fid`.
        beta: squared distance in the space at a normalised FID of 1; the largest possible is 4.

    Example:
        >>> fid_loss(torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), beta=1.5).item()
        0.25
    """
    first, second = torch.triu_indices(len(datasets), len(datasets), offset=1)
    squared = (datasets[first] - datasets[second]).square().sum(dim=1)
    return (squared - beta * fid[first, second]).square().sum() / max(len(first), 1)


def normalised_fid(squared: Tensor) -> Tensor:
    """Return squared distances ``(D, D)`` divided by the largest; zeros stay (our choice of a unit).

    Example:
        >>> normalised_fid(torch.tensor([[0.0, 4.0], [4.0, 0.0]])).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    largest = squared.max()
    return squared / torch.where(largest > 0, largest, torch.ones_like(largest))


def contrastive_loss(datasets: Tensor, models: Tensor, *, margin: float, names: Sequence[str] = ()) -> Tensor:
    r"""Return the hinge of each pair against its hardest negative in both directions (TANS ``retrieval/loss.py``).

    ``mean_D [margin + max_{D'} s(D, M_D') - s(D, M_D)]_+ + [margin + max_{D'} s(D', M_D) - s(D, M_D)]_+``
    with ``D' != D`` (TANS has a 0 in place of ``D' = D``). A row without negatives counts 0. Which model is the
    positive one of a data set is the caller's choice.

    Args:
        datasets: ``(D, E)``.
        models: ``(D, E)``, the positive model of each data set.
        margin: of the hinge.
        names: of the data set of each row; those of one data set (its folds) are no negatives of each other: their
            embeddings are equal, so they could never be told apart. Default: each row is a data set of its own.

    Example:
        >>> round(contrastive_loss(torch.eye(2), torch.eye(2).flip(0), margin=0.2).item(), 4)
        2.4
    """
    is_own = torch.eye(len(datasets), dtype=torch.bool, device=datasets.device)
    if names:
        is_own = torch.tensor([[one == other for other in names] for one in names], device=datasets.device)
    scores = datasets @ models.T
    others = scores.masked_fill(is_own, -torch.inf)
    hinges = [(margin + others.amax(dim=axis) - scores.diagonal()).clamp_min(0) for axis in (0, 1)]
    return torch.stack(hinges).sum(dim=0).mean()
