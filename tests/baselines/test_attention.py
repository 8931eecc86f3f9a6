"""Attention gates: coefficients between 0 and 1, the stock network where they are 1."""

from __future__ import annotations

import pytest
import torch
from tiny_baselines import FEATURES, HOSTS, build, same
from tiny_hosts import image, stock_host
from torch import nn

from nnunet_iac.baselines.attention import AttentionGates
from nnunet_iac.cells.operations import Stage


def coefficients(gates: AttentionGates, signal: torch.Tensor, training: bool) -> torch.Tensor:
    gates.train(training)
    return gates(0, torch.ones_like(signal), signal)


def set_coefficients(network: nn.Module, logit: float) -> None:
    for gate in network.cells.levels:
        nn.init.zeros_(gate.psi[1].weight)
        nn.init.constant_(gate.psi[1].bias, logit)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3, 3)])
def test_coefficients_lie_between_0_and_1_and_differ_from_pixel_to_pixel(kernel, training):
    torch.manual_seed(0)
    gates = AttentionGates([Stage(8, kernel)])
    a = coefficients(gates, 100 * torch.randn(2, 8, *[6] * len(kernel)), training)
    assert 0 <= a.min() < a.max() <= 1
    assert torch.equal(a, a[:, :1].expand_as(a)), "one coefficient for all channels of a pixel"


def test_at_first_the_gates_let_nearly_everything_pass():
    torch.manual_seed(0)
    a = coefficients(AttentionGates([Stage(8, (3, 3))]), torch.randn(4, 8, 16, 16), training=True)
    assert 0.9 < a.mean() < 1


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize(("kind", "dimension"), HOSTS)
def test_with_coefficients_of_1_it_is_the_stock_network(kind, dimension, deep_supervision):
    stock = stock_host(kind, dimension, features=FEATURES, deep_supervision=deep_supervision)
    network = build("attention", kind, dimension, stock=stock, deep_supervision=deep_supervision)
    x = image(dimension)
    assert not same(network(x), stock(x)), "the gates are not in the path at all"
    set_coefficients(network, 40.0)
    assert same(network(x), stock(x))


def test_with_coefficients_of_0_no_skip_reaches_the_decoder():
    network = build("attention")
    set_coefficients(network, -200.0)
    skip, signal = torch.randn(2, 6, 16, 16), torch.randn(2, 6, 16, 16)
    assert not network.cells(0, skip, signal).any()


def test_a_gate_reads_skip_and_signal_of_its_level():
    gates = AttentionGates([Stage(8, (3, 3)), Stage(4, (3, 3))]).eval()
    skip, signal, other = (torch.randn(2, 4, 6, 6) for _ in range(3))
    assert not torch.equal(gates(1, skip, signal), gates(1, skip, other))
    assert not torch.equal(gates(1, skip, signal) / skip, gates(1, other, signal) / other)
