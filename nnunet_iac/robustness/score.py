"""The contrastive robustness loss of two feature batches: LOWER IS MORE ROBUST.

Source: 2410.18677, code src/robustness/eval.py and distance.py. Each of B images is perturbed twice; ``q_i`` and
``k+_i`` are the features of its two versions, ``k-_i`` those of another image::

    loss = mean_i max(0, d(q_i, k+_i) - d(q_i, k-_i) + margin)

It is 0 where an image's two versions are nearer to each other, by the margin, than to another image; it is the margin
where all features are the same. Its range depends on distance and margin: compare losses of one configuration only.
The published tables call the loss itself "robustness"; here it is called the loss, so that no sign needs turning.

Negatives. The paper's code reverses the batch and shifts it by two, which pairs one image with itself for every odd
B. Here ``neg(i) = (i + B // 2) mod B``: never ``i`` for B >= 2, every image is a negative once, and neighbours in the
batch, often slices of one patient, are far apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nnunet_iac.robustness.distances import DISTANCES, Distance, feature_distance, has_direction


@dataclass(frozen=True)
class ScoringConfiguration:
    """What is compared and how; the defaults are those of the paper's code.

    Attributes:
        distance: ``"cosine"``, ``"l2"`` (mean squared difference) or ``"pearson"`` (one minus the correlation).
        margin: by how much two images must be further apart than two versions of one, in units of the distance.
        pooled: whether a feature map is averaged over its spatial axes first.
        level: index of the feature map in the encoder's list, counted like Python's: -1 is the deepest.

    Raises:
        ValueError: if values are out of range, all of them together.

    Example:
        >>> ScoringConfiguration()
        ScoringConfiguration(distance='cosine', margin=0.5, pooled=True, level=-2)
    """

    distance: Distance = "cosine"
    margin: float = 0.5
    pooled: bool = True
    level: int = -2

    def __post_init__(self) -> None:
        wrong = []
        if self.distance not in DISTANCES:
            wrong.append(f"distance: expected one of {', '.join(DISTANCES)}, got {self.distance!r}")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            wrong.append(f"margin: expected a finite number of at least 0, got {self.margin}")
        if isinstance(self.level, bool) or not isinstance(self.level, int):
            wrong.append(f"level: expected an index such as -1 (deepest) or 0 (first), got {self.level!r}")
        if wrong:
            raise ValueError("; ".join(wrong))


DEFAULT = ScoringConfiguration()
"""Cosine, margin 0.5, pooled, level -2."""


@dataclass(frozen=True)
class Score:
    """A measured loss.

    Attributes:
        loss: mean over images, at least 0; LOWER IS MORE ROBUST.
        images: number of images it is the mean of.
        undefined: images of which a compared feature had no direction (cosine: all zeros; Pearson: all equal); their
            undefined distances counted as 1. More than a few of them say that the encoder is dead, not that it is
            robust.
    """

    loss: float
    images: int
    undefined: int


def score_features(query: torch.Tensor, positive: torch.Tensor, configuration: ScoringConfiguration = DEFAULT) -> Score:
    """Return the loss of features of twice perturbed images; pure, in float64 on the CPU, without a gradient.

    Args:
        query: features of the first versions, ``(B, F)`` or ``(B, C, *spatial)``, B >= 2.
        positive: features of the second versions of the same images in the same order, same shape.
        configuration: distance, margin and pooling; the level was chosen by the caller.

    Raises:
        ValueError: for shapes that differ, a batch of one, empty features, or values that are not finite.

    Example:
        >>> robust = torch.eye(4)
        >>> score_features(robust, robust)
        Score(loss=0.0, images=4, undefined=0)
        >>> score_features(torch.ones(4, 8), torch.ones(4, 8)).loss
        0.5
    """
    _check_shapes(query, positive)
    for name, features in (("query", query), ("positive", positive)):
        _check_finite(name, features)
    queries, positives = (feature_vectors(f.detach(), pooled=configuration.pooled) for f in (query, positive))
    negatives = positives[negative_indices(len(positives))]
    losses = image_losses(queries, positives, negatives, configuration.distance, configuration.margin)
    defined = [has_direction(f, configuration.distance) for f in (queries, positives, negatives)]
    undefined = ~torch.stack(defined).all(0)
    return Score(float(losses.mean()), len(losses), int(undefined.sum()))


def image_losses(
    query: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, distance: Distance, margin: float
) -> torch.Tensor:
    """Return ``max(0, d(q_i, k+_i) - d(q_i, k-_i) + margin)`` of each image, ``(B,)``.

    Args:
        query: ``q``, ``(B, F)``.
        positive: ``k+``, ``(B, F)``.
        negative: ``k-``, ``(B, F)``.
        distance: ``d``.
        margin: in units of the distance.
    """
    nearer = feature_distance(query, positive, distance)
    further = feature_distance(query, negative, distance)
    return (nearer - further + margin).clamp(min=0.0)


def negative_indices(images: int) -> torch.Tensor:
    """Return the index of each image's negative, ``(i + B // 2) mod B``, ``(B,)``.

    Raises:
        ValueError: for less than two images.

    Example:
        >>> negative_indices(5).tolist()
        [2, 3, 4, 0, 1]
    """
    if images < 2:
        raise ValueError(f"images: expected at least 2, got {images}; one image has no other to be told from, add some")
    return (torch.arange(images) + images // 2) % images


def feature_vectors(features: torch.Tensor, *, pooled: bool) -> torch.Tensor:
    """Return ``(B, F)``: the mean over the spatial axes of ``(B, C, *spatial)``, or everything in one row.

    Example:
        >>> maps = torch.ones(2, 3, 4, 4)
        >>> feature_vectors(maps, pooled=True).shape, feature_vectors(maps, pooled=False).shape
        (torch.Size([2, 3]), torch.Size([2, 48]))
    """
    vectors = features.flatten(2) if features.ndim > 2 else features.unsqueeze(2)
    # In float64 on the CPU: half precision would round (or overflow) the sum over a large map.
    return vectors.cpu().double().mean(2) if pooled else vectors.flatten(1)


def _check_shapes(query: torch.Tensor, positive: torch.Tensor) -> None:
    if query.shape != positive.shape or query.ndim < 2:
        raise ValueError(
            f"positive: expected the query's shape, (B, F) or (B, C, *spatial), got {tuple(positive.shape)} beside "
            f"{tuple(query.shape)}; both are features of the same images at the same level"
        )
    if query.shape[1:].numel() == 0:
        raise ValueError(f"query: expected at least one feature an image, got shape {tuple(query.shape)}")


def _check_finite(name: str, features: torch.Tensor) -> None:
    bad = ~torch.isfinite(features)
    if bad.any():
        where = int(bad.flatten(1).any(1).sum())
        raise ValueError(
            f"{name}: expected finite features, got {int(bad.sum())} NaN or infinite values in {where} of {len(bad)} "
            "images; the encoder diverged or an image is not finite, use an earlier checkpoint or mend the image"
        )
