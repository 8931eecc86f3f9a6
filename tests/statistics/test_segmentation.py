"""Dice and HD95 of masks: units, empty masks, regions; against a slow plain HD95."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from nnunet_iac.statistics.patients import Agreement
from nnunet_iac.statistics.segmentation import label_agreements, mask_agreement

SPACING = (5.0, 1.5, 0.7)


def box(shape: tuple[int, ...] = (12, 14, 16), start: int = 3, length: int = 4) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(start, start + length) for _ in shape)] = True
    return mask


def slow_hd95(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    surfaces = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (first, second)]
    distances = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=-1)
    return float(max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1)))


def test_the_same_mask_agrees() -> None:
    assert mask_agreement(box(), box(), spacing=SPACING) == Agreement(100, 0, "neither")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_voxel_is_as_long_as_its_spacing(axis: int) -> None:
    shifted = np.roll(box(), 1, axis=axis)

    found = mask_agreement(shifted, box(), spacing=SPACING)

    assert found.dice == pytest.approx(75) and found.hd95 == pytest.approx(SPACING[axis])
    assert found == mask_agreement(box(), shifted, spacing=SPACING)


@pytest.mark.parametrize("shape", [(9, 11), (6, 9, 8)])
def test_random_masks_agree_with_the_slow_distance_and_the_definition_of_dice(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        first, second = (rng.random(shape) < density for density in (0.2, 0.5))
        found = mask_agreement(first, second, spacing=SPACING[: len(shape)])
        assert found.hd95 == pytest.approx(slow_hd95(first, second, SPACING[: len(shape)]), rel=1e-5)
        assert found.dice == pytest.approx(200 * (first & second).sum() / (first.sum() + second.sum()), rel=1e-5)


def test_a_flat_volume_is_an_image() -> None:
    flat, shifted = box((10, 12))[None], np.roll(box((10, 12)), 2, axis=1)[None]

    assert mask_agreement(flat, shifted, spacing=SPACING) == mask_agreement(flat[0], shifted[0], spacing=SPACING[1:])


@pytest.mark.parametrize("missing", ["prediction", "reference"])
def test_one_empty_mask_is_the_worst_that_can_be(missing: str) -> None:
    masks = {"prediction": box(), "reference": box()} | {missing: np.zeros_like(box())}
    corners = np.zeros((2, *box().shape), dtype=bool)
    corners[0, 0, 0, 0] = corners[1, -1, -1, -1] = True

    found = mask_agreement(**masks, spacing=SPACING)

    assert found == Agreement(0, pytest.approx(np.linalg.norm([11 * 5.0, 13 * 1.5, 15 * 0.7])), missing)
    assert found.hd95 == pytest.approx(mask_agreement(*corners, spacing=SPACING).hd95)


def test_two_empty_masks_agree_and_say_that_they_are_empty() -> None:
    empty = np.zeros_like(box())
    assert mask_agreement(empty, empty, spacing=SPACING) == Agreement(100, 0, "both")


def test_classes_and_regions_are_measured_each_by_itself() -> None:
    reference = np.where(box((10, 10), 2, 6), 1, 0)
    reference[4:6, 4:6] = 2
    prediction = np.where(reference == 2, 1, reference)

    ring, core, whole = label_agreements(prediction, reference, [[1], [2], [1, 2]], spacing=[1, 1])

    assert whole == Agreement(100, 0) and core.empty == "prediction" and 0 < ring.dice < 100


def test_voxels_that_nobody_annotated_do_not_count() -> None:
    reference = np.where(box((10, 10)), 1, 0)
    reference[:, 7:] = 9
    prediction = np.where(reference == 9, 1, reference)

    assert label_agreements(prediction, reference, [[1]], spacing=[1, 1], ignore=9) == (Agreement(100, 0),)
    assert label_agreements(prediction, reference, [[1]], spacing=[1, 1])[0].dice < 100


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)])
def test_a_spacing_that_does_not_fit_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spacing: expected 3 positive numbers"):
        mask_agreement(box(), box(), spacing=spacing)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction: expected the reference's shape \(12, 14, 16\)"):
        label_agreements(box((3, 3), 0, 1).astype(int), box().astype(int), [[1]], spacing=SPACING)
