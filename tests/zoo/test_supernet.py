"""The supernet is the stock network of its plan, and sorting its channels changes no answer."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tiny_supernets import architecture, disturb, images, supernet
from torch import nn

from nnunet_iac.zoo.stock import StockArchitecture
from nnunet_iac.zoo.supernet import ElasticUNet

KINDS = pytest.mark.parametrize("kind", ["plain", "residual"])
DIMENSIONS = pytest.mark.parametrize("dimension", [2, 3])


@KINDS
@DIMENSIONS
class TestTheLargest:
    def test_it_has_the_parameters_and_the_logits_of_the_stock_network_bit_by_bit(self, kind, dimension):
        stock = StockArchitecture(architecture(kind, dimension)).build(2, 3, deep_supervision=True)
        disturb(stock)
        network = supernet(kind, dimension)
        network.load_state_dict(stock.state_dict())
        assert list(network.state_dict()) == list(stock.state_dict())
        for x in (images(dimension), images(dimension, batch=1, seed=1)):
            assert all(map(torch.equal, network(x), stock(x)))

    def test_slices_of_everything_give_the_same(self, kind, dimension):
        network, x = supernet(kind, dimension), images(dimension)
        for sliced, stock in zip(network.sliced_forward(x, network.space.largest), network(x), strict=True):
            torch.testing.assert_close(sliced, stock, atol=1e-6, rtol=0)


class TestSlices:
    def test_deep_supervision_is_switched_where_nnunet_does(self):
        network = supernet(deep_supervision=False)
        outputs = network(images(), network.space.smallest)
        network.decoder.deep_supervision = True
        assert torch.equal(outputs, network(images(), network.space.smallest)[0])

    def test_a_small_network_trains_the_first_channels_of_the_first_layers_only(self):
        network = supernet()
        network(images(), network.space.smallest)[0].sum().backward()
        first = network.encoder.stages[0][0].convs[0].conv.weight.grad
        assert first[:2].abs().sum() > 0 and first[2:].abs().sum() == 0
        merge = network.decoder.stages[1].convs[0].conv.weight.grad.abs().sum((0, 2, 3))
        assert [c for c, value in enumerate(merge) if value > 0] == [0, 1, 8, 9]
        assert network.encoder.stages[0][0].convs[1].conv.weight.grad is None

    def test_statistics_of_the_largest_network_are_left_alone(self):
        network = supernet(norm="BatchNorm").train()
        before = copy.deepcopy(dict(network.named_buffers()))
        network(images(), replace(network.space.largest, depths=(1, 1, 1)))
        assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
        network(images())
        assert any(not torch.equal(value, before[name]) for name, value in network.named_buffers())


class TestSorting:
    @KINDS
    @DIMENSIONS
    @pytest.mark.parametrize("norm", ["InstanceNorm", "BatchNorm"])
    def test_it_changes_no_logit_of_any_depth_at_full_width(self, kind, dimension, norm):
        network, x = supernet(kind, dimension, norm), images(dimension)
        space = network.space
        deep, shallow = space.largest, replace(space.smallest, widths=space.largest.widths)
        before, weights = [network(x, c) for c in (deep, shallow)], copy.deepcopy(network.state_dict())
        network.sort_channels()
        assert any(not torch.equal(weights[name], value) for name, value in network.state_dict().items())
        for old, configuration in zip(before, (deep, shallow), strict=True):
            for a, b in zip(old, network(x, configuration), strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=0)

    def test_the_most_important_channels_come_first(self):
        network = supernet()
        network.sort_channels()
        convs = network.encoder.stages[0][0].convs
        produced = sum(c.conv.weight.abs().sum((1, 2, 3)) for c in convs)
        read = convs[1].conv.weight.abs().sum((0, 2, 3)) + network.encoder.stages[1][0].convs[0].conv.weight.abs().sum(
            (0, 2, 3)
        )
        skip = network.decoder.stages[1].convs[0].conv.weight[:, 8:].abs().sum((0, 2, 3))
        importance = produced + read + skip
        assert bool((importance.diff() <= 1e-4).all())

    def test_sorting_twice_is_sorting_once(self):
        network = supernet("residual")
        network.sort_channels()
        once = copy.deepcopy(network.state_dict())
        network.sort_channels()
        assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())

    def test_training_goes_on_as_if_nothing_had_been_sorted(self):
        sorted_, plain = supernet("residual"), supernet("residual")
        for network in (sorted_, plain):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
            for _ in range(3):
                optimizer.zero_grad()
                sum(output.square().mean() for output in network(images())).backward()
                optimizer.step()
                if network is sorted_:
                    network.sort_channels(optimizer)
        for a, b in zip(sorted_(images()), plain(images()), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 1, 16, 16), r"x: expected \(B, 2, size, size\), got \(1, 1, 16, 16\)"),
            ((1, 2, 4, 16, 16), "give images of the plan's dimension"),
            ((1, 2, 16, 18), r"multiples of the plan's total stride \[4, 4\], got \(16, 18\)"),
        ],
    )
    def test_images_that_do_not_fit_the_plan_are_refused(self, shape, message):
        with pytest.raises(ValueError, match=message):
            supernet()(torch.zeros(shape))

    @pytest.mark.parametrize(("images_channels", "classes"), [(0, 3), (2, 0)])
    def test_a_network_without_inputs_or_outputs_is_refused(self, images_channels, classes):
        with pytest.raises(ValueError, match="input_channels, num_classes: expected at least 1"):
            ElasticUNet(architecture(), images_channels, classes)

    def test_a_configuration_of_another_plan_is_refused(self):
        other = supernet(features=(8, 16)).space.smallest
        with pytest.raises(ValueError, match="expected 3 encoder stages as in the plan, got 2"):
            supernet()(images(), other)

    def test_widths_that_leave_a_residual_stage_without_its_shortcut_are_refused(self):
        with pytest.raises(ValueError, match="offer larger fractions or a smaller multiple"):
            ElasticUNet(architecture("residual"), 2, 3, multiple=8)

    def test_one_voxel_is_refused_by_instance_normalisation_as_in_the_stock_network(self):
        network, x = supernet(), torch.zeros(1, 2, 4, 4)
        for configuration in (network.space.largest, network.space.smallest):
            with pytest.raises(ValueError, match="Expected more than 1 spatial element"):
                network.train()(x, configuration)


def test_a_plan_without_normalisation_and_bias_has_slices_too():
    section = architecture(norm_op=None, norm_op_kwargs=None, conv_bias=False)
    network = ElasticUNet(section, 2, 3, multiple=2)
    assert isinstance(network.decoder.transpconvs[0], nn.ConvTranspose2d)
    assert network(images(), network.space.smallest)[0].shape == (2, 3, 16, 16)
