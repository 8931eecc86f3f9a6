"""Predictions are found in folds, models and plain folders; arms get names that tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from nnunet_folders import DATASET, Folders
from prediction_folders import CASES, write_masks, write_model

from nnunet_iac.nnunet.cases.predictions import Predictions, find_arms

HALVES = CASES[:4], CASES[4:]


@pytest.fixture
def model(folders: Folders) -> Path:
    """A model with two validated folds and one that is not."""
    for fold, cases in enumerate(HALVES):
        write_model(folders, "nnUNetTrainer", fold=fold, cases=cases)
    model = folders.results / "nnUNetTrainer__nnUNetPlans__2d"
    (model / "fold_2").mkdir()
    return model


def test_a_fold_has_the_cases_it_validated(model: Path) -> None:
    found = Predictions.at(model / "fold_1")

    assert sorted(found.masks(".nii.gz")) == HALVES[1] and found.home == model
    assert found == Predictions.at(model / "fold_1" / "validation")


def test_a_model_has_the_cases_of_all_its_folds(model: Path) -> None:
    assert sorted(Predictions.at(model).masks(".nii.gz")) == CASES


def test_a_plain_folder_has_what_lies_in_it(tmp_path: Path) -> None:
    found = Predictions.at(write_masks(tmp_path / "masks", cases=CASES[:3]))

    assert sorted(found.masks(".nii.gz")) == CASES[:3] and found.dataset is None


def test_the_data_set_is_known_from_the_plans_or_the_folder(model: Path) -> None:
    assert Predictions.at(model).dataset == DATASET
    (model / "plans.json").unlink()
    assert Predictions.at(model / "fold_0").dataset == DATASET


def test_a_case_of_two_folds_is_refused(folders: Folders, model: Path) -> None:
    write_model(folders, "nnUNetTrainer", fold=2, cases=CASES[:1])

    with pytest.raises(ValueError, match="expected one prediction of case p0_a"):
        Predictions.at(model).masks(".nii.gz")


def test_a_fold_that_was_not_validated_is_told_how(model: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a validated fold.* --val"):
        Predictions.at(model / "fold_2")


def test_absent_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none: expected a folder of a model"):
        Predictions.at(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"expected masks \*\.png, found none"):
        Predictions.at(tmp_path).masks(".png")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("nnUNetTrainer__a__2d", "nnUNetTrainerIAC__a__2d"), ["nnUNetTrainer", "nnUNetTrainerIAC"]),
        (("nnUNetTrainer__a__2d", "nnUNetTrainer__b__2d"), ["nnUNetTrainer__a__2d", "nnUNetTrainer__b__2d"]),
        (("host/masks", "cells/masks"), ["{base}/host/masks", "{base}/cells/masks"]),
        (("masks", "masks"), ["masks (1)", "masks (2)"]),
        (("host", "cells0,cells1"), ["host", "cells0"]),
        (("host", "a,b"), ["host", "a,b"]),
    ],
)
def test_arms_are_named_after_what_tells_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str], names: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for argument in arguments:
        for part in [argument] if argument == "a,b" else argument.split(","):
            Path(part).mkdir(parents=True, exist_ok=True)

    assert [arm.name for arm in find_arms(arguments)] == [name.format(base=tmp_path) for name in names]


def test_given_names_count(tmp_path: Path) -> None:
    (arm, other) = find_arms([str(tmp_path), f"{tmp_path},{tmp_path}"], ["host", "cells"])

    assert (arm.name, other.name, len(other.runs)) == ("host", "cells", 2)


@pytest.mark.parametrize("names", [["host"], ["a", "a"], ["a", "b", "c"]])
def test_names_must_fit_the_folders(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match="--names: expected 2 different names"):
        find_arms([str(tmp_path)] * 2, names)


def test_one_arm_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a control and at least one other"):
        find_arms([str(tmp_path)])
