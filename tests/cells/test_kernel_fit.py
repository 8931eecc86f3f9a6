"""One layer's weights in another: what response they keep, and what is counted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nnunet_iac.cells.image_channels import channel_mixture
from nnunet_iac.cells.kernel_fit import fit_convolution, fit_taps, fit_vector, fit_widths


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """As nnU-Net's convolutions pad."""
    padding = [(k - 1) // 2 for k in weight.shape[2:]]
    return (functional.conv3d if weight.dim() == 5 else functional.conv2d)(x, weight, padding=padding)


class TestTaps:
    @pytest.mark.parametrize("kernel", [(5, 3), (3, 5), (7, 7)])
    def test_a_larger_kernel_computes_the_same_at_the_borders_too(self, kernel):
        weight, x = weights(2, 3, 3, 3), weights(1, 3, 9, 8, seed=1)

        assert torch.allclose(convolve(x, weight), convolve(x, fit_taps(weight, kernel)), atol=1e-5)

    @pytest.mark.parametrize("depth", [1, 2, 3, 5])
    def test_2d_in_3d_computes_each_slice_as_before(self, depth):
        weight, x = weights(2, 3, 3, 3), weights(1, 3, 6, 9, 8, seed=1)
        slices = torch.stack([convolve(x[:, :, z], weight) for z in range(6)], dim=2)

        found = convolve(x, fit_taps(weight, (depth, 3, 3)))

        assert torch.allclose(found[:, :, :6], slices[:, :, : found.shape[2]], atol=1e-5)

    def test_where_the_new_axis_has_kernel_1_it_is_only_added(self):
        weight = weights(2, 3, 3, 3)

        assert torch.equal(fit_taps(weight, (1, 3, 3)), weight.unsqueeze(2))

    @pytest.mark.parametrize("kernel", [(1, 3), (3, 1), (1, 1)])
    def test_a_smaller_kernel_keeps_the_response_to_what_is_constant_along_the_axis(self, kernel):
        weight, x = weights(2, 3, 5, 5), torch.ones(1, 3, 9, 9) * torch.tensor([1.0, -2.0, 3.0])[:, None, None]

        before, after = (convolve(x, w)[..., 4, 4] for w in (weight, fit_taps(weight, kernel)))

        assert torch.allclose(before, after, atol=1e-5)

    @pytest.mark.parametrize("depth", [1, 3, 5])
    def test_3d_to_2d_meets_a_volume_that_is_constant_along_the_slices_as_before(self, depth):
        weight, x = weights(2, 3, depth, 3, 3), weights(1, 3, 9, 8, seed=1)
        volume = x[:, :, None].expand(-1, -1, 9, -1, -1)

        assert torch.allclose(convolve(x, fit_taps(weight, (3, 3))), convolve(volume, weight)[:, :, 4], atol=1e-5)

    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("kernel", [(1, 2, 2), (2, 2, 2), (3, 2, 2)])
    def test_2d_to_3d_and_back_gives_equal_bits(self, transposed, kernel):
        weight = weights(4, 3, 2, 2)

        there = fit_taps(weight, kernel, transposed=transposed)

        assert there.shape == (4, 3, *kernel)
        assert torch.allclose(fit_taps(there, (2, 2), transposed=transposed), weight, atol=1e-6)

    @pytest.mark.parametrize("depth", [1, 2])
    def test_a_transposed_kernel_upsamples_what_is_constant_along_the_new_axis_to_the_same(self, depth):
        weight, x = weights(3, 4, 2, 2), weights(1, 3, 5, 6, seed=1)
        flat = functional.conv_transpose2d(x, weight, stride=2)

        kernel = fit_taps(weight, (depth, 2, 2), transposed=True)
        volume = functional.conv_transpose3d(x[:, :, None].expand(-1, -1, 3, -1, -1), kernel, stride=(depth, 2, 2))

        assert torch.equal(volume, flat[:, :, None].expand_as(volume))


class TestWidths:
    def test_leading_outputs_of_a_wider_layer_compute_the_same_whatever_the_new_inputs_are(self):
        old, fresh = weights(2, 3, 3, 3), weights(5, 4, 3, 3, seed=1)
        x = weights(1, 4, 8, 8, seed=2)

        new = fit_widths(old, fresh)

        assert torch.allclose(convolve(x, new)[:, :2], convolve(x[:, :3], old), atol=1e-6)
        assert torch.equal(new[2:], fresh[2:])

    def test_each_half_of_a_concatenation_keeps_its_leading_channels(self):
        old = torch.arange(8.0).view(1, 8, 1, 1)

        wider = fit_widths(old, torch.full((1, 12, 1, 1), 9.0), groups=2).flatten().tolist()
        narrower = (fit_widths(old, torch.zeros(1, 4, 1, 1), groups=2) / 2**0.5).flatten()

        assert wider == [0, 1, 2, 3, 0, 0, 4, 5, 6, 7, 0, 0]
        assert torch.allclose(narrower, torch.tensor([0.0, 1.0, 4.0, 5.0]))

    def test_a_narrower_layer_keeps_the_variance_of_the_response(self):
        old, x = weights(16, 256, 3, 3), weights(4, 256, 16, 16, seed=1)

        new = fit_widths(old, torch.zeros(16, 64, 3, 3))

        assert convolve(x[:, :64], new).std() == pytest.approx(convolve(x, old).std().item(), rel=0.05)

    def test_a_vector_keeps_its_leading_numbers_and_the_rest_is_fresh(self):
        wider, narrower = (fit_vector(torch.tensor([1.0, 2.0]), torch.full((n,), 9.0)) for n in (3, 1))

        assert (wider.tensor.tolist(), wider.from_source, wider.fresh) == ([1, 2, 9], 2, 1)
        assert (narrower.tensor.tolist(), narrower.from_source, narrower.fresh) == ([1], 1, 0)
        assert fit_vector(torch.tensor(3), torch.tensor(0)).tensor == 3


class TestWhatIsCounted:
    def test_equal_shapes_give_equal_bits_and_no_words(self):
        weight = weights(4, 2, 3, 3)

        fitted = fit_convolution(weight, torch.zeros(4, 2, 3, 3), mixture=channel_mixture(["a", ""], ["A", ""]))

        assert torch.equal(fitted.tensor, weight) and fitted.tensor is not weight
        assert (fitted.from_source, fitted.fresh, fitted.how) == (72, 0, "")

    @pytest.mark.parametrize(
        ("old", "new", "transposed"),
        [
            ((4, 2, 3, 3), (6, 5, 3, 3), False),
            ((4, 2, 3, 3), (4, 2, 3, 5, 3), False),
            ((4, 2, 3, 5, 3), (3, 3, 3, 3), False),
            ((4, 4, 2, 2), (6, 2, 2, 2, 2), True),
        ],
    )
    def test_the_count_is_that_of_a_source_of_ones_in_a_target_of_nan(self, old, new, transposed):
        fitted = fit_convolution(torch.ones(old), torch.full(new, torch.nan), transposed=transposed)

        assert fitted.from_source == int((fitted.tensor > 0).sum())
        assert fitted.fresh == int(fitted.tensor.isnan().sum())
        assert fitted.how

    def test_a_channel_that_starts_at_zero_is_not_counted_as_the_sources(self):
        fitted = fit_convolution(
            torch.ones(2, 1, 3, 3), torch.full((2, 2, 3, 3), torch.nan), mixture=channel_mixture(["T1"], ["T2", "T1"])
        )

        assert (fitted.from_source, fitted.fresh, int(fitted.tensor.sum())) == (18, 0, 18)
        assert "channel T2 starts at zero" in fitted.how
