"""Read ``search.jsonl``, the trace of a search: one line for each epoch, stacked into arrays over epochs.

A search may be running or may have been killed while it wrote: lines that are no JSON are left out and counted.
A search that was resumed writes some epochs again: a line replaces all earlier lines of its epoch and later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.json_files import parse_json
from nnunet_iac.reports.documents import check_keys, check_schema

FILE_NAME = "search.jsonl"
"""Name of the trace in a fold folder."""

_SCALARS = ("epoch", "seconds", "weight_loss", "arch_loss", "active_operations")
_ARRAYS = ("probabilities", "edge_weights", "jsd", "mask", "decided")
_KEYS = ("phase", "pruned", *_SCALARS, *_ARRAYS)
_DICE = "dice"
"""A key that only lines of searches have that measured it."""


@dataclass(frozen=True)
class Pruned:
    """One operation (index in :data:`OPERATIONS`) of one edge of one group, pruned at the end of ``epoch``."""

    epoch: int
    group: int
    edge: int
    operation: int


@dataclass(frozen=True, eq=False)
class SearchTrace:
    """A search over its epochs; T epochs, G cells (one, or one for each level), E edges, O = 8 operations.

    Attributes:
        epochs: ``(T,)``, numbers of the epochs, rising (not always without gaps).
        phases: ``warmup`` (weights only) or ``search``, one for each epoch.
        seconds: ``(T,)``, wall-clock of each epoch.
        weight_loss: ``(T,)``.
        arch_loss: ``(T,)``, NaN where architecture parameters were not trained.
        probabilities: ``(T, G, E, O)``, softmax over active operations, 0 where pruned.
        edge_weights: ``(T, G, E)``, softmax over the edges that enter a node.
        divergence: ``(T, G, E)``, JSD in [0, 1], NaN while the window fills.
        mask: ``(T, G, E, O)``, whether an operation is active.
        decided: ``(T, G, E)``.
        active_operations: ``(T,)``.
        dice: ``(T,)``, of the network after each epoch on validation cases, NaN where it was not measured.
        pruned: everything that was pruned, in the order of time.
        damaged_lines: lines that were left out because they are no whole JSON object.
        superseded_lines: lines replaced by later ones of the same or an earlier epoch (the search was resumed).
        first_level: highest resolution with a cell; the lines do not say it, the plans do.
    """

    epochs: NDArray[np.int64]
    phases: tuple[str, ...]
    seconds: NDArray[np.float64]
    weight_loss: NDArray[np.float64]
    arch_loss: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    edge_weights: NDArray[np.float64]
    divergence: NDArray[np.float64]
    mask: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    active_operations: NDArray[np.int64]
    dice: NDArray[np.float64]
    pruned: tuple[Pruned, ...]
    damaged_lines: int = 0
    superseded_lines: int = 0
    first_level: int = 0

    @property
    def groups(self) -> int:
        """Cells that were searched: 1 (shared by all levels) or the number of levels."""
        return int(self.probabilities.shape[1])

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """``(node, input)`` of each edge, in the order of the arrays."""
        return edges_of(self.nodes)

    @property
    def nodes(self) -> int:
        """Nodes of a cell."""
        return _nodes_of(int(self.probabilities.shape[2])) or 0

    @property
    def search_start(self) -> int | None:
        """The first epoch that trained architecture parameters; None while the search warms up."""
        return next((int(e) for e, phase in zip(self.epochs, self.phases, strict=True) if phase == "search"), None)


def read_trace(path: Path) -> SearchTrace | None:
    """Read the trace of a search; None if it holds no whole line yet.

    Raises:
        ValueError: if a line is JSON but does not follow schema 1; the message names the line.
        OSError: from the file system.
    """
    records: list[dict[str, Any]] = []
    damaged = superseded = 0
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        if (record := _parsed(line)) is None:
            damaged += 1
            continue
        _check_line(record, f"{path}, line {number}", records[0] if records else record)
        kept = [earlier for earlier in records if earlier["epoch"] < record["epoch"]]
        superseded += len(records) - len(kept)
        records = [*kept, record]
    return _stacked(records, damaged, superseded) if records else None


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _nodes_of(edges: int) -> int | None:
    # nodes (nodes + 3) / 2 edges, see edges_of
    return next((nodes for nodes in range(1, 17) if len(edges_of(nodes)) == edges), None)


def _check_line(record: Mapping[str, Any], where: str, first: Mapping[str, Any]) -> None:
    check_schema(record, where)
    check_keys(record, _KEYS, where)
    remedy = "the file is damaged or of another version of nnunet-iac: restore it, or search again"
    for key in _SCALARS:
        if not _is_scalar(record[key], key):
            raise ValueError(f"{where}: {key}: expected a number, got {record[key]!r}; {remedy}")
    if not _is_dice(record.get(_DICE, 0)):
        raise ValueError(f"{where}: dice: expected a number from 0 to 1, got {record[_DICE]!r}; {remedy}")
    if not isinstance(record["pruned"], list):
        raise ValueError(f"{where}: pruned: expected a list, got {record['pruned']!r}; {remedy}")
    shape = np.shape(_array(first, "probabilities", where))
    if len(shape) != 3 or shape[2] != len(OPERATIONS) or _nodes_of(shape[1]) is None:
        raise ValueError(
            f"{where}: probabilities: expected [cells][edges][{len(OPERATIONS)}] with the 2, 5, 9, 14, … edges of "
            f"1, 2, 3, 4, … nodes, got shape {list(shape)}; {remedy}"
        )
    for key in _ARRAYS:
        expected = shape if key in ("probabilities", "mask") else shape[:2]
        if (got := np.shape(_array(record, key, where))) != expected:
            raise ValueError(f"{where}: {key}: expected shape {list(expected)}, got {list(got)}; {remedy}")
    for entry in record["pruned"]:
        if not _is_pruned_entry(entry, shape):
            raise ValueError(f"{where}: pruned: expected [cell, edge, operation name], got {entry!r}; {remedy}")


def _is_scalar(value: Any, key: str) -> bool:
    if isinstance(value, bool):
        return False
    if key in ("epoch", "active_operations"):
        return isinstance(value, int) and 0 <= value < 1 << 31
    # JSON knows no NaN, Python's does: a loss that was not finite is a fact of the search. Warm-up has no arch_loss.
    return (
        (isinstance(value, (int, float)) and -1e300 < value < 1e300)
        or value != value
        or (value is None and key == "arch_loss")
    )


def _is_dice(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _array(record: Mapping[str, Any], key: str, where: str) -> NDArray[np.float64]:
    try:
        return np.array(record[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: {key}: expected lists of numbers of equal length ({error}); "
            "the file is damaged or of another version of nnunet-iac: restore it, or search again"
        ) from error


def _is_pruned_entry(entry: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and entry[0] in range(shape[0])
        and entry[1] in range(shape[1])
        and entry[2] in OPERATIONS
    )


def _stacked(records: list[dict[str, Any]], damaged: int, superseded: int) -> SearchTrace:
    def stack(key: str) -> NDArray[np.float64]:
        return np.array([record[key] for record in records], dtype=np.float64)

    pruned = (
        Pruned(r["epoch"], group, edge, OPERATIONS.index(name)) for r in records for group, edge, name in r["pruned"]
    )
    return SearchTrace(
        epochs=stack("epoch").astype(np.int64),
        phases=tuple(str(record["phase"]) for record in records),
        seconds=stack("seconds"),
        weight_loss=stack("weight_loss"),
        arch_loss=stack("arch_loss"),
        probabilities=stack("probabilities"),
        edge_weights=stack("edge_weights"),
        divergence=stack("jsd"),
        mask=stack("mask") > 0,
        decided=stack("decided") > 0,
        active_operations=stack("active_operations").astype(np.int64),
        dice=np.array([record.get(_DICE, np.nan) for record in records], dtype=np.float64),
        pruned=tuple(pruned),
        damaged_lines=damaged,
        superseded_lines=superseded,
    )
