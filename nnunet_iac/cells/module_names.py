"""Names of modules and parameters in words: ``cell of level 1, edge 0 -> node 2, sep_conv_3x3`` instead of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.architecture import ArchitectureParameters
from nnunet_iac.cells.cell import DiscreteBody, DiscreteCells, SkipCell
from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.mixed import MixedBody, MixedCells
from nnunet_iac.cells.outgoing import EdgeOperations

Piece = tuple[str, int]
"""Words, and how many parts of the dotted name they are for; no words where there are none."""


def in_words(network: nn.Module, name: str) -> str:
    """Return where in a network a module or parameter is, and its dotted name.

    Levels count from full resolution, nodes and their inputs as in a
    :class:`~nnunet_iac.cells.genotype.Genotype`. A part that nothing is known about keeps its place in the dotted name.

    Args:
        network: any network; host and cells of this package have words.
        name: dotted, as ``named_modules`` and ``named_parameters`` give it; empty for the network itself.

    Example:
        >>> in_words(nn.Sequential(nn.Linear(1, 1)), "0.weight")
        '0.weight'
        >>> from nnunet_iac.cells.cell_shape import CellShape
        >>> from nnunet_iac.cells.operations import Stage
        >>> cells = MixedCells([Stage(8, (3, 3))], CellShape(nodes=2))
        >>> in_words(cells, "levels.0.body.edges.2.operations.4.0.depthwise")
        'cell of level 0, edge 0 -> node 1, sep_conv_3x3 (levels.0.body.edges.2.operations.4.0.depthwise)'
    """
    if not name:
        return "the network as a whole"
    words, module, rest = [], network, name.split(".")
    while rest:
        text, length = _piece(module, rest)
        words += [text] if text else []
        module, rest = _walk(module, rest[:length]), rest[length:]
    return f"{', '.join(words)} ({name})" if words else name


def element_in_words(network: nn.Module, name: str, index: Sequence[int]) -> str:
    """Return :func:`in_words`, and of an architecture logit its edge and operation.

    Args:
        network: see :func:`in_words`.
        name: of a parameter.
        index: of one of its elements.
    """
    owner = _walk(network, name.split(".")[:-1])
    if not isinstance(owner, ArchitectureParameters) or len(index) < 2:
        return in_words(network, name)
    node, source = edges_of(owner.nodes)[index[1]]
    operation = f", {OPERATIONS[index[2]]}" if len(index) > 2 else ""
    return f"architecture logits, cell {index[0]}, edge {source} -> node {node}{operation} ({name})"


def _walk(module: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        module = getattr(module, part, None)
    return module


def _piece(module: Any, rest: Sequence[str]) -> Piece:
    """Return words for the first parts of a dotted name inside a module."""
    for kind, name in _KINDS.items():
        if isinstance(module, kind):
            return name(module, rest)
    return _of_host(rest)


def _of_host(rest: Sequence[str]) -> Piece:
    known = {"stages": "stage", "transpconvs": "up-sampling", "seg_layers": "segmentation layer"}
    if rest[0] not in ("encoder", "decoder") or len(rest) < 3 or rest[1] not in known:
        return "", 1
    return f"{rest[0]}, {known[rest[1]]} {rest[2]}", 3


def _of_cells(module: Any, rest: Sequence[str]) -> Piece:
    if rest[0] == "levels" and len(rest) > 1:
        return f"cell of level {rest[1]}", 2
    return ("architecture logits" if rest[0] == "architecture" else ""), 1


def _of_frame(module: SkipCell, rest: Sequence[str]) -> Piece:
    if rest[0] == "inputs" and len(rest) > 1:
        sources = (f"{module.second_input} input", "encoder input")
        return sources[int(rest[1])], 2
    words = {
        "projection": "projection",
        "normalise": "normalisation of the projection",
        "gain": "gain of the projection",
    }
    return words.get(rest[0], ""), 1


def _of_mixed_body(module: MixedBody, rest: Sequence[str]) -> Piece:
    if rest[0] != "edges" or len(rest) < 2:
        return "", 1
    node, source = module.wiring[int(rest[1])]
    return f"edge {source} -> node {node}", 2


def _of_operations(module: EdgeOperations, rest: Sequence[str]) -> Piece:
    return (OPERATIONS[int(rest[1])], 2) if rest[0] == "operations" and len(rest) > 1 else ("", 1)


def _of_discrete_body(module: DiscreteBody, rest: Sequence[str]) -> Piece:
    if rest[0] != "nodes" or len(rest) < 3:
        return "", 1
    node, edge = int(rest[1]), int(rest[2])
    return f"edge {module.sources[node][edge]} -> node {node}, {module.names[node][edge]}", 3


_KINDS: Mapping[Any, Callable[[Any, Sequence[str]], Piece]] = {
    MixedCells: _of_cells,
    DiscreteCells: _of_cells,
    SkipCell: _of_frame,
    MixedBody: _of_mixed_body,
    DiscreteBody: _of_discrete_body,
    EdgeOperations: _of_operations,
}


def first_bad(values: torch.Tensor) -> tuple[int, ...]:
    """Return the index of the first value that is NaN or Inf.

    Raises:
        ValueError: if all are finite.

    Example:
        >>> first_bad(torch.tensor([[0.0, 1.0], [torch.nan, 2.0]]))
        (1, 0)
    """
    found = (~torch.isfinite(values)).nonzero()
    if not len(found):
        raise ValueError("values: expected one at least that is NaN or Inf, all are finite")
    return tuple(found[0].tolist())
