"""An extracted sub-network is a stock network with the supernet's logits."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from tiny_supernets import architecture, images, supernet
from torch import nn

from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace
from nnunet_iac.zoo.subnetwork import extract, recalibrate
from nnunet_iac.zoo.supernet import ElasticUNet

KINDS = pytest.mark.parametrize("kind", ["plain", "residual"])
DIMENSIONS = pytest.mark.parametrize("dimension", [2, 3])


def some(space: ElasticSpace, count: int = 3) -> list[SubnetConfiguration]:
    return [space.largest, space.smallest, *(space.random(seed=seed) for seed in range(count))]


def nnunets_network(section: Any) -> nn.Module:
    """What nnU-Net builds from a plans file with this section."""
    section = json.loads(json.dumps(section))
    return get_network_from_plans(
        section["network_class_name"],
        section["arch_kwargs"],
        section["_kw_requires_import"],
        2,
        3,
        deep_supervision=True,
    )


class TestExtraction:
    @KINDS
    @DIMENSIONS
    @pytest.mark.parametrize("norm", ["InstanceNorm", "BatchNorm"])
    @pytest.mark.parametrize("training", [False, True])
    @torch.no_grad()
    def test_logits_are_the_supernets_at_every_output(self, kind, dimension, norm, training):
        network, x = supernet(kind, dimension, norm).train(training), images(dimension)
        for configuration in some(network.space):
            alone = extract(network, configuration)
            for a, b in zip(alone.network(x), network(x, configuration), strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=0)

    @torch.no_grad()
    def test_a_residual_plan_whose_stages_all_differ_keeps_its_shortcuts(self):
        network = supernet("residual", features=(8, 16, 24))
        for configuration in some(network.space):
            alone = extract(network, configuration)
            torch.testing.assert_close(
                alone.network(images())[0], network(images(), configuration)[0], atol=1e-5, rtol=0
            )

    @torch.no_grad()
    def test_without_deep_supervision_there_is_one_output(self):
        network = supernet(deep_supervision=False)
        configuration = network.space.random(seed=3)
        alone = extract(network, configuration).network(images())
        torch.testing.assert_close(alone, network(images(), configuration), atol=1e-5, rtol=0)

    @KINDS
    @DIMENSIONS
    @torch.no_grad()
    def test_nnunet_builds_it_from_its_plan_and_loads_it_strictly(self, kind, dimension):
        network = supernet(kind, dimension)
        alone = extract(network, network.space.random(seed=5))
        theirs = nnunets_network(alone.architecture).eval()
        theirs.load_state_dict(alone.state_dict, strict=True)
        assert all(map(torch.equal, theirs(images(dimension)), alone.network(images(dimension))))

    @KINDS
    def test_the_largest_is_the_plans_network_and_its_weights(self, kind):
        network = supernet(kind)
        alone = extract(network, network.space.largest)
        assert alone.architecture == architecture(kind)
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in alone.state_dict.items())

    @KINDS
    def test_only_numbers_of_channels_and_layers_change(self, kind):
        network = supernet(kind, 3)
        small, plan = extract(network, network.space.smallest).architecture, architecture(kind, 3)
        changed = {k for k, v in plan["arch_kwargs"].items() if small["arch_kwargs"][k] != v}
        depths = {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}[kind]
        assert changed == {"features_per_stage", depths, "n_conv_per_stage_decoder"}
        assert small["arch_kwargs"]["features_per_stage"] == [2, 4, 4]

    def test_it_draws_no_random_number_and_shares_no_memory(self):
        network = supernet()
        before, weights = torch.get_rng_state(), copy.deepcopy(network.state_dict())
        alone = extract(network, network.space.random(seed=1))
        assert torch.equal(before, torch.get_rng_state())
        for parameter in alone.network.parameters():
            assert parameter.requires_grad
            parameter.data.fill_(7)
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())

    def test_a_configuration_that_does_not_exist_is_refused(self):
        with pytest.raises(ValueError, match=r"depths: expected at most \(2, 2, 2\)"):
            extract(supernet(), SubnetConfiguration((3, 1, 1), (1, 1), (1.0, 1.0, 1.0)))


class TestParameterCount:
    @KINDS
    def test_it_is_that_of_the_extracted_network(self, kind):
        network = supernet(kind)
        for configuration in some(network.space):
            alone = extract(network, configuration).network
            assert network.parameter_count(configuration) == sum(p.numel() for p in alone.parameters())

    @KINDS
    def test_smallest_and_largest_are_true_extremes(self, kind):
        network = ElasticUNet(architecture(kind), 2, 3, fractions=(0.25, 0.5, 1.0), multiple=2)
        counts = {c: network.parameter_count(c) for c in network.space}
        smallest, largest = (counts.pop(c) for c in (network.space.smallest, network.space.largest))
        assert smallest < min(counts.values()) and max(counts.values()) < largest


class TestRecalibration:
    def test_batch_normalisation_learns_the_statistics_of_the_batches(self):
        network = supernet(norm="BatchNorm")
        alone = extract(network, network.space.smallest).network
        batches = [images(batch=8, seed=seed) for seed in range(3)]
        layers = recalibrate(alone, batches)
        assert layers == sum(isinstance(m, nn.BatchNorm2d) for m in set(alone.modules()))
        first: Any = alone.encoder.stages[0][0].convs[0]
        with torch.no_grad():
            seen = [first.conv(x) for x in batches]
        means = torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0)
        variances = torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0)
        torch.testing.assert_close(first.norm.running_mean, means)
        torch.testing.assert_close(first.norm.running_var, variances)
        assert not alone.training

    @torch.no_grad()
    def test_it_repairs_a_narrow_networks_answers(self):
        network, x = supernet(norm="BatchNorm"), images(batch=16)
        alone = extract(network, network.space.smallest).network
        right = alone.train()(x)[0]
        wrong = extract(network, network.space.smallest).network.eval()(x)[0]
        recalibrate(alone.eval(), [x])
        assert (alone(x)[0] - right).abs().max() < 0.05 * (wrong - right).abs().max()

    def test_instance_normalisation_needs_none_and_takes_no_batch(self):
        alone = extract(supernet(), supernet().space.smallest).network
        batches = iter([images()])
        assert recalibrate(alone, batches) == 0
        assert next(batches) is not None

    def test_no_batch_is_an_error_and_the_statistics_stay(self):
        alone = extract(supernet(norm="BatchNorm"), supernet().space.smallest).network
        before = copy.deepcopy(alone.state_dict())
        with pytest.raises(ValueError, match="batches: expected at least one batch"):
            recalibrate(alone, [])
        assert all(torch.equal(value, before[name]) for name, value in alone.state_dict().items())
