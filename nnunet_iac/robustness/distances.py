"""Distances between feature vectors, row by row: cosine, mean squared difference, one minus Pearson's correlation.

Cosine and Pearson are undefined where a vector has no direction: a zero vector for cosine, a constant one for Pearson.
Our choice: such a distance is 1, that of vectors which have nothing in common, and it is counted. A dead encoder
(all features zero) then gets a loss of exactly the margin instead of a perfect score.
"""

from __future__ import annotations

from typing import Literal

import torch

Distance = Literal["cosine", "l2", "pearson"]

DISTANCES: tuple[Distance, ...] = ("cosine", "l2", "pearson")
"""All distances, the paper's names: cosine_distance, l2_loss, inv_pearson_corr."""

UNDEFINED = 1.0
"""Cosine and Pearson distance where one of the two vectors has no direction (our choice)."""

CONSTANT = 1e-12
"""A vector whose deviations from its mean are this small beside its largest entry is constant (rounding in float64)."""


def feature_distance(first: torch.Tensor, second: torch.Tensor, distance: Distance) -> torch.Tensor:
    """Return the distance of each row of ``first`` to the same row of ``second``, ``(B,)``, in float64 on the CPU.

    ``cosine``: ``1 - <a, b> / (|a| |b|)`` in [0, 2]; ``pearson``: the same after each vector's mean is taken off;
    ``l2``: ``mean_f (a_f - b_f)^2``. Cosine and Pearson are 1 where :func:`has_direction` is False for either vector.

    Args:
        first: ``(B, F)``, finite.
        second: ``(B, F)``, finite.
        distance: which one.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, 0.0]])
        >>> feature_distance(a, b, "cosine").tolist(), feature_distance(a, b, "l2").tolist()
        ([1.0, 1.0], [2.5, 0.5])
    """
    a, b = _on_cpu(first), _on_cpu(second)
    if distance == "l2":
        return (a - b).square().mean(1)
    similarity = (_directions(a, distance) * _directions(b, distance)).sum(1)
    return UNDEFINED - similarity.clamp(-1.0, 1.0)


def has_direction(features: torch.Tensor, distance: Distance) -> torch.Tensor:
    """Return for each row of ``(B, F)`` whether the distance is defined there, ``(B,)``; always for ``l2``.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [3.0, 3.0], [1.0, 2.0]])
        >>> has_direction(rows, "cosine").tolist(), has_direction(rows, "pearson").tolist()
        ([False, True, True], [False, False, True])
    """
    if distance == "l2":
        return torch.ones(len(features), dtype=torch.bool)
    return _directions(_on_cpu(features), distance).abs().sum(1) > 0


def _on_cpu(features: torch.Tensor) -> torch.Tensor:
    # To the CPU first: some accelerators have no float64.
    return features.cpu().double()


def _directions(features: torch.Tensor, distance: Distance) -> torch.Tensor:
    """Return unit vectors, and zeros where there is no direction."""
    # Divided by the largest entry first, so that very small and very large vectors neither vanish nor overflow.
    largest = features.abs().amax(1, keepdim=True)
    scaled = features / largest.where(largest > 0, torch.ones_like(largest))
    if distance == "pearson":
        scaled = scaled - scaled.mean(1, keepdim=True)
        scaled = scaled * (scaled.abs().amax(1, keepdim=True) > CONSTANT)
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / norm.where(norm > 0, torch.ones_like(norm))
