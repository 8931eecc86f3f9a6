"""From weights to a genotype: DARTS' choice of two edges for each node and one operation for each edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nnunet_iac.cells.cell_shape import CELL_INPUTS, CellShape
from nnunet_iac.cells.genotype import EDGES_PER_NODE, OPERATIONS, Cell, Edge, Genotype

NONE, SKIP = OPERATIONS.index("none"), OPERATIONS.index("skip_connect")


def discretise(
    probabilities: torch.Tensor,
    edge_weights: torch.Tensor,
    shape: CellShape,
    *,
    max_skips: int | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Genotype:
    """Derive the genotype of a search.

    ``W[e, o] = p[e, o] * w[e]``; a node keeps the two edges with the largest ``max_{o != none} W[e, o]``, and on each
    the operation that reaches it. ``none`` is never chosen, but its softmax mass counts. Ties go to the earlier edge
    and operation. Source: PC-DARTS, model_search.py, ``genotype``.

    Args:
        probabilities: ``(G, E, O)``, 0 where pruned.
        edge_weights: ``(G, E)``.
        shape: of the cells that were searched.
        max_skips: largest number of ``skip_connect`` in a cell. As in P-DARTS, the weakest skip of a cell that has
            more loses its weight and the cell is derived again; one that nothing could replace stays.
        origin: recorded in the genotype.

    Example:
        >>> p = torch.zeros(1, 2, 8); p[0, 0, 4] = p[0, 1, 3] = 1.0
        >>> discretise(p, torch.full((1, 2), 0.5), CellShape(nodes=1)).cells
        (((('sep_conv_3x3', 0), ('skip_connect', 1)),),)
    """
    weights = (probabilities * edge_weights.unsqueeze(-1)).detach().double().cpu()
    cells = tuple(_cell(_with_few_skips(group, shape.nodes, max_skips), shape.nodes) for group in weights)
    return Genotype.of(shape, "searched", cells, dict(origin or {}))


def top_edges(weights: torch.Tensor, nodes: int) -> list[list[int]]:
    """Return for each node the indices of its kept edges, given one cell's ``W`` of shape ``(E, O)``."""
    best = _without_none(weights).amax(-1).tolist()
    kept = []
    start = 0
    for node in range(nodes):
        candidates = range(start, start + node + CELL_INPUTS)
        kept.append(sorted(sorted(candidates, key=lambda e: -best[e])[:EDGES_PER_NODE]))
        start += node + CELL_INPUTS
    return kept


def _with_few_skips(weights: torch.Tensor, nodes: int, most: int | None) -> torch.Tensor:
    """Return ``W`` of one cell, ``(E, O)``, without the weights of the skips that are too many."""
    kept: set[int] = set()
    while most is not None:
        chosen = [e for node in top_edges(weights, nodes) for e in node]
        skips = [e for e in chosen if int(_without_none(weights)[e].argmax()) == SKIP]
        loose = [e for e in skips if e not in kept]
        if len(skips) <= most or not loose:
            break
        weakest = min(loose, key=lambda e: float(weights[e, SKIP]))
        without = weights.clone()
        without[weakest, SKIP] = 0.0
        chosen = [e for node in top_edges(without, nodes) for e in node]
        if all(float(_without_none(without)[e].max()) > 0 for e in chosen):
            weights = without
        else:
            kept.add(weakest)
    return weights


def _cell(weights: torch.Tensor, nodes: int) -> Cell:
    starts = [sum(i + CELL_INPUTS for i in range(node)) for node in range(nodes)]
    choices = _without_none(weights).argmax(-1).tolist()

    def edges(indices: Sequence[int], start: int) -> tuple[Edge, ...]:
        return tuple((OPERATIONS[choices[e]], e - start) for e in indices)

    return tuple(edges(kept, start) for kept, start in zip(top_edges(weights, nodes), starts, strict=True))


def _without_none(weights: torch.Tensor) -> torch.Tensor:
    others = weights.clone()
    others[..., NONE] = -1.0
    return others
