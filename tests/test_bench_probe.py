"""The benchmark of the probe, with trainings and a probe that are fakes: what is asked of whom, and the table."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_trainings import FakeTrainings, fake_trainings
from nnunet_folders import Folders
from prediction_folders import CASES

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
PROBE = {
    "dataset": "Dataset990_Tiny",
    "configuration": "2d",
    "seconds": 180.0,
    "arms": {"random": {"difference": {"difference": 0.25, "low": 0.1, "high": 0.5, "runs_low": 0.05, "runs_high": 1}}},
    "recommendation": {"verdict": "pays"},
}


class FakeProbe:
    """What stands for `nnunet-iac probe`, called as a process."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.status = 0

    def run(self, command: list[str], **_: Any) -> SimpleNamespace:
        self.commands.append(command)
        folder = Path(command[command.index("-o") + 1])
        folder.mkdir(exist_ok=True)
        (folder / "probe.json").write_text(json.dumps(PROBE))
        return SimpleNamespace(returncode=self.status)


Bench = tuple[ModuleType, FakeTrainings, FakeProbe]


@pytest.fixture
def bench(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> Bench:
    _, trainings = fake_trainings(planned, monkeypatch, SCRIPTS)
    module, probe = importlib.import_module("bench_probe"), FakeProbe()
    # Not `subprocess.run` itself: the module's name for it.
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": probe.run}))
    return module, trainings, probe


def full(patients: int, low: float, high: float, of_runs: dict[str, float] | None) -> dict[str, Any]:
    """A record of full trainings whose random cells gain 1 point in every seed."""
    found = {"difference": 1.0, "interval": {"low": low, "high": high}, "of_runs": of_runs, "margin": 0.5}
    seeds = {"identity": [80.0, 81.0], "random": [81.0, 82.0]}
    return {"patients": [f"p{i}" for i in range(patients)], "against_control": {"random": found}, "dice_by_seed": seeds}


def cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]


def test_both_are_asked_about_the_same_host_and_the_record_holds_both(bench: Bench, tmp_path: Path) -> None:
    module, trainings, probe = bench
    words = ["-d", "990", "--seeds", "3", "4", "--batch-size", "4", "--json", str(tmp_path / "found.json")]

    assert module.main(words) == 0

    assert set(trainings.started) == {f"{arm}, seed {s}" for arm in ("host", "identity", "random") for s in (3, 4)}
    (command,) = probe.commands
    assert command[:2] == ["nnunet-iac", "probe"] and command[command.index("-p") + 1] == "nnUNetPlans_probed_seed3"
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["probe"] == PROBE and found["full"] == json.loads((tmp_path / "found_full.json").read_text())
    assert found["full"]["study"]["batch_size"] == 4


def test_full_trainings_of_all_folds_and_a_probe_of_the_first_with_its_own_seeds(bench: Bench, tmp_path: Path) -> None:
    module, trainings, probe = bench
    trainings.cases = {0: CASES[:3], 1: CASES[3:]}
    words = ["-d", "990", "-f", "0", "1", "--seeds", "3", "--probe-seeds", "5", "6", "--batch-size", "4"]

    assert module.main([*words, "--json", str(tmp_path / "found.json")]) == 0

    assert len(trainings.started) == 6
    (command,) = probe.commands
    assert command[command.index("-f") + 1 : command.index("-p")] == ["0", "--seeds", "5", "6"]
    assert command[command.index("-p") + 1] == "nnUNetPlans_probed_seed3"
    study = json.loads((tmp_path / "found_full.json").read_text())["study"]
    assert study["folds"] == [0, 1] and study["seeds"] == [3]


def test_a_training_or_a_probe_that_fails_is_status_1_without_a_table(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, trainings, probe = bench
    words = ["-d", "990", "--seeds", "0", "--json", str(tmp_path / "found.json")]
    trainings.failing = {"random, seed 0"}
    assert module.main(words) == 1 and probe.commands == []

    trainings.failing, probe.status = set(), 2
    assert module.main(words) == 1 and len(probe.commands) == 1

    assert "| data set |" not in capsys.readouterr().out and not (tmp_path / "found.json").exists()


def test_another_length_under_the_same_tag_is_refused(bench: Bench, tmp_path: Path) -> None:
    module, _, probe = bench
    words = ["-d", "990", "--seeds", "0", "--json", str(tmp_path / "found.json")]
    assert module.main(words) == 0

    assert module.main([*words, "--epochs", "11"]) == 1 and len(probe.commands) == 1


@pytest.mark.parametrize(
    ("record", "verdict", "agrees"),
    [
        (full(8, 0.6, 1.4, {"low": 0.5, "high": 1.5}), "pays", "yes"),
        (full(8, 0.6, 1.4, {"low": -0.5, "high": 2.5}), "not settled", "open"),
        (full(8, 0.6, 1.4, None), "not settled", "open"),
    ],
)
def test_the_table_judges_full_trainings_by_the_rule_of_the_probe(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], record: dict[str, Any], verdict: str, agrees: str
) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"full": record, "probe": PROBE}))

    assert bench[0].main(["--read", str(path)]) == 0

    found = cells(capsys.readouterr().out)
    assert found[:2] == ["Dataset990_Tiny 2d", "+0.25 [+0.10, +0.50]"] and "pays" in found
    assert "+1.00 [+0.60, +1.40]" in found and "+1.00, +1.00" in found and found[-3:-1] == [verdict, agrees]
    assert found[-1] == "-0.75, full inside the CI"


def test_few_patients_have_no_interval_in_the_table(bench: Bench) -> None:
    found = cells(bench[0].markdown([{"full": full(4, 0.6, 1.4, None), "probe": PROBE}]))

    assert "+1.00, no interval" in found and found[-2] == "open"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("pays", "pays", "yes"),
        ("do not bother", "do not bother", "yes"),
        ("pays", "do not bother", "no"),
        ("do not bother", "pays", "no"),
        ("not settled", "not settled", "open"),
        ("too few patients", "too few patients", "open"),
        ("not settled", "pays", "open"),
    ],
)
def test_only_verdicts_that_settle_something_can_agree(bench: Bench, one: str, other: str, expected: str) -> None:
    assert bench[0].agreement(one, other) == expected


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.0, 0.9, "-0.50, full outside the CI"), (0.0, 1.0, "-0.50, full inside the CI"), (None, None, "-0.50, no CI")],
)
def test_the_lean_of_a_probe_is_said(bench: Bench, low: float | None, high: float | None, words: str) -> None:
    assert bench[0].lean({"difference": 0.5, "runs_low": low, "runs_high": high}, {"difference": 1.0}) == words
