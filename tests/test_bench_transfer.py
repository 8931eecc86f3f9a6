"""The benchmark of warm starts, with searches that are made up: what is run, and what the table says of their Dice."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from fake_trainings import search_result
from nnunet_folders import Folders
from prepared_datasets import write_prepared

from nnunet_iac.nnunet.files.plans import read_plans
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.studies.training_processes import Training

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
TRAINERS = Path(__file__).parents[1] / "trainers"
EDGES = {"probabilities": [[[0.125] * 8] * 2], "edge_weights": [[0.5, 0.5]], "jsd": [[None, None]]}
LINE = {"schema": 1, "phase": "search", "seconds": 1.0, "weight_loss": 0.5, "arch_loss": None, **EDGES}
LINE |= {"mask": [[[1] * 8] * 2], "pruned": [], "decided": [[False, False]], "active_operations": 16}
DICE = {
    "scratch": [0.1, 0.2, 0.3, 0.4, 0.6, 0.6, 0.5, 0.6],
    "nearest": [0.5, 0.65, 0.7],
    "nearest:host": [0.1, 0.1, 0.4, 0.6],
    "0123abc": [0.0, 0.5],
}


def run_fakes(trainings: Sequence[Training], **_: Any) -> list[Training]:
    """Leave what a search leaves."""
    for training in trainings:
        dice = DICE[training.name.rpartition(", seed ")[0]]
        training.folder.mkdir(parents=True)
        lines = [{**LINE, "epoch": epoch, "dice": value} for epoch, value in enumerate(dice)]
        (training.folder / "search.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (training.folder / "search_result.json").write_text(json.dumps(search_result("short search", 0)))
    return []


@pytest.fixture
def bench(folders: Folders, stock_plans: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    write_prepared(folders, stock_plans)
    monkeypatch.syspath_prepend(SCRIPTS)
    module: Any = importlib.import_module("bench_transfer")
    monkeypatch.setattr(module, "run_trainings", run_fakes)
    return lambda *words: module.main(["-d", "990", "--zoo", str(folders.base / "zoo"), "--window", "1", *words])


def test_the_table_tells_how_many_epochs_less_each_arm_needs(bench: Any, folders: Folders, capsys: Any) -> None:
    words = ["--sources", "nearest", "nearest:host", "0123abc", "--seeds", "0", "1", "--json", f"{folders.base}/t.json"]
    assert bench(*words, "--png", f"{folders.base}/t.png") == 0

    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: row[6:] for row in table if len(row) == 9 and row[1] == "1"}
    assert found == {
        "scratch": ["5", "1.0", "1.6"],
        "nearest": ["2", "2.5", "4.0"],
        "nearest:host": ["4", "1.2", "2.0"],
        "0123abc": ["-", "-", "-"],
    }
    rows = json.loads((folders.base / "t.json").read_text())["rows"]
    assert [(row["arm"], row["seed"]) for row in rows[::4]] == [("scratch", 0), ("scratch", 1)]
    assert rows[1]["dice"] == DICE["nearest"]
    assert (folders.base / "t.png").read_bytes().startswith(b"\x89PNG")


def test_all_arms_measure_dice_and_a_host_alone_leaves_the_cells_cold(bench: Any, folders: Folders) -> None:
    assert bench("--sources", "nearest", "nearest:host", "--seeds", "3", "--transfer", "transfer.temperature=1") == 0

    def settings(arm: str) -> Settings:
        plans = read_plans(folders.preprocessed / f"nnUNetPlans_transfer_{arm}_seed3.json")
        return Settings.from_block(plans["configurations"]["2d"]["iac"])

    scratch, warm, host = (settings(arm) for arm in ("scratch", "nearest", "nearest_host"))
    assert scratch.search == warm.search == host.search and host.search.validation_iterations > 0
    assert host.transfer.source == warm.transfer.source == "nearest"
    assert (warm.transfer.host, warm.transfer.weights, warm.transfer.temperature) == (True, True, 1)
    assert (host.transfer.host, host.transfer.weights, host.transfer.temperature) == (True, False, "inf")


def test_the_window_averages_and_the_mean_curve_is_as_long_as_all_seeds(bench: Any) -> None:
    tables: Any = importlib.import_module("transfer_table")
    rows = [{"arm": "a", "dice": [0.0, 0.5]}, {"arm": "b", "dice": [1.0]}, {"arm": "a", "dice": [0.5, 0.5, 1.0]}]

    first, second = tables.curves_of(rows)

    assert (first.arm, list(first.mean), len(first.seeds), list(second.mean)) == ("a", [0.25, 0.5], 2, [1.0])
    assert tables.smoothed([0.0, 0.5, 1.0], 2).tolist() == [0.0, 0.25, 0.75]
    assert tables.epochs_to([0.0, 0.5, 1.0], 0.75, 2) == 3


def test_searches_without_dice_are_refused(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for arm in DICE:
        monkeypatch.setitem(DICE, arm, [])

    with pytest.raises(SystemExit, match=r"expected the Dice of its epochs, found none; search with"):
        bench("--seeds", "0")


@pytest.mark.parametrize(("name", "like"), [("Scratch", "IAC"), ("Warm", "IACTransfer")])
def test_its_trainers_differ_in_what_follows_the_search_alone(name: str, like: str) -> None:
    paths = {f"nnUNetTrainerSearch{name}": Path(SCRIPTS, "search_only"), f"nnUNetTrainer{like}": TRAINERS}
    own, whole = (run_path(f"{folder}/{trainer}.py")[trainer] for trainer, folder in paths.items())

    assert own.__mro__[1] is whole.__mro__[1] and own.recipe == replace(whole.recipe, train=False)
