"""Region features: masked moments as written with loops, small regions survive, empty ones are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_iac.similarity.encoder import RandomEncoder
from nnunet_iac.similarity.features import embed, pool_regions


def test_at_full_resolution_they_are_mean_and_deviation_of_the_voxels() -> None:
    torch.manual_seed(0)
    level, label_map = torch.randn(2, 3, 6, 5), torch.randint(0, 3, (2, 6, 5))

    found = pool_regions([level], label_map, [1, 2], deviation=True)

    rows = iter(found.features)
    for image in range(2):
        for label in (1, 2):
            voxels = level[image][:, label_map[image] == label]
            expected = torch.cat([voxels.mean(dim=1), voxels.std(dim=1, correction=0)])
            torch.testing.assert_close(next(rows), expected, rtol=1e-5, atol=1e-6)
    assert found.labels.tolist() == [1, 2, 1, 2] and found.images.tolist() == [0, 0, 1, 1] and found.empty == 0


def test_a_coarse_level_is_weighted_by_the_area_of_the_region() -> None:
    label_map = torch.tensor([[[1, 1, 1, 0], [1, 1, 0, 0]]])
    level = torch.tensor([[[[10.0, 20.0]]]])

    found = pool_regions([level], label_map, [1])

    assert found.features.item() == pytest.approx((10 * 4 + 20 * 1) / 5)


@pytest.mark.parametrize("spatial", [(64, 64), (16, 16, 16)])
def test_one_voxel_is_a_region_at_every_level(spatial: tuple[int, ...]) -> None:
    label_map = torch.zeros(1, *spatial, dtype=torch.long)
    label_map[(0, *[3] * len(spatial))] = 2
    levels = [torch.rand(1, 2, *[side // factor for side in spatial]) + 1 for factor in (1, 2, 8)]

    found = pool_regions(levels, label_map, [1, 2], deviation=True)

    assert found.labels.tolist() == [2] and found.empty == 1
    assert (found.features[0, :6] >= 1).all()
    np.testing.assert_allclose(found.features[0, 6:], 0, atol=1e-6)


def test_small_deviations_around_a_large_mean_survive() -> None:
    level = torch.tensor([[[[10_000.0, 10_001.0]]]])

    found = pool_regions([level], torch.ones(1, 1, 2, dtype=torch.long), [1], deviation=True)

    assert found.features[0].tolist() == pytest.approx([10_000.5, 0.5])


def test_labels_that_are_not_asked_for_are_nobodys() -> None:
    level = torch.tensor([[[[1.0, 2.0, 50.0]]]])

    found = pool_regions([level], torch.tensor([[[1, 1, 255]]]), [1])

    assert found.features.tolist() == [[1.5]]


def test_nan_stays_in_its_image() -> None:
    level = torch.ones(2, 1, 2, 2)
    level[0, 0, 0, 0] = torch.nan

    found = pool_regions([level], torch.ones(2, 2, 2, dtype=torch.long), [1])

    assert found.features.isnan().flatten().tolist() == [True, False]


def test_background_is_left_out_unless_asked_for() -> None:
    image, label_map = torch.rand(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long)
    label_map[0, :2] = 1
    names, encoder = {0: "background", 1: "organ"}, RandomEncoder(2)

    without, with_it = (embed(encoder, [(image, label_map)], names, background=wanted) for wanted in (False, True))

    assert without.side.labels.tolist() == [1] and without.side.names == {1: "organ"}
    assert with_it.side.labels.tolist() == [0, 1]


def test_batches_do_not_matter_and_everything_is_counted() -> None:
    torch.manual_seed(0)
    image, label_map = torch.rand(4, 2, 10, 12), torch.zeros(4, 10, 12, dtype=torch.long)
    label_map[:3, 2:5, 2:6], label_map[1, 7:, 7:] = 1, 2
    names, encoder = {1: "a", 2: "b"}, RandomEncoder(2)

    once = embed(encoder, [(image, label_map)], names)
    twice = embed(encoder, [(image[:1], label_map[:1]), (image[1:], label_map[1:])], names)

    np.testing.assert_allclose(once.side.features, twice.side.features, rtol=1e-3, atol=1e-4)
    assert (once.images, once.empty) == (twice.images, twice.empty) == (4, 4)
    assert once.side.labels.tolist() == twice.side.labels.tolist() == [1, 1, 2, 1]


def test_data_without_any_region_is_refused() -> None:
    batch = (torch.rand(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="belong together"):
        embed(RandomEncoder(2), [batch], {1: "organ"})
    with pytest.raises(ValueError, match="besides the background"):
        embed(RandomEncoder(2), [batch], {0: "background"})


def test_levels_that_do_not_fit_are_refused() -> None:
    label_map = torch.zeros(2, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got \(1, 3, 4, 4\) at level 1"):
        pool_regions([torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)], label_map, [1])
    with pytest.raises(ValueError, match="at least one level"):
        pool_regions([], label_map, [1])
