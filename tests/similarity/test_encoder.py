"""The built-in encoder: the same numbers everywhere, any channels, two and three dimensions, no NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_iac.similarity.encoder import WIDTHS, RandomEncoder

RNG = np.random.default_rng(0)


def images(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def test_weights_are_the_ones_of_the_stream() -> None:
    encoder = RandomEncoder(2)

    # Golden: from PCG64(0)'s raw stream by exact arithmetic; a change here makes stored features worthless.
    first = encoder.get_buffer("weight_0").flatten()[:4].tolist()
    assert first == pytest.approx([0.149165, -0.274813, -0.539023, -0.567251], abs=1e-6)
    assert float(encoder.get_buffer("weight_3").double().sum()) == pytest.approx(-9.819866, abs=1e-4)


def test_features_of_a_fixed_image_are_stored_numbers() -> None:
    ramp = torch.arange(64.0).reshape(1, 1, 8, 8) % 7

    found = [float(level.double().mean()) for level in RandomEncoder(2)(ramp)]

    assert found == pytest.approx([0.0, 0.677535, 0.599658, 0.348472, 0.095107], abs=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_levels_halve_the_resolution_whatever_the_channels(dimensions: int) -> None:
    spatial = (11, 6, 5)[:dimensions]
    for channels in (1, 2, 5):
        levels = RandomEncoder(dimensions)(images(2, channels, *spatial))
        assert [level.shape[1] for level in levels] == [1, *WIDTHS]
        assert [level.shape[2] for level in levels] == [11, 11, 6, 3, 2]


def test_the_seed_decides_and_torch_does_not() -> None:
    image = images(1, 1, 9, 9)
    torch.manual_seed(1)
    first = RandomEncoder(2)(image)[-1]
    torch.manual_seed(2)

    assert torch.equal(first, RandomEncoder(2)(image)[-1])
    assert not torch.allclose(first, RandomEncoder(2, seed=1)(image)[-1])


def test_order_and_repetition_of_channels_and_their_scale_mean_nothing() -> None:
    image = images(1, 3, 16, 16)
    encoder = RandomEncoder(2)
    expected = encoder(image)

    for same in (image[:, [2, 0, 1]], image.repeat(1, 2, 1, 1), image * 100 + 1000):
        for a, b in zip(encoder(same), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    batch = images(3, 2, 12, 12)
    encoder = RandomEncoder(2)

    torch.testing.assert_close(encoder(batch)[-1][1:2], encoder(batch[1:2])[-1], rtol=1e-4, atol=1e-5)


def test_a_constant_image_gives_zeros_and_nan_stays_in_its_image() -> None:
    batch = images(3, 1, 8, 8)
    batch[0], batch[1, 0, 0, 0] = 7.0, torch.nan
    levels = RandomEncoder(2)(batch)

    assert all(level[0].eq(0).all() for level in levels)
    assert levels[-1][1].isnan().any() and all(level[2].isfinite().all() for level in levels)


def test_it_has_nothing_to_train_and_a_size_of_one_is_enough() -> None:
    encoder = RandomEncoder(3)

    assert not list(encoder.parameters())
    assert encoder(images(1, 1, 1, 1, 1))[-1].shape == (1, WIDTHS[-1], 1, 1, 1)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="slice volumes"):
        RandomEncoder(2)(images(1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match="none of them empty"):
        RandomEncoder(2)(images(0, 1, 4, 4))
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        RandomEncoder(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="widths"):
        RandomEncoder(2, widths=())
