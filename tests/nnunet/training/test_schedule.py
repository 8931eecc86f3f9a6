"""Learning rates of cells and host."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.training.schedule import carry_momentum, make_optimizer


@pytest.fixture
def network() -> CellUNet:
    return CellUNet(
        "PlainConvUNet",
        Genotype.identity(),
        input_channels=1,
        num_classes=2,
        n_stages=2,
        features_per_stage=[8, 8],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2],
        n_conv_per_stage=1,
        n_conv_per_stage_decoder=1,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={},
    )


def optimizer_of(network: CellUNet, scale: float = 1.0) -> tuple[torch.optim.SGD, object]:
    return make_optimizer(network, initial_lr=0.01, weight_decay=3e-5, epochs=10, host_scale=scale)


def step(network: CellUNet, optimizer: torch.optim.SGD) -> None:
    optimizer.zero_grad()
    network(torch.ones(1, 1, 8, 8)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("epoch", [0, 3, 9])
def test_rates_decay_as_nnunets_do_and_the_host_is_scaled(network: CellUNet, epoch: int) -> None:
    network.implant(DiscreteCells(Genotype.random(seed=0), network.stages))
    optimizer, schedule = optimizer_of(network, 0.1)

    schedule.step(epoch)

    expected = 0.01 * (1 - epoch / 10) ** 0.9
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([expected, 0.1 * expected])


def test_every_parameter_is_in_exactly_one_group(network: CellUNet) -> None:
    network.implant(DiscreteCells(Genotype.random(seed=0), network.stages))
    held = [p for group in optimizer_of(network)[0].param_groups for p in group["params"]]

    assert len(held) == len(set(held)) and set(held) == set(network.parameters())


def test_a_network_without_cells_has_nnunets_single_group(network: CellUNet) -> None:
    (group,) = optimizer_of(network)[0].param_groups

    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.99, True, 3e-5)


def test_a_frozen_host_does_not_move_not_even_by_its_momentum(network: CellUNet) -> None:
    optimizer, _ = optimizer_of(network)
    step(network, optimizer)
    network.implant(DiscreteCells(Genotype.random(seed=0), network.stages))
    network.freeze_host(True)
    new, _ = optimizer_of(network)
    carry_momentum(optimizer, new)
    before = [p.clone() for p in network.host_parameters()]

    step(network, new)

    assert all(torch.equal(p, q) for p, q in zip(before, network.host_parameters(), strict=True))


def test_the_momentum_of_known_parameters_is_carried_over(network: CellUNet) -> None:
    optimizer, _ = optimizer_of(network)
    step(network, optimizer)
    network.implant(DiscreteCells(Genotype.random(seed=0), network.stages))
    new, _ = optimizer_of(network)

    carry_momentum(optimizer, new)

    assert set(new.state) == set(optimizer.state) == set(network.host_parameters())
    for parameter, state in optimizer.state.items():
        assert new.state[parameter]["momentum_buffer"] is state["momentum_buffer"]
