"""Perturb images by intensity only, one draw for each image, repeatable image by image.

The paper's code calls ColorJitter on a whole batch, which draws one set of factors for all its images: a defect, since
images of one batch are then perturbed alike and the loss depends on how images are put into batches. Here the draw is
a function of ``(seed, index of the image, view)``: an image's perturbed version is the same in any batch and in any
order, and PyTorch's and NumPy's global generators are neither read nor changed.

Shapes never change, so that features of two versions can be compared voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from nnunet_iac.robustness.colour_jitter import ColourJitter
from nnunet_iac.robustness.medical_intensity import ComputedTomography, MagneticResonance

Perturbation = Callable[[torch.Tensor, int], torch.Tensor]
"""Takes one image ``(C, *spatial)`` in float32 and a seed, and returns another one of the same shape."""

PERTURBATIONS: Mapping[str, Perturbation] = {
    "ct": ComputedTomography(),
    "mr": MagneticResonance(),
    "rgb": ColourJitter(),
}
"""By kind of image; the parameters are each class's defaults."""


def perturbation_for(kind: str) -> Perturbation:
    """Return the perturbation for a kind of image: ``"ct"``, ``"mr"`` or ``"rgb"`` (the paper's).

    Raises:
        ValueError: for another kind.

    Example:
        >>> perturbation_for("rgb")
        ColourJitter(brightness=0.1, contrast=0.05, saturation=0.1, hue=0.05)
    """
    if kind not in PERTURBATIONS:
        raise ValueError(f"kind: expected one of {', '.join(PERTURBATIONS)}, got {kind!r}")
    return PERTURBATIONS[kind]


def perturb(
    images: torch.Tensor,
    perturbation: Perturbation,
    *,
    seed: int,
    indices: Sequence[int] | None = None,
    view: int = 0,
) -> torch.Tensor:
    """Return a perturbed version of each image, same shape, type and device; the images stay as they are.

    Args:
        images: ``(B, C, *spatial)`` with two or three spatial axes, finite, as nnU-Net normalised them.
        perturbation: applied to each image, with a seed of its own.
        seed: of the whole scoring, at least 0.
        indices: number of each image in the data set, at least 0; the default is 0 to B - 1. An image keeps its draw
            when it keeps its number.
        view: which of an image's versions, at least 0; the score compares views 0 and 1.

    Raises:
        ValueError: for images of other shapes or with values that are not finite, indices that do not fit, or a
            perturbation that changed the shape or made values that are not finite.
        TypeError: for images that are not of a floating type.

    Example:
        >>> images = torch.randn(3, 1, 8, 8)
        >>> together = perturb(images, perturbation_for("mr"), seed=7)
        >>> alone = perturb(images[2:], perturbation_for("mr"), seed=7, indices=[2])
        >>> torch.equal(together[2:], alone)
        True
    """
    numbers = list(range(len(images))) if indices is None else list(indices)
    _check(images, numbers)
    perturbed = torch.empty_like(images)
    for row, (image, number) in enumerate(zip(images, numbers, strict=True)):
        changed = perturbation(image.detach().float(), image_seed(seed, number, view))
        if changed.shape != image.shape or not torch.isfinite(changed).all():
            raise ValueError(
                f"perturbation: expected finite values of shape {tuple(image.shape)}, got shape {tuple(changed.shape)} "
                f"from {perturbation} for image {number}; use one that changes intensities only"
            )
        perturbed[row] = changed
    return perturbed


def image_seed(seed: int, index: int, view: int) -> int:
    """Return the seed of one draw, a number of 32 bits mixed from the three by NumPy's ``SeedSequence``.

    Raises:
        ValueError: if one of them is negative.

    Example:
        >>> image_seed(0, 1, 0) == image_seed(0, 1, 0), image_seed(0, 1, 0) == image_seed(1, 0, 0)
        (True, False)
    """
    if min(seed, index, view) < 0:
        raise ValueError(f"seed, index, view: expected numbers of at least 0, got {seed}, {index} and {view}")
    return int(np.random.SeedSequence((seed, index, view)).generate_state(1)[0])


def _check(images: torch.Tensor, indices: Sequence[int]) -> None:
    if images.ndim not in (4, 5):
        raise ValueError(f"images: expected (B, C, *spatial) with 2 or 3 spatial axes, got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"images: expected a floating type, got {images.dtype}; normalise the images first")
    if len(indices) != len(images):
        raise ValueError(f"indices: expected one for each of {len(images)} images, got {len(indices)}")
    bad = ~torch.isfinite(images)
    if bad.any():
        which = [number for number, row in zip(indices, bad.flatten(1).any(1).tolist(), strict=True) if row]
        raise ValueError(
            f"images: expected finite values, got {int(bad.sum())} NaN or infinite ones in images {which}; "
            "leave them out or mend them"
        )
