from __future__ import annotations

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image
from torch import nn

from nnunet_iac.cells.architecture import architecture_parameters, weight_parameters
from nnunet_iac.cells.cell import SkipCell
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.bilevel import Precision, architecture_step, weight_step

CPU = Precision.of(torch.device("cpu"))
BATCH = {"data": image(), "target": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean()


@pytest.fixture
def network() -> CellUNet:
    """A network whose cells are already open."""
    torch.manual_seed(0)
    made = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments())
    made.implant(MixedCells(made.stages, CellShape(nodes=2), generator=torch.Generator().manual_seed(0)))
    made.apply(made.initialize)
    for module in made.modules():
        if isinstance(module, SkipCell):
            nn.init.normal_(module.projection.weight, std=0.1)
    return made


def adam(network: CellUNet) -> torch.optim.Adam:
    return torch.optim.Adam(architecture_parameters(network), lr=0.01)


def sgd(network: CellUNet) -> torch.optim.SGD:
    return torch.optim.SGD(list(weight_parameters(network)), lr=0.01)


def copies(network: CellUNet) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def changed(network: CellUNet, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


ARCHITECTURE = {"cells.architecture.alpha", "cells.architecture.beta"}


def test_the_architecture_step_changes_alpha_and_beta_and_leaves_no_gradient(network):
    before = copies(network)
    architecture_step(network, loss, BATCH, adam(network), CPU)
    assert changed(network, before) == ARCHITECTURE
    assert all(p.grad is None for p in network.parameters())


def test_the_architecture_step_keeps_gradients_that_were_there(network):
    weights = list(weight_parameters(network))
    for p in weights:
        p.grad = torch.full_like(p, 3.0)
    architecture_step(network, loss, BATCH, adam(network), CPU)
    assert all((p.grad == 3.0).all() for p in weights)


def test_the_weight_step_changes_every_weight_and_no_architecture_parameter(network):
    network.decoder.deep_supervision = False
    before = copies(network)
    weight_step(network, loss, BATCH, sgd(network), CPU)
    weights = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert not ARCHITECTURE & changed(network, before)
    assert weights <= changed(network, before) and any(n.startswith("encoder.") for n in weights)
    assert all(p.grad is None for p in architecture_parameters(network))


def test_a_frozen_host_does_not_change_and_its_encoder_is_not_differentiated(network):
    network.freeze_host(True)
    network.train()
    recorded = []
    network.encoder.register_forward_hook(lambda *a: recorded.extend(s.requires_grad for s in a[2]))
    before = copies(network)
    for _ in range(3):
        architecture_step(network, loss, BATCH, adam(network), CPU)
        weight_step(network, loss, BATCH, sgd(network), CPU)
    assert all(name.startswith("cells.") for name in changed(network, before))
    assert ARCHITECTURE < changed(network, before)
    assert recorded and not any(recorded)
    assert all(p.grad is None for p in network.host_parameters())


def test_the_architecture_gradient_is_the_finite_difference(network):
    network.double()
    batch = {k: v.double() for k, v in BATCH.items()}
    parameters = architecture_parameters(network)
    before = [p.detach().clone() for p in parameters]
    architecture_step(network, loss, batch, torch.optim.SGD(parameters, lr=1.0), CPU)
    analytic = [b - p.detach() for b, p in zip(before, parameters, strict=True)]
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    values = []
    for sign in (1e-5, -1e-5):
        for p, b, d in zip(parameters, before, direction, strict=True):
            p.data = b + sign * d
        values.append(float(loss(network(batch["data"]), batch["target"]).detach()))
    expected = sum(float((a * d).sum()) for a, d in zip(analytic, direction, strict=True))
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(expected, rel=1e-5) and abs(expected) > 1e-8


def test_a_closed_projection_gives_the_architecture_no_signal(network):
    for module in network.modules():
        if isinstance(module, SkipCell):
            module.close()
    before = copies(network)
    architecture_step(network, loss, BATCH, adam(network), CPU)
    assert not changed(network, before)
    weight_step(network, loss, BATCH, sgd(network), CPU)
    architecture_step(network, loss, BATCH, adam(network), CPU)
    assert ARCHITECTURE <= changed(network, before)


def test_both_steps_return_the_loss_before_the_update(network):
    expected = float(loss(network(BATCH["data"]), BATCH["target"]).detach())
    assert architecture_step(network, loss, BATCH, torch.optim.SGD(architecture_parameters(network), lr=0.0), CPU) == (
        pytest.approx(expected)
    )
    assert weight_step(network, loss, BATCH, sgd(network), CPU) == pytest.approx(expected)


def test_the_norm_of_the_weight_gradient_is_clipped(network):
    before = copies(network)
    weight_step(network, lambda y, t: 1e6 * loss(y, t), BATCH, torch.optim.SGD(weight_parameters(network), lr=1.0), CPU)
    names = {name for name, _ in network.named_parameters(remove_duplicate=True)}
    moved = sum(float((network.state_dict()[n] - before[n]).square().sum()) for n in names) ** 0.5
    assert moved == pytest.approx(12.0, rel=1e-3)


def test_targets_of_several_resolutions_are_taken(network):
    network.decoder.deep_supervision = True
    batch = {"data": BATCH["data"], "target": [torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 8, 8)]}
    value = architecture_step(
        network, lambda y, t: sum(loss(a, b) for a, b in zip(y, t, strict=True)), batch, adam(network), CPU
    )
    assert value > 0


class NanGradient(torch.autograd.Function):
    """The identity with a gradient that is not a number."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.nan


@pytest.mark.parametrize("step", ["architecture", "weight"])
def test_a_gradient_that_is_not_a_number_stops_before_it_reaches_a_parameter(network, step):
    before = copies(network)

    def bad(output, target):
        return loss(NanGradient.apply(output), target)

    with pytest.raises(FloatingPointError, match=f"{step} gradients: expected finite numbers, got NaN or Inf"):
        if step == "architecture":
            architecture_step(network, bad, BATCH, adam(network), CPU)
        else:
            weight_step(network, bad, BATCH, sgd(network), CPU)
    assert not changed(network, before)
