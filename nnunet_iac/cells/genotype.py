"""The genotype: a frozen, versioned, JSON-serialisable record of what a search found (or a control prescribes).

Pure Python: reading a genotype needs no torch. The record lives in the plans file (``arch_kwargs.genotype``),
which is why stock nnU-Net rebuilds the network without any custom trainer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from nnunet_iac.cells.cell_shape import CELL_INPUTS, CellShape, is_integer, shape_problems

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

EDGES_PER_NODE = 2
"""Edges that a discrete cell keeps for each node (DARTS)."""

Kind = Literal["searched", "random", "identity"]
Edge = tuple[str, int]
"""``(operation, input)``: inputs 0 and 1 are the cell's, input ``j >= 2`` is node ``j - 2``."""
Cell = tuple[tuple[Edge, ...], ...]
"""One cell: for each node, its edges."""


@dataclass(frozen=True)
class Genotype(CellShape):
    """What the cells of a network are: a shape whose operations are chosen.

    Attributes:
        kind: where it comes from: ``searched``, or one of the controls ``random`` and ``identity``.
        cells: no cell (identity), one cell shared by all levels, or one for each level, highest resolution first.
        origin: free provenance (seed, status, epochs of the search); never read by the network.

    Those of a shape stand in :class:`nnunet_iac.cells.cell_shape.CellShape`.

    Raises:
        ValueError: if a field is out of range; all faults are named together.

    Example:
        >>> genotype = Genotype.identity()
        >>> Genotype.from_dict(genotype.to_dict()) == genotype
        True
    """

    kind: Kind = field(kw_only=True)
    cells: tuple[Cell, ...] = field(kw_only=True, default=())
    origin: Mapping[str, Any] = field(kw_only=True, default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if problems := _problems(self):
            raise ValueError("genotype: " + "; ".join(problems))

    @classmethod
    def of(cls, shape: CellShape, kind: Kind, cells: tuple[Cell, ...], origin: Mapping[str, Any]) -> Genotype:
        """Return the genotype of these cells, which have that shape.

        Raises:
            ValueError: if they have not.
        """
        of_shape = {one.name: getattr(shape, one.name) for one in fields(CellShape)}
        return cls(**of_shape, kind=kind, cells=cells, origin=origin)

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
        with_cells = self.levels_with_cells(levels)
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
            **super().to_dict(),
            "cells": [[[list(edge) for edge in node] for node in cell] for cell in self.cells],
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
    def random(cls, *, seed: int, shape: CellShape | None = None, count: int = 1) -> Genotype:
        """Draw a control uniformly: two distinct inputs for each node and any operation but ``none``.

        Args:
            seed: of the draw.
            shape: of the cells; None is the default one.
            count: number of cells, 1 for one that all levels share.

        Example:
            >>> Genotype.random(seed=1) == Genotype.random(seed=1)
            True
        """
        shape = shape or CellShape()
        generator = random.Random(seed)
        cells = tuple(_random_cell(generator, shape.nodes) for _ in range(count))
        return cls.of(shape, "random", cells, {"seed": seed})


def _random_cell(generator: random.Random, nodes: int) -> Cell:
    def node(index: int) -> tuple[Edge, ...]:
        inputs = sorted(generator.sample(range(index + CELL_INPUTS), EDGES_PER_NODE))
        return tuple((generator.choice(OPERATIONS[1:]), j) for j in inputs)

    return tuple(node(i) for i in range(nodes))


def _problems(genotype: Genotype) -> list[str]:
    problems = shape_problems(genotype)
    if genotype.kind not in get_args(Kind):
        problems.insert(0, f"kind: expected one of {get_args(Kind)}, got {genotype.kind!r}")
    problems += _identity_problems(genotype) if genotype.kind == "identity" else _no_cell_problem(genotype)
    for index, cell in enumerate(genotype.cells):
        problems += _cell_problems(genotype, index, cell)
    return problems


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
            if not is_integer(source) or not 0 <= source < node + CELL_INPUTS:
                problems.append(
                    f"cells[{index}][{node}]: expected an input from 0 to {node + CELL_INPUTS - 1}, got {source!r}"
                )
    return problems
