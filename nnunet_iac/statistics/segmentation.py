"""Dice and HD95 of one segmented image, by MONAI; what empty masks mean is decided here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from numpy.typing import NDArray

from nnunet_iac.statistics.patients import Agreement

PERCENTILE = 95


def label_agreements(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    classes: Sequence[Sequence[int]],
    *,
    spacing: Sequence[float],
    ignore: int | None = None,
) -> tuple[Agreement, ...]:
    """Return the agreement of each class or region of two label maps.

    Args:
        prediction: ``(*spatial)``, label values.
        reference: ``(*spatial)``, label values.
        classes: for each class the label values that make it up (several for a region).
        spacing: in mm, one for each axis, in the order of the axes of the arrays.
        ignore: label value of the reference where nothing is known; such voxels belong to no mask, as in nnU-Net.

    Raises:
        ValueError: if shapes or spacing do not fit.

    Example:
        >>> labels = np.array([[0, 1], [2, 2]])
        >>> [a.dice for a in label_agreements(labels, labels, [[1], [1, 2]], spacing=[1, 1])]
        [100.0, 100.0]
    """
    known = np.ones(reference.shape, dtype=bool) if ignore is None else reference != ignore
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction: expected the reference's shape {reference.shape}, got {prediction.shape}")
    pairs = (
        (np.isin(prediction, list(values)) & known, np.isin(reference, list(values)) & known) for values in classes
    )
    return tuple(mask_agreement(predicted, true, spacing=spacing) for predicted, true in pairs)


def mask_agreement(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], *, spacing: Sequence[float]
) -> Agreement:
    """Return Dice in points and HD95 of two masks ``(*spatial)``.

    HD95 is MONAI's: the larger of the two directed 95th percentiles over the voxels of the two surfaces. Axes of one
    voxel are dropped first; they have no surface, so that every voxel of a flat 3D image would be one.

    If one mask is empty, HD95 is undefined. It is then the largest distance between two voxels of the image,
    ``sqrt(sum_i ((n_i - 1) spacing_i)^2)`` (our choice): no defined value of this image can be worse, so that missing
    a structure never pays, and the mean stays finite. If both are empty they agree: Dice 100, HD95 0.

    Raises:
        ValueError: if shapes or spacing do not fit.

    Example:
        >>> reference = np.zeros((4, 4), dtype=bool)
        >>> reference[1, 1] = True
        >>> mask_agreement(np.roll(reference, 2, axis=0), reference, spacing=[1.5, 1])
        Agreement(dice=0.0, hd95=3.0, empty='neither')
        >>> mask_agreement(np.zeros_like(reference), reference, spacing=[1, 1]).empty
        'prediction'
    """
    _check(prediction, reference, spacing)
    if not prediction.any() and not reference.any():
        return Agreement(100.0, 0.0, "both")
    if not prediction.any() or not reference.any():
        extent = [(size - 1) * step for size, step in zip(reference.shape, spacing, strict=True)]
        return Agreement(0.0, float(np.linalg.norm(extent)), "reference" if prediction.any() else "prediction")
    kept = [float(step) for size, step in zip(reference.shape, spacing, strict=True) if size > 1] or [1.0]
    predicted, true = (torch.from_numpy(np.atleast_1d(mask.squeeze()))[None, None] for mask in (prediction, reference))
    dice = compute_dice(predicted, true)
    with warnings.catch_warnings():
        # MONAI 1.6 calls itself with an argument that it declares deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        hd95 = compute_hausdorff_distance(predicted, true, include_background=True, percentile=PERCENTILE, spacing=kept)
    return Agreement(100 * float(dice), float(hd95))


def _check(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction: expected the reference's shape {reference.shape}, got {prediction.shape}")
    if len(spacing) != reference.ndim or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"spacing: expected {reference.ndim} positive numbers, one for each axis, got {list(spacing)}")
