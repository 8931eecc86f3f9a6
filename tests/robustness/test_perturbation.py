"""Every perturbation: shape, finiteness, one draw for each image, and the same draw in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import ColorJitter

from nnunet_iac.robustness.colour_jitter import ColourJitter
from nnunet_iac.robustness.medical_intensity import ComputedTomography, MagneticResonance
from nnunet_iac.robustness.perturbation import PERTURBATIONS, image_seed, perturb, perturbation_for

KINDS = sorted(PERTURBATIONS)
SHAPES = [(4, 3, 12, 10), (4, 1, 12, 10), (4, 3, 5, 8, 6), (4, 1, 5, 8, 6)]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def images_of(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def perturbed(images: torch.Tensor, kind: str, seed: int = 1, **words) -> torch.Tensor:
    return perturb(images, perturbation_for(kind), seed=seed, **words)


@every_kind
@every_shape
def test_shape_type_and_images_stay_and_values_change_a_little(kind, shape):
    images = images_of(shape)
    before = images.clone()

    changed = perturbed(images, kind)

    assert type(changed) is torch.Tensor
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)
    difference = (changed - images).flatten(1).std(1)
    assert ((difference > 0.001) & (difference < 0.4)).all()


@every_kind
@every_shape
def test_an_image_is_perturbed_alike_in_any_batch(kind, shape):
    images = images_of(shape)
    together = perturbed(images, kind)

    one_by_one = [perturbed(images[i : i + 1], kind, indices=[i]) for i in range(len(images))]
    backwards = perturbed(images.flip(0), kind, indices=[3, 2, 1, 0]).flip(0)

    assert torch.equal(together, torch.cat(one_by_one))
    assert torch.equal(together, backwards)


@every_kind
def test_each_image_has_a_draw_of_its_own(kind):
    same = images_of((1, 3, 12, 10)).expand(4, -1, -1, -1)

    versions = perturbed(same, kind)

    assert all(not torch.equal(versions[i], versions[j]) for i in range(4) for j in range(i))


@every_kind
def test_seed_and_view_change_the_draw_and_repeat_it(kind):
    images = images_of((2, 3, 12, 10))
    first = perturbed(images, kind)

    assert torch.equal(first, perturbed(images, kind))
    assert not torch.equal(first, perturbed(images, kind, seed=2))
    assert not torch.equal(first, perturbed(images, kind, view=1))


@every_kind
def test_global_generators_are_neither_read_nor_changed(kind):
    images = images_of((2, 3, 12, 10))
    torch.manual_seed(5)
    np.random.seed(5)
    first = perturbed(images, kind)
    after = torch.rand(1), np.random.rand()
    second = perturbed(images, kind)
    torch.manual_seed(5)
    np.random.seed(5)

    assert torch.equal(first, second)
    assert after == (torch.rand(1), np.random.rand())


@every_kind
@pytest.mark.parametrize("value", [0.0, -1.5, 1e4])
@pytest.mark.parametrize("spatial", [(6, 7), (3, 6, 7), (1, 1)])
def test_a_constant_image_stays_finite(kind, value, spatial):
    assert torch.isfinite(perturbed(torch.full((2, 3, *spatial), value), kind)).all()


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_type_of_the_images_is_kept(kind, dtype):
    assert perturbed(images_of((2, 3, 6, 6)).to(dtype), kind).dtype == dtype


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 12, 10), (3, 4, 6, 5)], ids=str)
def test_the_colour_jitter_is_torchvisions(shape, monkeypatch):
    """The same factors in the same order, given to torchvision's own class, give the same image."""
    image = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    image.view(-1)[:2] = torch.tensor([0.0, 1.0])
    generator = torch.Generator().manual_seed(11)
    order = torch.randperm(4, generator=generator)
    b, c, s, h = (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1).tolist()
    factors = (order, 1 + 0.1 * b, 1 + 0.05 * c, 1 + 0.1 * s, 0.05 * h)
    monkeypatch.setattr(ColorJitter, "get_params", staticmethod(lambda *_: factors))
    flat = image.reshape(shape[0], -1, shape[-1])
    expected = ColorJitter(brightness=0.1, contrast=0.05, saturation=0.1, hue=0.05)(flat).reshape(shape)

    torch.testing.assert_close(ColourJitter()(image, 11), expected)


@every_kind
def test_nothing_to_perturb_by_changes_nothing(kind):
    nothing = {
        "ct": ComputedTomography(shift=0, width=0, noise=0),
        "mr": MagneticResonance(bias=0, gamma=0, contrast=0, noise=0),
        "rgb": ColourJitter(brightness=0, contrast=0, saturation=0, hue=0),
    }[kind]
    images = images_of((2, 3, 6, 6))

    torch.testing.assert_close(perturb(images, nothing, seed=0), images, atol=1e-5, rtol=1e-5)


def test_the_bias_field_is_smooth_and_leaves_the_background():
    image = torch.ones(1, 1, 32, 32)
    image[..., 0, 0] = 0.0
    field = perturb(image, MagneticResonance(gamma=0, contrast=0, noise=0), seed=4)[0, 0]

    assert field[0, 0] == 0.0
    assert field.std() > 0.003
    assert field[1:].diff(dim=0).abs().max() < 0.1


def test_ct_moves_all_values_of_an_image_alike_but_for_noise():
    image = images_of((1, 1, 16, 16))
    changed = perturb(image, ComputedTomography(noise=0), seed=4)

    line = np.polyfit(image.flatten().numpy(), changed.flatten().numpy(), 1)
    np.testing.assert_allclose(np.polyval(line, image.numpy()), changed.numpy(), atol=1e-5)


def test_seeds_of_many_images_and_views_are_all_different():
    seeds = {image_seed(seed, index, view) for seed in range(5) for index in range(200) for view in (0, 1)}
    assert len(seeds) == 2000


@pytest.mark.parametrize(
    ("images", "words", "message"),
    [
        (torch.zeros(2, 1, 4), {}, "images: expected .B, C, .spatial."),
        (torch.zeros(2, 1, 4, 4), {"indices": [0]}, "indices: expected one for each of 2 images, got 1"),
        (torch.zeros(2, 1, 4, 4), {"indices": [0, -1]}, "at least 0"),
        (torch.tensor([0.0, float("nan")]).reshape(2, 1, 1, 1), {"indices": [5, 8]}, r"got 1 NaN .* images \[8\]"),
    ],
)
def test_bad_images_are_named(images, words, message):
    with pytest.raises(ValueError, match=message):
        perturbed(images, "mr", **words)


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"floating type, got torch\.int64"):
        perturbed(torch.zeros(2, 1, 4, 4, dtype=torch.int64), "mr")


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="one of ct, mr, rgb, got 'pet'"):
        perturbation_for("pet")


def test_a_colour_jitter_of_four_channels_is_refused():
    with pytest.raises(ValueError, match=r"1 or 3 channels .* got 4"):
        perturbed(torch.zeros(2, 4, 4, 4), "rgb")


@pytest.mark.parametrize("broken", [lambda image, seed: image[..., :2], lambda image, seed: image / 0])
def test_a_perturbation_that_breaks_an_image_is_refused(broken):
    with pytest.raises(ValueError, match="perturbation: expected finite values of shape"):
        perturb(torch.ones(2, 1, 4, 4), broken, seed=0)
