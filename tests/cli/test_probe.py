"""`nnunet-iac probe` around trainings that are pretended: arguments, table, record, statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from prediction_folders import DATASET_JSON, labels, write_json, write_mask, write_masks

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.splits import Grouping
from nnunet_iac.nnunet.probe import probe as running
from nnunet_iac.nnunet.probe import probe_plan
from nnunet_iac.nnunet.probe.probe_trainer import ProbeTraining

CASES = [f"case{n}" for n in range(10)]
HOST = "nnUNetTrainer__nnUNetPlans__2d"
PROBE = "probe_nnUNetPlans__2d_fold0"

Quality = Callable[[ProbeTraining], int]
"""By how many voxels a training's predictions are shifted."""


@pytest.fixture
def hosted(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Ten patients of one case each, and a file that stands for a host."""
    write_json(planned.preprocessed / "dataset.json", DATASET_JSON)
    write_masks(planned.preprocessed / "gt_segmentations", cases=CASES)
    write_json(planned.results / HOST / "fold_0" / "checkpoint_final.pth", "weights")
    monkeypatch.setattr(probe_plan, "fold_cases", lambda *_: (CASES, Grouping({case: case for case in CASES}, None)))
    pretend(monkeypatch, lambda training: 0 if training.arm == "random" else 1)
    return planned


def pretend(monkeypatch: pytest.MonkeyPatch, quality: Quality) -> None:
    def train(training: ProbeTraining, host: Path, device: torch.device) -> None:
        home = training.folder.parent
        write_json(home / "dataset.json", DATASET_JSON)
        write_json(home / "plans.json", {"dataset_name": training.plans["dataset_name"]})
        held_out = training.plans["probe_cases"]["held_out"]
        write_masks(training.folder / "validation", quality(training), cases=held_out)

    monkeypatch.setattr(ProbeTraining, "run", train)


def probe(*words: str) -> int:
    return main(["probe", "-d", "990", "-c", "2d", "-f", "0", "--share", "0.6", *words])


def record_of(folders: Folders) -> dict[str, Any]:
    return dict(json.loads((folders.results / PROBE / "probe.json").read_text()))


def test_it_prints_table_and_recommendation_and_writes_the_record(
    hosted: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe() == 0

    text, record = capsys.readouterr().out, record_of(hosted)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["network", "---", "continued training", "random cells"]
    assert rows[2][2] == "compared with" and rows[3][1] == "100.00" and rows[3][4].count("+") == 3
    assert rows[0][5] == "HD95 (mm)" and rows[3][5] == "0.00" and rows[3][6].startswith("-") and "WARNING" not in text
    assert rows[3][2].split("[")[1] == rows[3][3].strip("[")  # trainings that agree add no scatter
    assert "\ncells pay here: expect about +" in text and record["recommendation"]["verdict"] == "pays"
    assert "10 training cases of the fold: 4 train, 6 cases of 6 patients are held out" in text
    assert all(f"- {limit}\n" in text for limit in record["limits"])
    commands = record["as_measured"]["commands"]
    assert commands and all(f"\n  {command}\n" in text for command in commands) and "about 100 steps" in text
    assert len(record["arms"]["random"]["dice_of_patients"]) == 6 and record["seeds"] == [0, 1, 2]


def test_it_says_what_will_be_done_and_how_long_it_still_takes(
    hosted: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("--seeds", "0", "1") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("4 short trainings of 100 steps, each of which then segments the 6 cases held out")
    done = [line for line in lines if "]" in line and "done in" in line]
    assert [line.endswith("less than a minute to go") for line in done] == [True, True, True, False]
    assert done[1].startswith("[2/4] random cells, seed 0: done")


def test_no_gain_is_plainly_said_and_no_failure(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, lambda training: 1)

    assert probe("--seeds", "4") == 0

    assert "do not bother: cells bring less than 0.5 points" in capsys.readouterr().out
    assert record_of(hosted)["recommendation"]["verdict"] == "do not bother"


@pytest.mark.parametrize("verdict", ["do not bother", "pays"])
def test_cells_that_put_voxels_far_away_are_warned_about_whatever_the_verdict(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdict: str
) -> None:
    pretend(monkeypatch, lambda training: 2 if training.arm == "identity" and verdict == "pays" else 0)
    written = ProbeTraining.run

    def stray(training: ProbeTraining, host: Path, device: torch.device) -> None:
        written(training, host, device)
        if training.arm == "random":  # few voxels, far from everything
            array = labels()
            array[:, :1, :6] = 1
            for case in training.plans["probe_cases"]["held_out"]:
                write_mask(training.folder / "validation" / f"{case}.nii.gz", array)

    monkeypatch.setattr(ProbeTraining, "run", stray)

    assert probe("--seeds", "0", "1") == 0

    text, record = capsys.readouterr().out, record_of(hosted)
    rise = record["arms"]["random"]["hd95"] - record["arms"]["identity"]["hd95"]
    assert rise > 0 and record["arms"]["random"]["hd95_difference"]["difference"] == pytest.approx(rise)
    assert record["recommendation"]["verdict"] == verdict
    assert f"\nWARNING: random cells: HD95 rose by {rise:.2f} mm [+" in text


def test_seeds_that_disagree_settle_nothing(hosted: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = {("identity", 0): 3, ("random", 0): 0, ("identity", 1): 0, ("random", 1): 1}
    pretend(monkeypatch, lambda training: shifts[training.arm, training.seed])

    assert probe("--seeds", "0", "1") == 0

    assert record_of(hosted)["recommendation"]["verdict"] == "not settled"


def test_the_recommendation_is_about_searched_cells_where_there_are_some(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, lambda training: 0 if training.arm == "searched" else 1)

    assert probe("--searched", "--seeds", "0", "1") == 0

    record = record_of(hosted)
    assert list(record["arms"]) == ["identity", "random", "searched"]
    assert record["arms"]["random"]["recommendation"]["verdict"] == "do not bother"
    assert record["recommendation"]["verdict"] == "pays" and "--searched" not in capsys.readouterr().out


def test_another_margin_needs_no_training(hosted: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe() == 0
    pretend(monkeypatch, lambda training: pytest.fail("trained again"))

    assert probe("--margin", "99") == 0

    assert record_of(hosted)["recommendation"]["verdict"] == "do not bother"


def test_another_limit_of_patients_is_another_probe(hosted: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe("--held-out", "5", "--seeds", "0") == 0
    assert "10 training cases of the fold: 5 train, 5 cases of 5 patients are held out" in capsys.readouterr().out
    assert json.loads((hosted.results / PROBE / "setup.json").read_text())["budget"]["held_out"] == 5

    assert probe("--seeds", "0") == 2

    assert "-o: expected the budget and held_out_cases and training_cases that" in capsys.readouterr().err


def test_a_probe_of_an_earlier_version_goes_on(hosted: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe("--seeds", "0") == 0
    setup = hosted.results / PROBE / "setup.json"
    record = json.loads(setup.read_text())
    # Without a limit of patients, and of a version that had a setting less.
    del record["budget"]["held_out"], record["settings"]["search"]["keep_host"]
    setup.write_text(json.dumps(record))
    monkeypatch.setattr(running, "HELD_OUT", 1)
    pretend(monkeypatch, lambda training: pytest.fail("trained again"))

    assert probe("--seeds", "0") == 0

    assert "held_out" not in record_of(hosted)["budget"] and len(record_of(hosted)["held_out_cases"]) == 6


def test_with_too_few_patients_nothing_is_trained(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, lambda training: pytest.fail("trained"))

    assert probe("--share", "0.3") == 0

    text = capsys.readouterr().out
    assert "\ntoo few patients: 3 held out, at least 5 are needed" in text and "short trainings" not in text
    assert record_of(hosted)["arms"] == {}


def test_results_go_where_they_are_told(hosted: Folders, tmp_path: Path) -> None:
    assert probe("-o", str(tmp_path / "elsewhere"), "--seeds", "0") == 0

    assert (tmp_path / "elsewhere" / "probe.json").is_file() and not (hosted.results / PROBE).exists()


def test_an_interruption_says_how_to_go_on(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(training: ProbeTraining) -> int:
        raise KeyboardInterrupt

    pretend(monkeypatch, interrupt)

    assert probe() == 130
    assert "repeat the command to go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "none.pth"], "--host: expected a checkpoint"),
        (["-p", "none"], "plans: expected the file"),
        (["--margin", "0"], "--margin: expected a positive number"),
        (["--seeds", "1", "1"], "--seeds: expected different numbers"),
        (["--seeds", "-1"], "--seeds: expected different numbers"),
        (["-np", "0"], "-np: expected at least one process"),
        (["--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["--held-out", "0"], "--held-out: expected at least 1, got 0"),
        (["-o", __file__], "-o: expected a folder"),
    ],
)
def test_bad_arguments_are_named(
    hosted: Folders, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert probe(*words) == 2
    assert capsys.readouterr().err.startswith(f"nnunet-iac probe: {message}")
    assert not (hosted.results / PROBE).exists()


@pytest.mark.parametrize("fold", ["-1", "one"])
def test_a_fold_is_a_number_or_all(fold: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "-d", "990", "-c", "2d", f"-f={fold}"])
    assert "expected a number from 0 or all" in capsys.readouterr().err
