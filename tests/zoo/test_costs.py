"""What a network costs is measured, and limits name what breaks them."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_supernets import architecture
from torch import nn

from nnunet_iac.zoo.costs import Costs, Limits, measure_costs, size_of
from nnunet_iac.zoo.stock import StockArchitecture

CPU = torch.device("cpu")


def unet(features: tuple[int, ...] = (8, 16, 16), dimension: int = 2) -> nn.Module:
    return StockArchitecture(architecture(features=features, dimension=dimension)).build(1, 2)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_convolution_costs_what_the_formula_says(dimension: int) -> None:
    convolution = (nn.Conv2d, nn.Conv3d)[dimension - 2](2, 4, 3, padding=1, bias=False)

    costs = measure_costs(convolution, 2, (8,) * dimension, device=CPU)

    kernel, voxels = 3**dimension, 8**dimension
    assert costs.parameters == 8 * kernel and costs.macs == 8 * kernel * voxels
    assert costs.memory_mb == pytest.approx((8 * kernel + 4 * voxels) * 4 / 2**20)
    assert costs.latency_ms > 0


def test_memory_is_what_lives_at_a_time_and_not_what_was_ever_made() -> None:
    class Chain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(5):
                x = x + 1  # the old one is let go when the new one has its name
            return x.view(-1)  # and a view is no tensor of its own

    one = 64 * 64 * 4
    assert measure_costs(Chain(), 1, (64, 64), device=CPU).memory_mb * 2**20 == 2 * one


def test_wider_networks_cost_more_of_everything_that_is_no_time() -> None:
    narrow, wide = (measure_costs(unet(f), 1, (32, 32), device=CPU) for f in ((8, 8, 8), (16, 16, 16)))

    assert all(getattr(narrow, n) < getattr(wide, n) for n in ("parameters", "macs", "memory_mb"))


def test_the_network_stays_as_it_was_trained() -> None:
    network = unet()
    before = [p.clone() for p in network.parameters()]

    measure_costs(network, 1, (32, 32), device=CPU, repeats=1)

    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_size_that_is_counted_without_numbers_is_the_measured_one(dimension: int) -> None:
    patch = (16,) * dimension
    built: list[nn.Module] = []

    found = size_of(lambda: built.append(unet(dimension=dimension)) or built[0], 1, patch)  # type: ignore[func-returns-value]

    costs = measure_costs(unet(dimension=dimension), 1, patch, device=CPU, repeats=1)
    assert (found.parameters, found.macs) == (costs.parameters, costs.macs)
    assert all(parameter.is_meta for parameter in built[0].parameters())
    with pytest.raises(ValueError, match="expected one that the network can take"):
        size_of(unet, 1, (30, 31))


def test_limits_name_what_breaks_them() -> None:
    costs = Costs(parameters=100, macs=1000, latency_ms=5.0, memory_mb=2.0)

    assert Limits().broken_by(costs) == [] and Limits(100, 1000, 5, 2).broken_by(costs) == []
    broken = Limits(max_macs=999, max_latency_ms=4.9, max_memory_mb=3).broken_by(costs)
    assert broken == ["macs 1000 > 999", "latency_ms 5 > 4.9"]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_limits_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"expected positive numbers, got \{'max_macs'"):
        Limits(max_macs=value)


def test_a_patch_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"patch_size: expected one that the network can take, got \(30, 31\)"):
        measure_costs(unet(), 1, (30, 31), device=CPU)
    with pytest.raises(ValueError, match="repeats: expected at least 1, got 0"):
        measure_costs(unet(), 1, (32, 32), device=CPU, repeats=0)
