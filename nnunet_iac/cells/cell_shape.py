"""The shape of a cell: all that is settled before an operation is chosen.

Pure Python, as the genotype that is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

CELL_INPUTS = 2
"""Inputs of a cell: 0 is the second input (decoder signal or the skip again), 1 is the encoder skip."""

SecondInput = Literal["decoder", "encoder"]
Projection = Literal["zero", "gain", "normalised"]


@dataclass(frozen=True)
class CellShape:
    """What a search, a control and a found genotype have in common: cells of one shape, whatever their operations.

    Attributes:
        nodes: intermediate nodes of a cell, 1 to 16.
        second_input: ``decoder`` (the decoder's up-sampled signal of the level) or ``encoder`` (the skip once more,
            with weights of its own, as PC-DARTS' first cell reads its stem twice).
        width: channels of a node as a fraction of the level's channels, in (0, 1] (see
            :func:`nnunet_iac.cells.cell.node_channels`).
        first_level: highest resolution with a cell, 0 the full one; skips above it stay the host's. Most of a cell's
            time goes to the full resolution (``scripts/bench_overhead.py``). Our choice; the papers have all levels.
        projection: how a fresh cell's projection adds nothing: its weights are ``zero``; or they are random and a
            learned ``gain`` of each channel is zero; or the same after a parameter-free normalisation
            (``normalised``). See :class:`nnunet_iac.cells.cell.SkipCell`.

    Raises:
        ValueError: if a field is out of range; all faults are named together.

    Example:
        >>> CellShape(nodes=2).to_dict()
        {'nodes': 2, 'second_input': 'decoder', 'width': 0.5}
        >>> CellShape(nodes=0, width=2)
        Traceback (most recent call last):
            ...
        ValueError: nodes: expected an integer from 1 to 16, got 0; width: expected a number in (0, 1], got 2
    """

    nodes: int = 4
    second_input: SecondInput = "decoder"
    width: float = 0.5
    first_level: int = 0
    projection: Projection = "zero"

    def __post_init__(self) -> None:
        if problems := shape_problems(self):
            raise ValueError("; ".join(problems))

    def levels_with_cells(self, levels: int) -> int:
        """Return on how many of a network's skip connections there is a cell.

        Raises:
            ValueError: if on none.

        Example:
            >>> CellShape(first_level=1).levels_with_cells(3)
            2
            >>> CellShape(first_level=2).levels_with_cells(2)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
                ...
            ValueError: first_level: expected at most 1, since the plan has 2 skip connections, got 2; ...
        """
        if self.first_level >= levels:
            raise ValueError(
                f"first_level: expected at most {levels - 1}, since the plan has {levels} skip connections, got "
                f"{self.first_level}; set cell.first_level"
            )
        return levels - self.first_level

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "nodes": self.nodes,
            "second_input": self.second_input,
            "width": self.width,
            # Left out at their defaults, so that what earlier versions wrote and read stays as it is.
            **({"first_level": self.first_level} if self.first_level else {}),
            **({"projection": self.projection} if self.projection != "zero" else {}),
        }


def edges_of(nodes: int) -> tuple[tuple[int, int], ...]:
    """Return all candidate edges ``(node, input)`` of a cell, node by node.

    Node ``i`` may read the two inputs and all earlier nodes, so a cell has ``sum_i (i + 2)`` edges.

    Example:
        >>> len(edges_of(4)), edges_of(2)
        (14, ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)))
    """
    return tuple((node, j) for node in range(nodes) for j in range(node + CELL_INPUTS))


def is_integer(value: object) -> bool:
    """Return whether a value read from JSON is a whole number; ``true`` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def shape_problems(shape: CellShape) -> list[str]:
    """Return what is wrong with the fields of a shape, in words; a genotype adds its own faults."""
    problems = []
    if not is_integer(shape.nodes) or not 1 <= shape.nodes <= 16:
        problems.append(f"nodes: expected an integer from 1 to 16, got {shape.nodes!r}")
    if shape.second_input not in get_args(SecondInput):
        problems.append(f"second_input: expected one of {get_args(SecondInput)}, got {shape.second_input!r}")
    if isinstance(shape.width, bool) or not isinstance(shape.width, (int, float)) or not 0 < shape.width <= 1:
        problems.append(f"width: expected a number in (0, 1], got {shape.width!r}")
    if not is_integer(shape.first_level) or not 0 <= shape.first_level <= 16:
        problems.append(f"first_level: expected an integer from 0 to 16, got {shape.first_level!r}")
    if shape.projection not in get_args(Projection):
        problems.append(f"projection: expected one of {get_args(Projection)}, got {shape.projection!r}")
    return problems
