"""The genotype: a frozen, versioned, JSON-serialisable record of what a search found (or a control prescribes).

Pure Python: reading a genotype needs no torch. The record lives in the plans file (``arch_kwargs.genotype``),
which is why stock nnU-Net rebuilds the network without any custom trainer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

SCHEMA = 1
"""Version of the JSON form; a reader refuses versions it does not know."""

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The eight candidate operations of PC-DARTS, in its order (the order is part of every saved search)."""

CELL_INPUTS = 2
"""Inputs of a cell: 0 is the second input (decoder signal or the skip again), 1 is the encoder skip."""

EDGES_PER_NODE = 2
"""Edges that a discrete cell keeps for each node (DARTS)."""

Kind = Literal["searched", "random", "identity"]
SecondInput = Literal["decoder", "encoder"]
Projection = Literal["zero", "gain", "normalised"]
Edge = tuple[str, int]
"""``(operation, input)``: inputs 0 and 1 are the cell's, input ``j >= 2`` is node ``j - 2``."""
Cell = tuple[tuple[Edge, ...], ...]
"""One cell: for each node, its edges."""


def edges_of(nodes: int) -> tuple[tuple[int, int], ...]:
    """Return all candidate edges ``(node, input)`` of a cell, node by node.

    Node ``i`` may read the two inputs and all earlier nodes, so a cell has ``sum_i (i + 2)`` edges.

    Example:
        >>> len(edges_of(4)), edges_of(2)
        (14, ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)))
    """
    return tuple((node, j) for node in range(nodes) for j in range(node + CELL_INPUTS))


def check_first_level(first_level: int, levels: int) -> None:
    """Check that a network with this many skip connections has one left for a cell.

    Raises:
        ValueError: if it has none.

    Example:
        >>> check_first_level(1, 2)
        >>> check_first_level(2, 2)
        Traceback (most recent call last):
            ...
        ValueError: first_level: expected at most 1, since the plan has 2 skip connections, got 2; set cell.first_level
    """
    if first_level >= levels:
        raise ValueError(
            f"first_level: expected at most {levels - 1}, since the plan has {levels} skip connections, got "
            f"{first_level}; set cell.first_level"
        )


@dataclass(frozen=True)
class Genotype:
    """What the cells of a network are.

    Attributes:
        kind: where it comes from: ``searched``, or one of the controls ``random`` and ``identity``.
        nodes: intermediate nodes of a cell.
        second_input: ``decoder`` (the decoder's up-sampled signal of the level) or ``encoder`` (the skip itself).
        width: channels of a node as a fraction of the level's channels (see
            :func:`nnunet_iac.cells.cell.node_channels`).
        cells: no cell (identity), one cell shared by all levels, or one for each level, highest resolution first.
        origin: free provenance (seed, status, epochs of the search); never read by the network.
        first_level: highest resolution with a cell, 0 the full one; skips above it stay the host's. Most of a cell's
            time goes to the full resolution (``scripts/bench_overhead.py``). Our choice; the papers have all levels.
        projection: how a fresh cell's projection adds nothing: its weights are ``zero``; or they are random and a
            learned ``gain`` of each channel is zero; or the same after a parameter-free normalisation
            (``normalised``). See :class:`nnunet_iac.cells.cell.SkipCell`.

    Raises:
        ValueError: if a field is out of range; all faults are named together.

    Example:
        >>> genotype = Genotype.identity()
        >>> Genotype.from_dict(genotype.to_dict()) == genotype
        True
    """

    kind: Kind
    nodes: int = 4
    second_input: SecondInput = "decoder"
    width: float = 0.5
    cells: tuple[Cell, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)
    first_level: int = 0
    projection: Projection = "zero"

    def __post_init__(self) -> None:
        problems = [*_field_problems(self), *(p for i, c in enumerate(self.cells) for p in _cell_problems(self, i, c))]
        if problems:
            raise ValueError("genotype: " + "; ".join(problems))

    @property
    def is_identity(self) -> bool:
        """Whether the network has no cell at all."""
        return not self.cells

    def cell(self, level: int) -> Cell:
        """Return the cell of one level from ``first_level`` on (the shared one where there is only one).

        Raises:
            IndexError: if that level has none.
        """
        if level < self.first_level:
            raise IndexError(f"level: expected at least {self.first_level}, the first with a cell, got {level}")
        return self.cells[0] if len(self.cells) == 1 else self.cells[level - self.first_level]

    def check_levels(self, levels: int) -> None:
        """Check that the genotype fits a network with this many skip connections.

        Raises:
            ValueError: if none is left for a cell, or it holds one cell for each level and their number differs.
        """
        check_first_level(self.first_level, levels)
        with_cells = levels - self.first_level
        if len(self.cells) not in (0, 1, with_cells):
            raise ValueError(
                f"genotype.cells: expected 0 (identity), 1 (shared) or {with_cells} cells, one for each skip "
                f"connection of this plan from level {self.first_level} on, got {len(self.cells)}; search again for "
                "this plan or use a shared genotype"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "nodes": self.nodes,
            "second_input": self.second_input,
            "width": self.width,
            "cells": [[[list(edge) for edge in node] for node in cell] for cell in self.cells],
            # Left out at their defaults, so that what earlier versions wrote and read stays as it is.
            **({"first_level": self.first_level} if self.first_level else {}),
            **({"projection": self.projection} if self.projection != "zero" else {}),
            "origin": dict(self.origin),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Genotype:
        """Read the JSON form.

        Raises:
            ValueError: if the schema is unknown, a key is missing or unknown, or a value does not fit.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"genotype: expected a JSON object, got {type(record).__name__}")
        if record.get("schema") != SCHEMA:
            raise ValueError(
                f"genotype.schema: expected {SCHEMA}, got {record.get('schema')!r}; "
                "it was written by another version of nnunet-iac: install that version, or search again"
            )
        known = {"schema", "kind", "nodes", "second_input", "width", "cells", "origin"}
        if wrong := sorted((set(record) ^ known) - {"origin", "first_level", "projection"}):
            raise ValueError(f"genotype: expected the keys {sorted(known)}, missing or unknown: {wrong}")
        try:
            cells = tuple(
                tuple(tuple((operation, source) for operation, source in node) for node in cell)
                for cell in record["cells"]
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"genotype.cells: expected lists of [operation, input] pairs ({error})") from error
        origin = record.get("origin", {})
        if not isinstance(origin, Mapping):
            raise ValueError(f"genotype.origin: expected a JSON object, got {type(origin).__name__}")
        return cls(
            kind=record["kind"],
            nodes=record["nodes"],
            second_input=record["second_input"],
            width=record["width"],
            cells=cells,
            first_level=record.get("first_level", 0),
            projection=record.get("projection", "zero"),
            origin=dict(origin),
        )

    @classmethod
    def identity(cls) -> Genotype:
        """Return the control without any cell: the network is the stock one."""
        return cls(kind="identity")

    @classmethod
    def random(
        cls,
        *,
        seed: int,
        nodes: int = 4,
        second_input: SecondInput = "decoder",
        width: float = 0.5,
        count: int = 1,
        first_level: int = 0,
        projection: Projection = "zero",
    ) -> Genotype:
        """Draw a control uniformly: two distinct inputs for each node and any operation but ``none``.

        Example:
            >>> Genotype.random(seed=1) == Genotype.random(seed=1)
            True
        """
        generator = random.Random(seed)
        cells = tuple(_random_cell(generator, nodes) for _ in range(count))
        return cls("random", nodes, second_input, width, cells, {"seed": seed}, first_level, projection)


def _random_cell(generator: random.Random, nodes: int) -> Cell:
    def node(index: int) -> tuple[Edge, ...]:
        inputs = sorted(generator.sample(range(index + CELL_INPUTS), EDGES_PER_NODE))
        return tuple((generator.choice(OPERATIONS[1:]), j) for j in inputs)

    return tuple(node(i) for i in range(nodes))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _field_problems(genotype: Genotype) -> list[str]:
    problems = []
    if genotype.kind not in get_args(Kind):
        problems.append(f"kind: expected one of {get_args(Kind)}, got {genotype.kind!r}")
    if not _is_integer(genotype.nodes) or not 1 <= genotype.nodes <= 16:
        problems.append(f"nodes: expected an integer from 1 to 16, got {genotype.nodes!r}")
    if genotype.second_input not in get_args(SecondInput):
        problems.append(f"second_input: expected one of {get_args(SecondInput)}, got {genotype.second_input!r}")
    if isinstance(genotype.width, bool) or not isinstance(genotype.width, (int, float)) or not 0 < genotype.width <= 1:
        problems.append(f"width: expected a number in (0, 1], got {genotype.width!r}")
    if not _is_integer(genotype.first_level) or not 0 <= genotype.first_level <= 16:
        problems.append(f"first_level: expected an integer from 0 to 16, got {genotype.first_level!r}")
    if genotype.projection not in get_args(Projection):
        problems.append(f"projection: expected one of {get_args(Projection)}, got {genotype.projection!r}")
    return problems + (_identity_problems(genotype) if genotype.kind == "identity" else _no_cell_problem(genotype))


def _identity_problems(genotype: Genotype) -> list[str]:
    """Nothing that is said of cells may differ from its default where there is none."""
    problems = []
    if genotype.first_level:
        problems.append(f"first_level: expected 0 for kind 'identity', got {genotype.first_level!r}")
    if genotype.projection != "zero":
        problems.append(f"projection: expected 'zero' for kind 'identity', got {genotype.projection!r}")
    if genotype.cells:
        problems.append(f"cells: expected none for kind 'identity', got {len(genotype.cells)}")
    return problems


def _no_cell_problem(genotype: Genotype) -> list[str]:
    return [] if genotype.cells else [f"cells: expected at least one cell for kind {genotype.kind!r}, got none"]


def _cell_problems(genotype: Genotype, index: int, cell: Cell) -> list[str]:
    if len(cell) != genotype.nodes:
        return [f"cells[{index}]: expected {genotype.nodes} nodes, got {len(cell)}"]
    problems = []
    for node, edges in enumerate(cell):
        if not edges:
            problems.append(f"cells[{index}][{node}]: expected at least one edge, got none")
        for operation, source in edges:
            if operation not in OPERATIONS[1:]:
                problems.append(f"cells[{index}][{node}]: expected one of {OPERATIONS[1:]}, got {operation!r}")
            if not _is_integer(source) or not 0 <= source < node + CELL_INPUTS:
                problems.append(
                    f"cells[{index}][{node}]: expected an input from 0 to {node + CELL_INPUTS - 1}, got {source!r}"
                )
    return problems
