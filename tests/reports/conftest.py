"""Plausible artefacts of searches that never ran, exactly in schema 1, for the tests of the reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.reports.canvas import new_figure
from nnunet_iac.reports.trace import SearchTrace, read_trace

MODEL = Path("Dataset004_Hippocampus") / "nnUNetTrainerIAC__nnUNetPlans_iac__2d"
HOST = Path("Dataset004_Hippocampus") / "nnUNetTrainer__nnUNetPlans__2d"
CLASSES = {"background": 0, "Anterior": 1, "Posterior": 2}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def search_lines(
    *, epochs: int = 40, groups: int = 1, nodes: int = 4, seed: int = 0, warmup: int = 6, undecided: bool = False
) -> list[dict[str, Any]]:
    """Simulate a search: logits drift to a favourite of each edge, stable edges lose operations one by one."""
    generator = np.random.default_rng(seed)
    shape = (groups, len(edges_of(nodes)), len(OPERATIONS))
    pull = generator.gumbel(size=shape) * (0.0005 if undecided else 0.12)
    logits, beta = np.zeros(shape), np.zeros(shape[:2])
    mask = np.ones(shape, dtype=bool)
    history: list[np.ndarray] = []
    lines = []
    for epoch in range(epochs):
        searching = epoch >= warmup
        if searching:
            logits += pull * np.exp(-epoch / 30) + generator.normal(0, 0.01, shape)
            beta += generator.normal(0, 0.12, shape[:2])
        probabilities = _softmax(np.where(mask, logits, -np.inf))
        history = [*history, probabilities][-4:]
        jsd = _jsd(history[0], probabilities) if len(history) == 4 and searching else np.full(shape[:2], np.nan)
        pruned = [] if undecided else _prune(mask, probabilities, jsd, generator)
        probabilities = _softmax(np.where(mask, logits, -np.inf))  # a line holds what pruning left
        active = int(mask.sum())
        lines.append(
            {
                "schema": 1,
                "epoch": epoch,
                "phase": "search" if searching else "warmup",
                "seconds": round(2 + 10 * active / mask.size + float(generator.normal(0, 0.1)), 3),
                "weight_loss": round(-0.85 + 0.7 * float(np.exp(-epoch / 12)) + float(generator.normal(0, 0.01)), 4),
                "arch_loss": round(-0.8 + 0.7 * float(np.exp(-epoch / 12)), 4) if searching else None,
                "probabilities": np.round(probabilities, 6).tolist(),
                "edge_weights": _edge_weights(beta, nodes).tolist(),
                "jsd": [[None if np.isnan(v) else float(v) for v in row] for row in jsd],
                "mask": mask.astype(int).tolist(),
                "pruned": pruned,
                "decided": (mask.sum(axis=2) == 1).tolist(),
                "active_operations": active,
            }
        )
    return lines


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _jsd(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    middle = (p + q) / 2

    def kl(a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / np.where(middle > 0, middle, 1)), 0).sum(axis=-1)

    return np.clip((kl(p) + kl(q)) / 2 / np.log(2), 0, 1)


def _edge_weights(beta: np.ndarray, nodes: int) -> np.ndarray:
    parts = np.split(beta, np.cumsum([node + 2 for node in range(nodes)])[:-1], axis=1)
    return np.concatenate([_softmax(part) for part in parts], axis=1)


def _prune(
    mask: np.ndarray, probabilities: np.ndarray, jsd: np.ndarray, generator: np.random.Generator
) -> list[list[Any]]:
    pruned: list[list[Any]] = []
    for group, edge in np.argwhere((jsd < 0.002) & (mask.sum(axis=2) > 1)):
        if generator.random() < 0.6:
            continue
        weakest = np.argsort(np.where(mask[group, edge], probabilities[group, edge], np.inf))
        for operation in weakest[: max(1, int(mask[group, edge].sum()) // 3)]:
            mask[group, edge, operation] = False
            pruned.append([int(group), int(edge), OPERATIONS[operation]])
    return pruned


def search_result(lines: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return the result that belongs to a simulated search."""
    decided = np.array(lines[-1]["decided"])
    cells = tuple(_strongest(np.array(p), np.array(w)) for p, w in _last(lines))
    genotype = Genotype.of(CellShape(len(cells[0])), "searched", cells, {"seed": 0, "epochs": len(lines)}).to_dict()
    status = "decided" if decided.all() else "undecided"
    record = {
        "schema": 1,
        "status": status,
        "message": "every edge is decided and the topology stood still for 5 epochs"
        if status == "decided"
        else "the epoch budget ended before the probabilities became stable and distinct",
        "epochs": len(lines),
        "seconds": sum(line["seconds"] for line in lines),
        "seed": 0,
        "decided_edges": int(decided.sum()),
        "edges": int(decided.size),
        "genotype": genotype,
        "host": {"checkpoint": None, "mode": "frozen"},
        "settings": {"search": {"epochs": 200, "tau": None, "patience": 5, "prune": True}, "cell": {"nodes": 4}},
        "tau": 0.002,
        "patients": "patient_groups.json",
        "weight_cases": ["a", "b", "c"],
        "architecture_cases": ["d", "e"],
    }
    return {**record, **changes}


def _last(lines: list[dict[str, Any]]) -> Any:
    return zip(lines[-1]["probabilities"], lines[-1]["edge_weights"], strict=True)


def _strongest(probabilities: np.ndarray, weights: np.ndarray) -> Any:
    """Keep the two strongest edges of each node, each with its strongest operation but ``none``."""
    nodes = next(nodes for nodes in range(1, 17) if len(edges_of(nodes)) == len(weights))
    strength = probabilities[:, 1:].max(axis=1) * weights
    cell = []
    for node in range(nodes):
        rows = [i for i, (target, _) in enumerate(edges_of(nodes)) if target == node]
        best = sorted(sorted(rows, key=lambda i: -strength[i])[:2])
        cell.append(tuple((OPERATIONS[1 + probabilities[i, 1:].argmax()], edges_of(nodes)[i][1]) for i in best))
    return tuple(cell)


def plans(genotype: dict[str, Any] | None) -> dict[str, Any]:
    """Return the part of a plans file that a report reads."""
    architecture: dict[str, Any] = {"network_class_name": "dynamic_network_architectures.PlainConvUNet"}
    if genotype is not None:
        architecture = {
            "network_class_name": "nnunet_iac.cells.network.CellUNet",
            "arch_kwargs": {"genotype": genotype},
        }
    iac = {"search": {"tau": 0.002, "epochs": 200}}
    return {
        "plans_name": "nnUNetPlans_iac",
        "derived_from": "nnUNetPlans",
        "configurations": {"2d": {"architecture": architecture, "iac": iac}},
    }


def summary(seed: int, level: float, cases: int = 12, classes: tuple[str, ...] = ("1", "2")) -> dict[str, Any]:
    """Return a validation summary as nnU-Net 2 writes it."""
    generator = np.random.default_rng(seed)
    hardness = np.random.default_rng(99).uniform(0, 0.25, cases)
    table = np.clip(level - hardness[:, None] + generator.normal(0, 0.02, (cases, len(classes))), 0, 1)
    rows = [{key: {"Dice": float(value)} for key, value in zip(classes, row, strict=True)} for row in table]
    names = [f"hippocampus_{index:03d}.nii.gz" for index in range(cases)]
    return {
        "foreground_mean": {"Dice": float(table.mean())},
        "mean": {key: {"Dice": float(mean)} for key, mean in zip(classes, table.mean(axis=0), strict=True)},
        "metric_per_case": [
            {"reference_file": f"/gt/{name}", "prediction_file": f"/p/{name}", "metrics": row}
            for name, row in zip(names, rows, strict=True)
        ],
    }


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_trace(fold: Path, lines: list[dict[str, Any]], torn: str = "") -> None:
    fold.mkdir(parents=True, exist_ok=True)
    (fold / "search.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)


@dataclass(frozen=True)
class Results:
    """A results folder under construction."""

    root: Path

    @property
    def model(self) -> Path:
        return self.root / MODEL

    def fold(self, number: int = 0) -> Path:
        return self.model / f"fold_{number}"

    def host_fold(self, number: int = 0) -> Path:
        return self.root / HOST / f"fold_{number}"

    def with_plans(self, genotype: dict[str, Any] | None) -> Results:
        write_json(self.model / "plans.json", plans(genotype))
        write_json(self.model / "dataset.json", {"name": "Hippocampus", "labels": CLASSES})
        return self

    def with_search(self, number: int = 0, *, ended: bool = True, torn: str = "", **options: Any) -> Results:
        lines = search_lines(**options)
        write_trace(self.fold(number), lines, torn)
        if ended:
            write_json(self.fold(number) / "search_result.json", search_result(lines))
        return self

    def with_host_origin(self, number: int = 0, checkpoint: str | None = None) -> Results:
        origin = {"checkpoint": checkpoint, "epochs": 2, "heads_only": False, "message": "trained here for 2 epochs"}
        write_json(self.fold(number) / "host.json", origin)
        return self

    def with_json(self, path: str, content: Any) -> Results:
        write_json(self.root / path, content)
        return self

    def with_validation(self, number: int = 0, *, host: bool = True) -> Results:
        write_json(self.fold(number) / "validation" / "summary.json", summary(1 + number, 0.93))
        if host:
            write_json(self.host_fold(number) / "validation" / "summary.json", summary(11 + number, 0.91))
        (self.fold(number) / "progress.png").write_bytes(PIXEL)
        return self


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


@pytest.fixture
def complete(results: Results) -> Results:
    """One fold that searched, trained and was validated, with its host."""
    lines = search_lines()
    return results.with_plans(search_result(lines)["genotype"]).with_search().with_validation()


@pytest.fixture
def trace(tmp_path: Path) -> Callable[..., SearchTrace]:
    """Return a function that simulates a search (or takes its lines) and reads it back from disk."""

    def make(lines: list[dict[str, Any]] | None = None, torn: str = "", **options: Any) -> SearchTrace:
        write_trace(tmp_path / "trace", search_lines(**options) if lines is None else lines, torn)
        read = read_trace(tmp_path / "trace" / "search.jsonl")
        assert read is not None
        return read

    return make


@pytest.fixture
def simulate() -> Callable[..., list[dict[str, Any]]]:
    """Return :func:`search_lines`."""
    return search_lines


@pytest.fixture
def ax() -> Axes:
    """Return axes of a figure of their own."""
    return new_figure(4, 3).subplots()
