"""`nnunet-iac compare` from folders to table and files."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pytest
from nnunet_folders import Folders
from prediction_folders import (
    CASES,
    DATASET_JSON,
    labels,
    write_dataset,
    write_json,
    write_mask,
    write_masks,
    write_model,
)

from nnunet_iac.cli import compare


@pytest.fixture
def dataset(folders: Folders) -> Folders:
    """Four patients with two cases each."""
    write_dataset(folders)
    return folders


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.run(parser.parse_args([str(word) for word in words]))


def line_of(text: str, arm: str, metric: str) -> list[str]:
    table = text[text.index(metric) :]
    return [cell.strip() for cell in next(row for row in table.splitlines() if row.startswith(f"| {arm} ")).split("|")]


def test_a_shifted_model_loses_to_the_right_one_in_points_and_mm(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    right, shifted = (write_model(dataset, trainer, shift) for trainer, shift in (("Right", 0), ("Shifted", 1)))

    assert run(right, shifted) == 0

    text = capsys.readouterr().out
    assert line_of(text, "Right", "**Dice")[2:5] == ["100.00", "100.00", "control"]
    # Shifted by one voxel of 2 mm.
    assert line_of(text, "Shifted", "**HD95")[2:5] == ["2.00", "2.00", "+2.00 [+2.00, +2.00]"]
    assert line_of(text, "Shifted", "**Dice")[8].startswith("no (-")
    assert f"{len(CASES)} cases of 4 patients (patients as patient_groups.json in {dataset.raw} says)" in text


def test_a_model_against_itself_is_the_same(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    fold = write_model(dataset, "Shifted", 1)

    assert run(fold, fold.parent, "--names", "a", "b") == 0

    assert line_of(capsys.readouterr().out, "b", "**Dice")[4:9] == [
        "+0.00 [+0.00, +0.00]",
        "one run",
        "1.000",
        "1.000",
        "yes (+0.00), trainings not counted",
    ]


def test_files_are_written_whole(dataset: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = [write_model(dataset, trainer, shift) for shift, trainer in enumerate(("A", "B", "C"))]

    assert run(*folds, "-o", tmp_path / "new" / "out") == 0

    out = tmp_path / "new" / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "compare.csv",
        "compare.md",
        "compare.png",
        "compare_statistics.csv",
    ]
    assert capsys.readouterr().out.startswith((out / "compare.md").read_text())
    with (out / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4 * 3 * 2 and {row["cases"] for row in rows} == {"2"}


def test_seeds_joined_by_commas_are_one_arm(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    host, *seeds = (write_model(dataset, trainer, shift) for shift, trainer in enumerate(("Host", "Seed0", "Seed1")))

    assert run(host, f"{seeds[0]},{seeds[1]}", "--names", "host", "cells") == 0

    text = capsys.readouterr().out
    assert line_of(text, "cells", "**HD95")[2] == "3.00"
    assert "- cells: 2 runs, Dice / HD95" in text


def test_two_seeds_of_both_arms_are_counted_in_the_verdict_and_named_once(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *seeds = (write_model(dataset, trainer, shift) for trainer, shift in (("A", 1), ("B", 0), ("C", 2)))

    # By patient the arms do not differ much; the second arm's seeds are a voxel (2 mm) better and a voxel worse.
    assert run(f"{first},{first}", f"{seeds[0]},{seeds[1]}", "--margin", 20, "--margin-hd95", 5) == 0

    text = capsys.readouterr().out
    difference, with_runs, _, _, verdict = line_of(text, "B", "**HD95")[4:9]
    assert difference == "+0.00 [+0.00, +0.00]" and with_runs.startswith("[-") and verdict.startswith("no (+")
    assert "not counted" not in line_of(text, "B", "**HD95")[8] and "- B: 2 runs, Dice / HD95" in text


def test_regions_and_lost_structures_are_counted(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    regions = {**DATASET_JSON, "labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
    folds = [write_model(dataset, trainer) for trainer in ("Host", "Lost")]
    for fold in folds:
        write_json(fold.parent / "dataset.json", regions)
    lost = folds[1] / "validation" / "p0_a.nii.gz"

    write_mask(lost, (labels() > 0).astype("uint8"))  # the core is gone, the whole is the same

    assert run(*folds) == 0

    text = capsys.readouterr().out
    # One of two classes of one of two cases of one of four patients: 100 / 16 points less.
    assert line_of(text, "Lost", "**Dice")[2] == "93.75"
    assert [line_of(text, arm, "**Dice")[9:11] for arm in ("Host", "Lost")] == [["0", "0"], ["0", "1"]]
    assert "Classes: whole, core." in text and "nan" not in text


def test_missing_patients_are_refused_or_left_out_and_counted(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = [write_model(dataset, "Host"), write_model(dataset, "Part", cases=CASES[1:])]

    with pytest.raises(ValueError, match="p0: no p0_a in Part"):
        run(*folds)
    assert run(*folds, "--common") == 0
    text = capsys.readouterr().out
    assert "6 cases of 3 patients" in text and "left out with --common, because an arm lacks a case of them: 1." in text


def test_plain_folders_are_compared_with_given_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    masks = [write_masks(tmp_path / name, shift) for shift, name in enumerate(("right", "wrong"))]
    write_json(tmp_path / "dataset.json", DATASET_JSON)

    assert run(*masks, "--reference", write_masks(tmp_path / "labels")) == 0

    text = capsys.readouterr().out
    assert "8 cases of 8 patients (no patient_groups.json: every case is a patient)" in text


def test_the_margins_are_separate(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folds = [write_model(dataset, trainer, shift) for shift, trainer in enumerate(("A", "B"))]

    assert run(*folds, "--margin", 0.7, "--margin-hd95", 2.5) == 0

    text = capsys.readouterr().out
    assert line_of(text, "B", "**HD95")[8] == "yes (+2.00), trainings not counted"
    assert "non-inferior by 0.7" in text and "non-inferior by 2.5" in text


def test_half_a_point_and_a_millimetre_do_not_matter_unless_told_otherwise(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = write_model(dataset, "A")

    for words, margins in (((), (0.5, 1)), (("--margin", 2), (2, 1)), (("--margin-hd95", 3), (0.5, 3))):
        assert run(fold, fold, *words) == 0
        text = capsys.readouterr().out
        dice, hd95 = text.index("**Dice"), text.index("**HD95")
        assert f"non-inferior by {margins[0]:g} (" in text[dice:hd95]
        assert f"non-inferior by {margins[1]:g} (" in text[hd95:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--margin", "0"], "--margin: expected a positive number"),
        (["--margin-hd95", "nan"], "--margin-hd95: expected a positive number"),
        (["-np", "0"], "-np: expected at least one process"),
        (["--names", "a"], "--names: expected 2 different names"),
        (["-o", __file__], "--output: expected a folder"),
    ],
)
def test_bad_options_are_named(dataset: Folders, words: list[str], message: str) -> None:
    fold = write_model(dataset, "Host")

    with pytest.raises(ValueError, match=message):
        run(fold, fold, *words)


def test_help_is_one_line() -> None:
    assert "\n" not in compare.HELP
