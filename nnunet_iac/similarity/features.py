"""Features of (image, label region) pairs: masked mean and deviation of an encoder's responses at every level.

For a region with weight ``m(v)`` in [0, 1] at position ``v`` of a level (the part of the position that the region
covers) and responses ``x_c(v)``::

    mean_c = sum_v m(v) x_c(v) / sum_v m(v)          deviation_c = sqrt(sum_v m(v) (x_c(v) - mean_c)^2 / sum_v m(v))

Label maps are brought to a level's resolution area-wise, label by label, so that a region keeps its weight however
small it is. A label that has no voxel in an image gives no vector; such pairs are counted.

Background (label 0) is left out unless it is asked for (our choice). It is what was not annotated: air, other organs,
whatever the field of view holds. It is present in every image and covers most of it, so that with one label it would
be half of a data set's samples and compare scanners and crops more than the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nnunet_iac.similarity.labelled_features import LabelledFeatures

BACKGROUND = 0


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """Features of the regions of a batch.

    Attributes:
        features: ``(n, d)``, one row for each region that has a voxel, image after image.
        labels: ``(n,)``, the label of each row.
        images: ``(n,)``, the place of its image in the batch.
        empty: (image, label) pairs without a voxel.
    """

    features: Tensor
    labels: Tensor
    images: Tensor
    empty: int


@dataclass(frozen=True, eq=False)
class Embedding:
    """Features of a whole data set.

    Attributes:
        side: what :func:`nnunet_iac.similarity.distance.distance` takes.
        images: images seen.
        empty: (image, label) pairs without a voxel.
    """

    side: LabelledFeatures
    images: int
    empty: int


def embed(
    encoder: Callable[[Tensor], Sequence[Tensor]],
    batches: Iterable[tuple[Tensor, Tensor]],
    names: Mapping[int, str],
    *,
    background: bool = False,
    deviation: bool = True,
) -> Embedding:
    """Return the features of all label regions of a data set.

    Args:
        encoder: returns feature maps by level; the caller puts it into evaluation mode and on the device.
        batches: images ``(B, C, *spatial)`` with label maps ``(B, *spatial)``, on the encoder's device.
        names: name of each label to look at.
        background: also take label 0.
        deviation: append the deviations to the means.

    Raises:
        ValueError: if there is no label to look at, or no region has a voxel.

    Example:
        >>> from nnunet_iac.similarity.encoder import RandomEncoder
        >>> image, label = torch.rand(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)
        >>> label[0, 2:4, 2:4] = 1
        >>> found = embed(RandomEncoder(2), [(image, label)], {0: "background", 1: "cell"})
        >>> found.side.features.shape, found.images, found.empty
        ((1, 512), 2, 1)
    """
    wanted = {label: name for label, name in names.items() if background or label != BACKGROUND}
    if not wanted:
        raise ValueError(f"names: expected at least one label besides the background, got {dict(names)}")
    images, empty, features, labels = 0, 0, [], []
    with torch.no_grad():
        for image, label_map in batches:
            regions = pool_regions(encoder(image), label_map, tuple(wanted), deviation=deviation)
            images, empty = images + len(image), empty + regions.empty
            features.append(regions.features.cpu().numpy())
            labels.append(regions.labels.cpu().numpy())
    if not sum(map(len, labels)):
        raise ValueError(
            f"batches: expected a voxel of one of the labels {sorted(wanted)} in {images} images, got none; "
            "check that label maps and names belong together"
        )
    return Embedding(LabelledFeatures(np.concatenate(features), np.concatenate(labels), wanted), images, empty)


def pool_regions(
    levels: Sequence[Tensor], label_maps: Tensor, labels: Sequence[int], *, deviation: bool = False
) -> RegionFeatures:
    """Return one vector for each (image, label) pair: its means at all levels, then its deviations at all levels.

    Args:
        levels: feature maps ``(B, C_l, *spatial_l)`` of any resolutions and channel counts.
        label_maps: ``(B, *spatial)``, integers; values that are not in ``labels`` (ignored ones, say) are nobody's.
        labels: the labels to look at.
        deviation: append the deviations.

    Returns:
        ``d = sum_l C_l`` features a row, twice as many with deviations. Sums are taken in double precision.

    Raises:
        ValueError: if there is no level or no label, or a level does not fit the label maps.

    Example:
        >>> level = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> label_maps = torch.tensor([[[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2]]])
        >>> found = pool_regions([level], label_maps, [1, 2, 3], deviation=True)
        >>> found.labels.tolist(), found.empty
        ([1, 2], 1)
        >>> [[round(value, 3) for value in row] for row in found.features.tolist()]
        [[0.0, 0.0], [12.5, 2.062]]
    """
    _check(levels, label_maps, labels)
    masks = torch.stack([label_maps == label for label in labels], dim=1)
    present = masks.flatten(2).any(dim=2)
    pooled = [_moments(level, masks) for level in levels]
    vectors = torch.cat([mean for mean, _ in pooled] + ([sd for _, sd in pooled] if deviation else []), dim=2)
    images, places = present.nonzero(as_tuple=True)
    return RegionFeatures(
        features=vectors[present].float(),
        labels=torch.as_tensor(labels, device=places.device)[places],
        images=images,
        empty=int((~present).sum()),
    )


def _moments(level: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return masked means and deviations ``(B, L, C)``; those of an empty region are 0."""
    weights = functional.interpolate(masks.float(), size=level.shape[2:], mode="area").flatten(2).double()
    weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    x = level.flatten(2).double()
    mean = torch.einsum("blv,bcv->blc", weights, x)
    # Centred at the mean over the image first: a difference of two large squares would lose the small deviations.
    centre = x.mean(dim=2, keepdim=True)
    second = torch.einsum("blv,bcv->blc", weights, (x - centre).square())
    return mean, (second - (mean - centre.mT).square()).clamp_min(0).sqrt()


def _check(levels: Sequence[Tensor], label_maps: Tensor, labels: Sequence[int]) -> None:
    if not levels or not labels:
        raise ValueError(f"levels: expected at least one level and one label, got {len(levels)} and {len(labels)}")
    for place, level in enumerate(levels):
        if level.ndim != label_maps.ndim + 1 or len(level) != len(label_maps):
            raise ValueError(
                f"levels: expected (batch, channels, *spatial) for label maps of shape {tuple(label_maps.shape)}, got "
                f"{tuple(level.shape)} at level {place}"
            )
