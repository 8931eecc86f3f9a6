from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_iac.cells.cell import DiscreteBody, DiscreteCells, node_channels
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.operations import Stage

STAGES = {"2D": Stage(12, (3, 3), nn.InstanceNorm2d, {"affine": True}), "3D": Stage(12, (1, 3, 3), nn.InstanceNorm3d)}


@pytest.mark.parametrize(("channels", "width"), [(1, 0.5), (7, 0.5), (30, 0.33), (320, 0.5), (512, 1.0), (9, 1e-3)])
def test_node_channels_are_a_multiple_of_eight_and_at_least_the_width(channels, width):
    made = node_channels(channels, width)
    assert made % 8 == 0 and channels * width <= made < channels * width + 8


def test_a_node_is_the_plain_sum_of_its_edges():
    cell = ((("skip_connect", 0), ("skip_connect", 1)), (("skip_connect", 1), ("skip_connect", 2)))
    body = DiscreteBody(cell, 8, STAGES["2D"])
    a, b = torch.randn(2, 1, 8, 6, 6)
    first, second = body([a, b])
    assert torch.equal(first, a + b) and torch.equal(second, b + (a + b))


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("seed", range(3))
def test_a_discrete_cell_keeps_the_shape_and_trains_every_weight(stage, seed):
    cells = DiscreteCells(Genotype.random(seed=seed), [stage])
    nn.init.normal_(cells.levels[0].projection.weight)
    skip, signal = (torch.randn(2, 12, *(3, 9, 8)[-stage.dimension :], requires_grad=True) for _ in range(2))
    y = cells(0, skip, signal)
    (y * torch.randn_like(y)).sum().backward()
    assert y.shape == skip.shape and skip.grad.any() and signal.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in cells.parameters())


def test_a_closed_cell_is_its_skip_and_still_gets_a_gradient():
    cells = DiscreteCells(Genotype.random(seed=0), [STAGES["2D"]])
    skip, signal = torch.randn(2, 2, 12, 9, 8)
    y = cells(0, skip, signal)
    (y * torch.randn_like(y)).sum().backward()
    assert torch.equal(y, skip) and cells.levels[0].projection.weight.grad.any()


def test_the_memory_layout_of_the_input_does_not_matter():
    cells = DiscreteCells(Genotype.random(seed=0), [STAGES["2D"]])
    nn.init.normal_(cells.levels[0].projection.weight)
    skip, signal = torch.randn(2, 2, 12, 9, 8)
    fast = (x.contiguous(memory_format=torch.channels_last) for x in (skip, signal))
    assert torch.equal(cells(0, *fast), cells(0, skip, signal))
