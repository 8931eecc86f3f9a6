"""The papers' matrix from the command line: with a program that stands for `nnUNetv2_train`, and with the real one."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY
from nnunet_folders import DATASET, Folders
from prediction_folders import DATASET_JSON, PATIENTS, write_dataset, write_json, write_masks
from tiny_dataset import command, environment, write_raw

SCRIPT = REPOSITORY / "scripts" / "reproduce_paper.py"
SHIFTS = {
    "nnUNetTrainerIACIdentity": 2,
    "nnUNetTrainerIACRandom": 4,
    "nnUNetTrainerAttentionSkips": 3,
    "nnUNetTrainerIACFullSearch": 0,
    "nnUNetTrainerIAC": 1,
}
FOLDS = (["p0_a", "p0_b", "p1_a", "p1_b"], ["p2_a", "p2_b", "p3_a", "p3_b"])

TRAIN = """#!/bin/sh
echo "$*" >> "$FAKE/calls"
[ "$5" != "$FAIL" ] || { echo no GPU today; exit 3; }
model="$nnUNet_results/Dataset990_Tiny/$5__$7__$2"
mkdir -p "$model/fold_$3/validation"
cp "$FAKE/plans.json" "$FAKE/dataset.json" "$model"
cp "$FAKE/$5/fold_$3"/* "$model/fold_$3/validation"
[ ! -e "$FAKE/$5.json" ] || cp "$FAKE/$5.json" "$model/fold_$3/search_result.json"
echo {} > "$model/fold_$3/validation/summary.json"
"""
"""`nnUNetv2_train ID CONFIGURATION FOLD -tr TRAINER -p PLANS --c -device DEVICE` that copies ready-made masks."""


def load() -> Callable[[list[str]], int]:
    """The script's `main`."""
    spec = importlib.util.spec_from_file_location("reproduce_paper", SCRIPT)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["reproduce_paper"] = module
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


@pytest.fixture
def ready(planned: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A preprocessed data set of four patients, and a program that trains in no time."""
    write_dataset(planned)
    for case in (case for cases in PATIENTS.values() for case in cases):
        write_json(planned.preprocessed / "nnUNetPlans_2d" / f"{case}.pkl", "not read")
    fake = tmp_path / "fake"
    for trainer, shift in SHIFTS.items():
        for fold, cases in enumerate(FOLDS):
            write_masks(fake / trainer / f"fold_{fold}", shift, cases=cases)
    write_json(fake / "plans.json", {"dataset_name": DATASET})
    write_json(fake / "dataset.json", DATASET_JSON)
    for trainer, seconds in (("nnUNetTrainerIACFullSearch", 80), ("nnUNetTrainerIAC", 5)):
        result = {"schema": 1, "status": "decided", "message": "", "epochs": 2 * seconds, "seconds": seconds, "seed": 0}
        result |= {"decided_edges": 14, "edges": 14, "genotype": None, "host": {}, "settings": {}}
        write_json(fake / f"{trainer}.json", result)
    (fake / "bin").mkdir()
    (fake / "bin" / "nnUNetv2_train").write_text(TRAIN)
    (fake / "bin" / "nnUNetv2_train").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("FAIL", "")
    monkeypatch.chdir(tmp_path)
    return planned


ARMS = ["identity", "attention", "full-search", "pruned-search"]


def reproduce(*words: str, arms: list[str] = ARMS) -> int:
    options = ["-d", "990", "--hosts", "plain", "--folds", "0", "1", "--device", "cpu", "-np", "1", "--arms", *arms]
    return load()([*options, "-o", "out", *words])


def calls() -> list[str]:
    path = Path(os.environ["FAKE"]) / "calls"
    return path.read_text().splitlines() if path.exists() else []


def table(heading: str, block: str = "### With augmentation") -> list[list[str]]:
    text = Path("out/tables.md").read_text()
    lines = text[text.index(block, text.index(heading)) :].split("\n\n")[1].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_every_job_runs_once_and_a_second_call_runs_nothing(ready: Folders) -> None:
    arms = ["identity", "pruned-search"]
    assert reproduce("--seeds", "0", "1", "--jobs", "3", arms=arms) == 0
    first, written = calls(), Path("out/tables.md").read_text()
    assert len(first) == len(set(first)) == 2 * 2 * 2 * 2

    assert reproduce("--seeds", "0", "1", arms=arms) == 0

    assert calls() == first and Path("out/tables.md").read_text() == written


def test_the_tables_hold_the_arms_with_their_distances(ready: Folders) -> None:
    assert reproduce("--seeds", "0", "1") == 0

    for block in ("### With augmentation", "### Without augmentation"):
        found = table("## Dice and HD95", block)
        assert [row[1:3] for row in found] == [[arm, "2"] for arm in ARMS]
        # Shifts of 2, 3, 0 and 1 voxels of 2 mm.
        assert [row[8] for row in found] == ["4.00", "6.00", "0.00", "2.00"]
        assert found[0][5] == "control" and found[1][10] == "+2.00 [+2.00, +2.00]"
        assert found[1][11] == "[+2.00, +2.00]"  # two seeds, the same masks
        pair = table("## Searched cells", block)
        assert [(row[7], row[-1]) for row in pair] == [("+2.00 [+2.00, +2.00]", "16.0")]


def test_searched_cells_are_compared_with_random_ones(ready: Folders) -> None:
    arms = ["random", "full-search", "pruned-search"]
    assert reproduce("--seeds", "0", "--augmentation", "on", arms=arms) == 0

    found = table("## Searched cells")
    # Shifts of 4, 0 and 1 voxels of 2 mm.
    assert [(row[1], row[7]) for row in found] == [
        ("full-search minus random", "-8.00 [-8.00, -8.00]"),
        ("pruned-search minus random", "-6.00 [-6.00, -6.00]"),
        ("pruned-search minus full-search", "+2.00 [+2.00, +2.00]"),
    ]
    assert {row[9] for row in found} == {"one run"} and "trainings not counted" in found[-1][11]


def test_each_block_is_compared_with_its_own_control(ready: Folders) -> None:
    assert reproduce("--seeds", "0", arms=["identity", "attention"]) == 0
    for fold in (0, 1):  # the control without augmentation has been as good as the reference
        model = ready.results / f"nnUNetTrainerIACIdentity__nnUNetPlans_paper_seed0_fold{fold}_not_augmented__2d"
        write_masks(model / f"fold_{fold}" / "validation", 0, cases=FOLDS[fold])

    assert reproduce("--seeds", "0", arms=["identity", "attention"]) == 0

    blocks = [table("## Dice and HD95", f"### {word} augmentation") for word in ("With", "Without")]
    assert [[row[8] for row in rows] for rows in blocks] == [["4.00", "6.00"], ["0.00", "6.00"]]
    assert [rows[1][10][:5] for rows in blocks] == ["+2.00", "+6.00"]


def test_the_csv_files_hold_every_patient_and_every_search(ready: Folders) -> None:
    assert reproduce("--seeds", "0", "--augmentation", "off") == 0

    values, searches = (list(csv.DictReader(Path("out", f"{n}.csv").open())) for n in ("patients", "searches"))
    assert {row["patient"] for row in values} == set(PATIENTS) and {r["augmented"] for r in values} == {"no"}
    assert sorted((row["arm"], row["fold"], row["epochs"]) for row in searches) == [
        *(("full-search", fold, "160") for fold in "01"),
        *(("pruned-search", fold, "10") for fold in "01"),
    ]


def test_a_failed_job_is_reported_and_the_next_call_runs_it_alone(
    ready: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "nnUNetTrainerAttentionSkips")
    assert reproduce("--seeds", "0", "--augmentation", "on") == 1
    fold = ready.results / "nnUNetTrainerAttentionSkips__nnUNetPlans_paper_seed0_fold0__2d" / "fold_0"
    error = capsys.readouterr().err
    assert f"plain, attention, augmented, fold 0, seed 0; see {fold / 'training_processes.log'}" in error
    assert [row[1:3] for row in table("## Dice and HD95")][-1] == ["attention", "0 of 2 done"]
    assert [row[1] for row in table("## Dice and HD95")][:3] == ["identity", "full-search", "pruned-search"]
    before = len(calls())

    monkeypatch.setenv("FAIL", "")
    assert reproduce("--seeds", "0", "--augmentation", "on") == 0

    assert [line.split()[4] for line in calls()[before:]] == ["nnUNetTrainerAttentionSkips"] * 2


def test_printed_lines_run_in_a_shell_and_what_is_done_is_not_printed(
    ready: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce("--seeds", "0", "--print") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 * 2 * 2 and calls() == []

    for line in lines[:-1]:
        subprocess.run(["sh", "-c", line], check=True)

    assert len(calls()) == len(lines) - 1
    assert reproduce("--seeds", "0", "--print") == 0
    assert capsys.readouterr().out.splitlines() == lines[-1:]


def test_printed_lines_name_the_trainers(ready: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce("--seeds", "0", "--print", arms=["identity"])

    assigned = capsys.readouterr().out.split()[0]
    assert assigned.startswith("nnUNet_extTrainer=/")
    assert (Path(assigned.partition("=")[2]) / "nnUNetTrainerIACIdentity.py").is_file()


def test_arms_without_a_control_are_told_so_early_and_in_the_table(
    ready: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--seeds", "0", "--augmentation", "on")
    assert reproduce(*words, "--print", arms=["attention"]) == 0
    assert "no control: add identity" in capsys.readouterr().err

    assert reproduce(*words, arms=["attention"]) == 0

    assert [row[1:3] for row in table("## Dice and HD95")] == [["attention", "2 of 2 done; no control: add identity"]]
    assert reproduce(*words, arms=["identity"]) == 0
    assert table("## Dice and HD95")[0][2] == "2 of 2 done; no other arm is finished"


def test_an_unfinished_control_is_named_as_what_the_others_wait_for(
    ready: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "nnUNetTrainerIACIdentity")

    assert reproduce("--seeds", "0", "--augmentation", "on") == 1

    rows = table("## Dice and HD95")
    waits = "2 of 2 done; the control, identity, is not finished"
    assert [row[1:3] for row in rows] == [[arm, "0 of 2 done" if arm == "identity" else waits] for arm in ARMS]
    assert len(table("## Searched cells")) == 1


def test_another_budget_under_the_same_tag_is_refused(ready: Folders) -> None:
    reproduce("--seeds", "0", "--print")

    with pytest.raises(ValueError, match="or another --tag"):
        reproduce("--seeds", "0", "--print", "--budget", "search.epochs=7")
    assert reproduce("--seeds", "0", "--print", "--budget", "search.epochs=7", "--tag", "short") == 0


@pytest.mark.parametrize("words", [["--jobs", "0"], ["-np", "0"], ["--margin", "0"], ["--arms", "magic"]])
def test_bad_options_end_with_status_2(ready: Folders, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        reproduce("--seeds", "0", *words)


LINE = f"python {SCRIPT} -d 990 -c 2d --folds 0 --seeds 0 --device cpu -np 1"
SHORTEST = (
    "host.epochs=1 host.iterations=1 search.epochs=2 search.warmup_epochs=1 search.iterations=1 "
    "training.epochs=1 training.iterations=1 training.validation_iterations=1"
)
FEW = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
"""Processes of nnU-Net: starting one takes longer than these trainings."""


@pytest.mark.slow
def test_two_arms_are_really_trained_and_compared(tiny: Folders) -> None:
    line = f"{LINE} --hosts plain --arms identity pruned-search --augmentation off -o out --budget {SHORTEST}"

    first, second = command(tiny.base, line, **FEW), command(tiny.base, line, **FEW)

    assert "2 trainings, 2 to do" in first and first.count("done in") == 2
    assert "2 trainings, 0 to do" in second and "done in" not in second
    assert "### Without augmentation" in second and "### With augmentation" not in second
    rows = [row.split(" | ") for row in second.splitlines() if row.startswith("| plain | ")]
    assert [row[1] for row in rows] == ["identity", "pruned-search"]


@pytest.mark.slow
def test_from_raw_data_to_tables_with_all_arms_of_a_residual_host(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw" / DATASET)
    for name in ("preprocessed", "results"):
        (tmp_path / name).mkdir()
    line = f"{LINE} --hosts residual-M -o {tmp_path}/out --budget {SHORTEST}"
    variables = environment(tmp_path, nnUNet_def_n_proc="1")  # planning needs nnUNet_n_proc_DA > 0

    done = subprocess.run(line.split(), env=variables, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-6000:]
    assert "14 trainings, 14 to do" in done.stdout
    blocks = done.stdout.partition("## Searched cells")[0].split("### ")[1:]
    for block in blocks:
        rows = [row.split(" | ") for row in block.splitlines() if row.startswith("| residual-M | ")]
        by_arm = {row[1]: row[3] for row in rows if row[2] == "1"}
        # Stock training of the same length is the control without cells, bit for bit on a CPU.
        assert len(by_arm) == 7 and by_arm["stock"] == by_arm["identity"]
    assert [block.split()[0] for block in blocks] == ["With", "Without"]
