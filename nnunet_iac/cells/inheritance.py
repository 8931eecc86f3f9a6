"""Found cells that start from the weights which the search trained instead of fresh ones.

Our choice; the papers retrain from scratch. In the search an operation sees ``C / K`` of a node's ``C`` channels, in
the found cell all of them: its depthwise kernels are repeated ``K`` times and its pointwise ones put along the
diagonal of ``K`` blocks, so that every block of channels meets the operation that was trained. The projection stays
as a fresh one is: implanting changes no logit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.operations import DepthwiseBlock


@torch.no_grad()
def inherit(cells: DiscreteCells, searched: MixedCells) -> None:
    """Copy the weights of the search into the found cells, in place.

    Args:
        cells: found cells; their projections and their normalisations' scales stay as they are.
        searched: the search's cells, of the same stages, nodes and width.

    Raises:
        ValueError: if levels or nodes differ.
    """
    genotype = cells.genotype
    expected = (len(cells.levels), genotype.first_level, genotype.nodes)
    if (got := (len(searched.levels), searched.shape.first_level, searched.shape.nodes)) != expected:
        raise ValueError(
            f"searched: expected {expected[0]} levels, cells from level {expected[1]} on and {expected[2]} nodes, got "
            f"{got[0]}, {got[1]} and {got[2]}; inherit from the search that found this genotype"
        )
    edges = {edge: index for index, edge in enumerate(edges_of(searched.shape.nodes))}
    pairs: Any = list(zip(cells.levels, searched.levels, strict=True))
    for level, (found, mixed) in list(enumerate(pairs))[genotype.first_level :]:
        for new, old in zip(found.inputs, mixed.inputs, strict=True):
            _copy_parameters(new, old)
        for node, chosen in enumerate(genotype.cell(level)):
            for position, (operation, source) in enumerate(chosen):
                trained = mixed.body.edges[edges[node, source]].operations[OPERATIONS.index(operation)]
                _widen(found.body.nodes[node][position], trained)


def _copy_parameters(new: nn.Module, old: nn.Module) -> None:
    there = dict(new.named_parameters())
    for name, value in old.named_parameters():
        there[name].copy_(value)


def _widen(new: nn.Module, old: nn.Module) -> None:
    for wide, narrow in zip(_blocks(new), _blocks(old), strict=True):
        kernel: Any = narrow.depthwise.weight
        times = wide.depthwise.weight.shape[0] // kernel.shape[0]
        wide.depthwise.weight.copy_(kernel.repeat(times, *(1 for _ in kernel.shape[1:])))
        mixing: Any = narrow.pointwise.weight
        diagonal = torch.block_diag(*[mixing.flatten(1)] * times)
        target: Any = wide.pointwise.weight
        target.copy_(diagonal.view_as(target))


def _blocks(operation: nn.Module) -> list[DepthwiseBlock]:
    return [m for m in operation.modules() if isinstance(m, DepthwiseBlock)]
