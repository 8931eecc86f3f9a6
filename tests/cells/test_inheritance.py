from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.inheritance import inherit
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.operations import Stage

STAGES = [Stage(20, (3, 3), nn.InstanceNorm2d, {"affine": True}), Stage(40, (3, 3), nn.InstanceNorm2d)]


def searched(partial: int, nodes: int = 4) -> MixedCells:
    torch.manual_seed(0)
    cells = MixedCells(STAGES, CellShape(nodes=nodes), partial=partial)
    for parameter in cells.parameters():
        nn.init.normal_(parameter)
    return cells


@pytest.mark.parametrize("partial", [1, 4])
def test_every_block_of_channels_meets_the_operation_that_was_trained(partial):
    old, genotype = searched(partial), Genotype.random(seed=3)
    new = DiscreteCells(genotype, STAGES)
    inherit(new, old)
    edges = {edge: index for index, edge in enumerate(edges_of(4))}
    convolving = 0
    for level, cell in enumerate(new.levels):
        for node, chosen in enumerate(genotype.cell(level)):
            for position, (name, source) in enumerate(chosen):
                narrow = old.levels[level].body.edges[edges[node, source]].operations[OPERATIONS.index(name)]
                wide = cell.body.nodes[node][position]
                channels = old.levels[level].body.channels
                x = torch.randn(2, channels * partial, 9, 10)
                together = wide(x).split(channels, dim=1)
                one_by_one = [narrow(part) for part in x.split(channels, dim=1)]
                convolving += "conv" in name
                for a, b in zip(together, one_by_one, strict=True):
                    assert torch.allclose(a, b, atol=1e-4), name
    assert convolving > 4, "the drawn genotype has convolutions"


def test_inputs_are_inherited_and_the_projection_stays_closed():
    old = searched(4)
    new = DiscreteCells(Genotype.random(seed=3), STAGES)
    inherit(new, old)
    for a, b in zip(new.levels, old.levels, strict=True):
        assert all(torch.equal(i[1].weight, j[1].weight) for i, j in zip(a.inputs, b.inputs, strict=True))
        assert not a.projection.weight.any() and b.projection.weight.any()


def test_another_search_is_refused():
    with pytest.raises(ValueError, match=r"searched: expected 2 levels, cells from level 0 on and 4 .* got 2, 0 and 3"):
        inherit(DiscreteCells(Genotype.random(seed=3), STAGES), searched(4, nodes=3))
