"""Patches of a preprocessed data set: seeded one by one, of the right cases, in nnU-Net's own sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders
from nnunetv2.utilities.crossval_split import generate_crossval_split
from prepared_datasets import CASES, REGIONS, write_json, write_prepared

from nnunet_iac.nnunet.cases.image_samples import PreparedData, prepared_data, sample_batches
from nnunet_iac.nnunet.files.splits import ensure_splits, find_grouping

MARK = 1000.0
"""Intensity of cases that must not be looked at."""


@pytest.fixture
def base(folders: Folders, stock_plans: dict[str, Any]) -> Path:
    return write_prepared(folders, stock_plans)


def patches(data: PreparedData, count: int = 5, batch_size: int = 2, **more: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(sample_batches(data, count=count, batch_size=batch_size, **{"seed": 0, **more}))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_batches_have_the_plans_patch(folders: Folders, stock_plans: dict[str, Any], configuration: str) -> None:
    write_prepared(folders, stock_plans, channels=("T1", "T2"), configuration=configuration)
    data = prepared_data(DATASET, configuration)

    batches = list(sample_batches(data, count=5, batch_size=2, seed=0))

    assert [len(images) for images, _ in batches] == [2, 2, 1]
    for images, labels in batches:
        assert images.shape[1:] == (2, *data.patch_size) and labels.shape[1:] == data.patch_size
        assert images.dtype == torch.float32 and labels.dtype == torch.long


def test_every_patch_has_foreground_and_what_is_outside_of_the_image_is_background(base: Path) -> None:
    data = prepared_data("990", "2d", patch_size=(40, 40))

    images, labels = patches(data, count=8)

    assert (labels > 0).flatten(1).any(1).all()
    assert labels.unique().tolist() == [0, 1, 2] and (images == 0).any(), "the patch is larger than the image"


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_patch_does_not_depend_on_the_batches(base: Path, batch_size: int) -> None:
    data = prepared_data("990", "2d")

    for found, expected in zip(patches(data, batch_size=batch_size), patches(data, count=6), strict=True):
        assert torch.equal(found, expected[:5])


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 5}])
def test_another_seed_or_stream_draws_other_patches(base: Path, other: dict[str, int]) -> None:
    data = prepared_data("990", "2d")

    different = patches(data)[0] != patches(data, **other)[0]

    assert different.flatten(1).any(1).all()


def looked_at(folders: Folders, stock_plans: dict[str, Any], hidden: set[str], fold: int | str) -> PreparedData:
    """Read many patches while the cases that must not be looked at are marked."""
    write_prepared(folders, stock_plans, values=dict.fromkeys(hidden, MARK))
    data = prepared_data("990", "2d", fold=fold)
    images, _ = patches(data, count=24)
    assert images.max() < MARK and not hidden & set(data.cases)
    return data


def test_only_training_cases_of_the_fold_are_looked_at(folders: Folders, stock_plans: dict[str, Any]) -> None:
    splits = [{"train": CASES[:2], "val": CASES[2:]}, {"train": CASES[2:], "val": CASES[:2]}]
    write_json(folders.preprocessed / "splits_final.json", splits)

    for fold, split in enumerate(splits):
        assert list(looked_at(folders, stock_plans, set(split["val"]), fold).cases) == split["train"]


def test_without_a_split_it_is_the_one_that_the_trainers_will_write(
    folders: Folders, stock_plans: dict[str, Any]
) -> None:
    cases = [f"p{patient}_{phase}" for patient in range(5) for phase in "ab"]
    base = write_prepared(folders, stock_plans, cases=cases)
    write_json(base / "patient_groups.json", {f"p{p}": [f"p{p}_a", f"p{p}_b"] for p in range(5)})
    found = [prepared_data("990", "2d", fold=fold).cases for fold in range(5)]
    assert not (base / "splits_final.json").exists(), "looking at a fold writes nothing"

    ensure_splits(base, find_grouping(cases, base), 0, print)

    written = json.loads((base / "splits_final.json").read_text())
    assert found == [tuple(split["train"]) for split in written]
    assert found == [prepared_data("990", "2d", fold=fold).cases for fold in range(5)]


def test_without_patients_it_is_nnunets_own_split(base: Path) -> None:
    splits = generate_crossval_split(CASES, seed=12345, n_splits=5)

    assert [prepared_data("990", "2d", fold=f).cases for f in range(5)] == [tuple(s["train"]) for s in splits]


@pytest.mark.parametrize("fold", [None, "all"])
def test_all_cases_are_taken_if_wanted(base: Path, fold: str | None) -> None:
    data = prepared_data("990", "2d", fold=fold)
    assert data.cases == tuple(CASES) and data.fold == fold


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"background": 0, "RV": 2, "LV": 1}, {0: "background", 1: "LV", 2: "RV"}),
        (REGIONS, {0: "background", 1: "label 1", 2: "label 2"}),
        ({"background": 0, "cell": 1, "ignore": 2}, {0: "background", 1: "cell"}),
    ],
)
def test_labels_have_names(
    folders: Folders, stock_plans: dict[str, Any], labels: dict[str, Any], names: dict[int, str]
) -> None:
    write_prepared(folders, stock_plans)
    path = folders.preprocessed / "dataset.json"
    write_json(path, {**json.loads(path.read_text()), "labels": labels})

    assert prepared_data("990", "2d").label_names == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"configuration": "3d"}, r"Dataset990_Tiny: configuration: expected one of .*got '3d'"),
        ({"fold": 5}, r"-f: expected a fold from 0 to 4, got 5"),
        ({"patch_size": (16,)}, r"patch size: expected 2 positive numbers for 2d of Dataset990_Tiny, got \[16\]"),
        ({"patch_size": (16, 0)}, r"patch size: expected 2 positive numbers"),
        ({"dataset": "123"}, r"-d: Could not find a dataset"),
    ],
)
def test_wrong_arguments_are_named(base: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared_data(**{"dataset": "990", "configuration": "2d", **arguments})


@pytest.mark.parametrize("emptied", ["3d_fullres", "2d"])
def test_a_data_set_that_was_not_preprocessed_is_told_how(base: Path, emptied: str) -> None:
    for path in base.glob("nnUNetPlans_2d/*"):
        path.unlink()

    with pytest.raises(
        FileNotFoundError, match=rf"run nnUNetv2_preprocess -d 990 -plans_name nnUNetPlans -c {emptied}"
    ):
        prepared_data("990", emptied)


def test_missing_plans_and_description_are_named(base: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plans in that folder: \['nnUNetPlans'\]"):
        prepared_data("990", "2d", "others")
    (base / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"dataset\.json: expected it in"):
        prepared_data("990", "2d")


def test_files_of_another_kind_are_refused(base: Path) -> None:
    (base / "nnUNetPlans_2d" / "notes.txt").touch()

    with pytest.raises(ValueError, match="expected nnU-Net's preprocessed files of one kind"):
        prepared_data("990", "2d")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [{"train": ["gone"], "val": CASES}],
            r"fold 0: expected training cases, found none of the 1 that .*splits_final",
        ),
        ([{"train": [], "val": CASES}], r"fold 0: expected training cases, found none of the 0"),
        ({"train": CASES}, r"splits_final\.json: expected a list of folds .* got something else; delete it"),
        ([{"val": CASES}], r'expected a list of folds with "train" and "val" in .*; delete it'),
    ],
)
def test_a_fold_without_training_cases_is_refused(base: Path, content: Any, message: str) -> None:
    write_json(base / "splits_final.json", content)

    with pytest.raises(ValueError, match=message):
        prepared_data("990", "2d", fold=0)


def test_too_few_cases_for_a_fold_are_refused(folders: Folders, stock_plans: dict[str, Any]) -> None:
    write_prepared(folders, stock_plans, cases=CASES[:4])

    with pytest.raises(ValueError, match=r"-f: expected at least 5 cases for 5 folds, got 4; give -f all"):
        prepared_data("990", "2d", fold=0)


def test_the_second_stage_of_a_cascade_is_refused(base: Path) -> None:
    path = base / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["3d_cascade"] = {"inherits_from": "3d_fullres", "previous_stage": "2d"}
    write_json(path, plans)

    with pytest.raises(NotImplementedError, match="no second stage of a cascade: 3d_cascade"):
        prepared_data("990", "3d_cascade")
