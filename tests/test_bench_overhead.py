"""The benchmark of what cells cost, on a tiny U-Net: really run once, then with times that are given."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
TINY = ("tiny", (16, 16), (8, 16, 16, 32), 2, 2)
"""Name, patch, channels, batch and batch of a GPU."""
CELLS = ["random 0", "heaviest"]
NETWORKS = [
    *CELLS,
    *(f"{cells}, from level {level}" for level in (1, 2) for cells in CELLS),
    *("attention gates", "dense skips"),
]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    module = importlib.import_module("bench_overhead")
    monkeypatch.setattr(module, "CASES", (module.Case(*TINY), module.Case("another", *TINY[1:])))
    return module


def run(bench: ModuleType, path: Path) -> list[dict[str, Any]]:
    words = ["--device", "cpu", "--threads", str(torch.get_num_threads()), "--seeds", "1", "--repeats", "1"]
    assert bench.main([*words, "--only", "tiny", "--json", str(path)]) == 0
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def test_every_network_is_measured_against_the_stock_one(bench: ModuleType, tmp_path: Path) -> None:
    rows = run(bench, tmp_path / "found.json")

    assert [row["cells"] for row in rows] == NETWORKS and {row["name"] for row in rows} == {"tiny"}
    for row in rows:
        assert row["training"] > 0 and row["prediction"] > 0 and row["parameters"] > 1


def test_ratios_are_those_of_the_medians(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = iter([{"stock": 2.0, "implanted": 2.5}, {"stock": 0.5, "implanted": 0.55}] * len(NETWORKS))

    def medians(sides: dict[str, Callable[[], None]], *_: object) -> dict[str, float]:
        assert list(sides) == ["stock", "implanted"]
        return next(given)

    monkeypatch.setattr(bench, "_medians", medians)

    rows = run(bench, tmp_path / "found.json")

    assert {(row["training"], row["prediction"]) for row in rows} == {(1.25, 1.1)}
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny |")]
    assert [line.split(" | ")[1:4] for line in table] == [[name, "1.25", "1.10"] for name in NETWORKS]


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_the_first_run_of_each_side_is_not_counted(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    now, seconds = [0.0], {"stock": iter([100, 1, 3, 2]), "implanted": iter([200, 4, 4, 9])}
    monkeypatch.setitem(bench.CLOCKS, clock, lambda: now[0])

    def taking(side: str) -> Callable[[], None]:
        return lambda: now.append(now.pop() + next(seconds[side]))

    args = SimpleNamespace(clock=clock, repeats=3)
    found = bench._medians({side: taking(side) for side in seconds}, torch.device("cpu"), args)

    assert found == {"stock": 2.0, "implanted": 4.0}
