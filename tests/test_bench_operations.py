"""The benchmark of what searches choose, with searches that are fakes: which plans, whose host, which figures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from math import atan, pi
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_trainings import search_result
from nnunet_folders import Folders
from numpy.random import default_rng

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.studies.training_processes import Training

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
WORDS = ("-d", "990", "--host-plans", "nnUNetPlans", "--seeds", "3", "4")
VARIANTS = ("--variant", "short", "search.epochs=10", "--variant", "warm", "search.epochs=10", "search.warmup_epochs=6")


class FakeSearches:
    """Searches whose cells are pooling in seed 3 and convolutions in seed 4."""

    def __init__(self) -> None:
        self.started: list[Training] = []
        self.failing = False

    def run(
        self, runs: Sequence[Training], *, gpus: Sequence[str | None], environment: Mapping[str, str]
    ) -> list[Training]:
        if self.failing:
            return list(runs)
        for run in (run for run in runs if not run.is_done):
            self.started.append(run)
            operation = "avg_pool_3x3" if "seed3" in str(run.folder) else "sep_conv_3x3"
            run.folder.mkdir(parents=True)
            write_json(run.folder / "search_result.json", result(operation))
        return []


def result(operation: str) -> dict[str, Any]:
    node = [[operation, 0], [operation, 1]]
    genotype = {"schema": 1, "kind": "searched", "nodes": 2, "second_input": "decoder", "width": 0.5}
    return search_result("short search", 0) | {"genotype": genotype | {"cells": [[node, node]], "origin": {}}}


@pytest.fixture
def bench(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, FakeSearches]:
    monkeypatch.syspath_prepend(SCRIPTS)
    module, fake = importlib.import_module("bench_operations"), FakeSearches()
    monkeypatch.setattr(module, "run_trainings", fake.run)
    host = planned.results / "nnUNetTrainerIACHost__nnUNetPlans__2d" / "fold_0" / "checkpoint_final.pth"
    host.parent.mkdir(parents=True)
    host.touch()
    return module, fake


Bench = tuple[ModuleType, FakeSearches]


def test_searches_share_the_host_and_differ_in_seed_and_variant(bench: Bench, planned: Folders, tmp_path: Path) -> None:
    module, fake = bench

    assert module.main([*WORDS, *VARIANTS, "--json", str(tmp_path / "found.json")]) == 0

    assert [run.name for run in fake.started] == ["short, seed 3", "short, seed 4", "warm, seed 3", "warm, seed 4"]
    for run in fake.started:
        name = run.command[run.command.index("-p") + 1]
        plans = json.loads((planned.preprocessed / f"{name}.json").read_text())
        search = plans["configurations"]["2d"]["iac"]["search"]
        assert plans["derived_from"] == "nnUNetPlans"
        assert search["seed"] == int(name[-1]) and search["epochs"] == 10
        assert search.get("warmup_epochs", 5) == (6 if "warm" in name else 5)
    variants = json.loads((tmp_path / "found.json").read_text())["variants"]
    assert [one["searches"][0]["operations"] for one in variants] == [{"avg_pool_3x3": 4}] * 2

    fake.started.clear()
    assert module.main([*WORDS, *VARIANTS]) == 0
    assert fake.started == []


def test_the_table_says_how_far_from_chance_and_how_alike(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    module, _ = bench
    record = str(tmp_path / "found.json")
    assert module.main([*WORDS, *VARIANTS, "--json", record]) == 0
    table = capsys.readouterr().out.strip().splitlines()

    # 4 and 0 of 4 edges: mean 2 with standard error 2, by chance 12/7; variance 8, by chance 4 * 3/7 * 4/7.
    cells = [cell.strip() for cell in table[2].split("|")[1:-1]]
    assert cells[:4] == ["short", "4, 0 of 4", "2.0", "1.7"]
    # With one degree of freedom t is Cauchy.
    assert float(cells[4]) == pytest.approx(1 - 2 * atan((2 - 12 / 7) / 2) / pi, abs=0.001)
    assert float(cells[5]) == pytest.approx(8 / (48 / 49), abs=0.05)

    assert module.main(["--read", record]) == 0
    assert capsys.readouterr().out.strip().splitlines() == table


def test_a_uniform_draw_has_neither_lean_nor_likeness(bench: Bench) -> None:
    module, _ = bench
    draws = default_rng(0).binomial(8, module.CHANCE, size=20_000)
    p_value, alike = module.lean(draws.tolist(), 8)
    assert p_value > 0.01 and alike == pytest.approx(1, abs=0.05)
    assert module.lean([5, 5, 5], 8) == (0.0, 0.0) and module.lean([3, 3], 7) == (1.0, 0.0)


def test_edges_that_choose_alike_are_not_taken_for_a_lean(bench: Bench) -> None:
    """All pooling or all convolutions, by chance: one series of searches in twenty may mislead, not most."""
    module, _ = bench
    draws = 8 * default_rng(1).binomial(1, module.CHANCE, size=(500, 8))
    wrong = sum(module.lean(series.tolist(), 8)[0] < 0.05 for series in draws)
    assert wrong < 0.1 * len(draws)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-d", "990"], "-d, --host-plans, --variant: expected all three"),
        ([*WORDS, "--variant", "a", "--variant", "a"], "--variant: expected different names"),
        ([*WORDS, *VARIANTS, "--seeds", "3", "3"], "--seeds: expected at least 2, to know how searches scatter"),
        ([*WORDS, "--variant", "../a"], "--variant: expected different names of letters and digits"),
    ],
)
def test_words_that_cannot_be(
    bench: Bench, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench[0].main(words)
    assert expected in capsys.readouterr().err


def test_a_host_that_is_missing_and_a_search_that_fails(bench: Bench) -> None:
    module, fake = bench
    with pytest.raises(FileNotFoundError, match="host: expected a finished stock training"):
        module.main([*WORDS, "-f", "1", *VARIANTS])
    fake.failing = True
    assert module.main([*WORDS, *VARIANTS]) == 1
