"""One step trains the whole sandwich: gradients as separate networks have them, and narrow networks get better."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import slow_sandwich
import torch
import torch.nn.functional as F
from tiny_supernets import images, supernet

from nnunet_iac.zoo.distillation import distillation_loss
from nnunet_iac.zoo.shrinking import SupernetPlan
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.supernet import ElasticUNet
from nnunet_iac.zoo.supernet_training import accumulate_gradients, train_step


def batch(seed: int = 0, dimension: int = 2) -> dict[str, Any]:
    """Noise in two channels; the class of a voxel is how many of them are bright there; a target for each output."""
    x = images(dimension, batch=4, seed=seed)
    target = (x > 0).long().sum(1)
    return {"data": x, "target": [target, target[..., ::2, ::2]]}


def cross_entropy(outputs: Any, targets: Any) -> torch.Tensor:
    return F.cross_entropy(outputs[0], targets[0])


def deep(outputs: Any, targets: Any) -> torch.Tensor:
    return sum(F.cross_entropy(o, t) for o, t in zip(outputs, targets, strict=True))


def regions(outputs: Any, targets: Any) -> torch.Tensor:
    inside = F.one_hot(targets[0], 3).movedim(-1, 1).float()
    return F.binary_cross_entropy_with_logits(outputs[0], inside)


def sandwich(network: ElasticUNet, drawn: int = 2) -> list[Any]:
    space = network.space
    return [space.largest, space.smallest, *(space.random(seed=seed) for seed in range(drawn))]


def train(network: ElasticUNet, steps: int, *, alone: bool = False, distillation: float = 1.0) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    plan = SupernetPlan(full_epochs=0, depth_epochs=0, width_epochs=1, random_networks=1)
    for iteration in range(steps):
        networks = (network.space.largest,) if alone else plan.configurations(network.space, 0, iteration)
        train_step(network, cross_entropy, batch(iteration), networks, optimizer, distillation=distillation)


@torch.no_grad()
def loss_of(network: ElasticUNet, configuration: Any) -> float:
    unseen = batch(10_000)
    return float(cross_entropy(network(unseen["data"], configuration), unseen["target"]))


@torch.no_grad()
def divergence_of(network: ElasticUNet) -> float:
    x = batch(10_000)["data"]
    return float(distillation_loss(network(x, network.space.smallest), network(x)))


class TestGradients:
    @pytest.mark.parametrize(
        ("kind", "dimension", "norm"),
        [
            ("plain", 2, "InstanceNorm"),
            ("residual", 2, "BatchNorm"),
            ("plain", 3, "BatchNorm"),
            ("residual", 3, "InstanceNorm"),
        ],
    )
    def test_they_are_those_of_separate_networks_summed(self, kind, dimension, norm):
        network, data = supernet(kind, dimension, norm).train(), batch(dimension=dimension)
        configurations = sandwich(network)
        separate = [extract(network, c).network for c in configurations]
        slow = slow_sandwich.gradients(network, separate, deep, data["data"], data["target"], 0.7)
        accumulate_gradients(network, deep, data, configurations, distillation=0.7)
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad, slow[name], atol=1e-5, rtol=1e-5, msg=name)

    def test_they_are_so_for_regions_too(self):
        network, data = supernet().train(), batch()
        configurations = sandwich(network)
        separate = [extract(network, c).network for c in configurations]
        slow = slow_sandwich.gradients(network, separate, regions, data["data"], data["target"], 2.0, regions=True)
        accumulate_gradients(network, regions, data, configurations, distillation=2.0, activation="sigmoid")
        for name, parameter in network.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(gradient, slow[name], atol=1e-5, rtol=1e-5, msg=name)


class TestTraining:
    def test_the_sandwich_helps_the_smallest_network_and_soft_targets_bring_it_nearer_the_largest(self):
        lonely, hard, soft = supernet(), supernet(), supernet()
        train(lonely, 24, alone=True)
        train(hard, 24, distillation=0.0)
        train(soft, 24)
        # Measured: 1.10 untrained; 1.11, 0.89 and 0.84 trained; divergence from the largest 0.34, 0.23 and 0.15.
        untrained, alone, shared, distilled = (loss_of(n, n.space.smallest) for n in (supernet(), lonely, hard, soft))
        assert max(shared, distilled) < 0.9 * min(untrained, alone)
        far, nearer, nearest = (divergence_of(n) for n in (lonely, hard, soft))
        assert nearest < 0.85 * nearer and nearer < 0.85 * far

    def test_the_same_call_gives_the_same_weights(self):
        first, second = supernet(), supernet()
        for network in (first, second):
            train(network, 2)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))

    def test_the_record_has_a_loss_for_each_network_and_no_divergence_for_the_teacher(self):
        network = supernet()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        record = train_step(network, cross_entropy, batch(), sandwich(network), optimizer)
        assert len(record.losses) == len(record.divergences) == 4
        assert record.divergences[0] == 0 and min(record.divergences[1:]) > 0
        with torch.no_grad():
            expected = cross_entropy(network(batch()["data"], network.space.smallest), batch()["target"])
        assert record.losses[1] == pytest.approx(float(expected))

    def test_a_gradient_scaler_changes_nothing_but_skips_what_overflows(self):
        plain, scaled = supernet(), supernet()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for network, more in ((plain, {}), (scaled, {"scaler": scaler})):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            train_step(network, cross_entropy, batch(), sandwich(network), optimizer, **more)
        for a, b in zip(plain.parameters(), scaled.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
        before = copy.deepcopy(scaled.state_dict())
        train_step(scaled, lambda o, t: o[0].sum() * float("inf"), batch(), sandwich(scaled), optimizer, scaler=scaler)
        assert all(torch.equal(value, before[name]) for name, value in scaled.state_dict().items())
        assert scaler.get_scale() == 2.0**9

    def test_gradients_do_not_stay_behind(self):
        network = supernet()
        train_step(network, cross_entropy, batch(), sandwich(network), torch.optim.SGD(network.parameters(), lr=0.1))
        assert all(p.grad is None for p in network.parameters())

    def test_the_norm_of_the_summed_gradient_is_clipped(self):
        network = supernet()
        before = [p.detach().clone() for p in network.parameters()]
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        train_step(network, cross_entropy, batch(), sandwich(network), optimizer, clip=1e-3)
        moved = sum(float((a - b).detach().square().sum()) for a, b in zip(network.parameters(), before, strict=True))
        assert moved**0.5 == pytest.approx(1e-3, rel=0.05)


class TestBadInput:
    def test_nan_stops_the_step_and_leaves_the_weights(self):
        network = supernet()
        before = copy.deepcopy(network.state_dict())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with pytest.raises(FloatingPointError, match=r"Source: .* lower the learning rate"):
            train_step(network, lambda o, t: o[0].sum() * float("nan"), batch(), sandwich(network), optimizer)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())

    def test_networks_without_their_teacher_are_refused(self):
        network = supernet()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        wrong = sandwich(network)[::-1]
        with pytest.raises(ValueError, match="expected the largest network first"):
            train_step(network, cross_entropy, batch(), wrong, optimizer)
        train_step(network, cross_entropy, batch(), wrong, optimizer, distillation=0.0)

    def test_no_network_is_refused(self):
        network = supernet()
        with pytest.raises(ValueError, match="expected at least one network"):
            train_step(network, cross_entropy, batch(), [], torch.optim.SGD(network.parameters(), lr=0.1))
