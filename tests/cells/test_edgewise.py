"""The slow side of ``scripts/bench_step.py`` computes what our cells compute, in the same network."""

from __future__ import annotations

import pytest
import torch
from edgewise_cells import EdgewiseCells
from tiny_hosts import BACKBONES, host_arguments
from torch import nn

from nnunet_iac.cells.architecture import architecture_parameters
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("pruned", [True, False])
def test_edge_by_edge_gives_the_same_logits_and_gradients(pruned, shared):
    torch.manual_seed(0)
    network = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments(features=(8, 16, 32))).double()
    ours = MixedCells(network.stages, shared=shared).double()
    for level in ours.levels:
        nn.init.normal_(level.projection.weight, std=0.1)
    if pruned:
        mask = torch.rand(ours.architecture.mask.shape) < 0.5
        mask[..., 4] = True
        ours.architecture.set_mask(mask)
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    looked_at = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    results = []
    for cells in (ours, EdgewiseCells(ours)):
        network.implant(cells)
        logits = network(x)
        leaves = [*architecture_parameters(network), *network.host_parameters(), *ours.levels.parameters()]
        results.append([logits, *torch.autograd.grad((logits * looked_at).sum(), leaves, materialize_grads=True)])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-9)
