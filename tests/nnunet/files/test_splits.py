"""Cases of one patient stay together, wherever the patients are known from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunet_folders import Folders
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_iac.nnunet.files.splits import (
    Grouping,
    ensure_splits,
    find_grouping,
    patient_folds,
    split_patients,
    torn_patients,
)

CASES = [f"p{p}_{phase}" for p in range(6) for phase in "ab"]
PATIENTS = {f"p{p}": [f"p{p}_a", f"p{p}_b"] for p in range(6)}
GROUPING = Grouping({case: case[:2] for case in CASES}, "a test")
UNKNOWN = Grouping({case: case for case in CASES}, None)


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


class TestFindGrouping:
    @pytest.mark.parametrize("place", ["preprocessed", "raw"])
    def test_patient_groups_count_in_either_folder(self, folders: Folders, place: str) -> None:
        write(getattr(folders, place), "patient_groups.json", PATIENTS)

        grouping = find_grouping(CASES, folders.preprocessed)

        assert grouping.patients(CASES) == PATIENTS
        assert str(getattr(folders, place)) in str(grouping.source)

    def test_a_case_that_the_file_forgot_is_a_patient_of_its_own(self, folders: Folders) -> None:
        write(folders.preprocessed, "patient_groups.json", {"p0": ["p0_a", "p0_b"]})

        assert find_grouping(["p0_a", "p0_b", "new"], folders.preprocessed).patients(["p0_a", "p0_b", "new"]) == {
            "new": ["new"],
            "p0": ["p0_a", "p0_b"],
        }

    @pytest.mark.parametrize("content", [[["p0_a"]], {"p0": 3}, "text", {"p0": [["p0_a"]]}])
    def test_a_malformed_file_is_refused(self, folders: Folders, content: object) -> None:
        write(folders.preprocessed, "patient_groups.json", content)

        with pytest.raises(ValueError, match=r"patient_groups\.json: expected an object patient -> list of cases"):
            find_grouping(CASES, folders.preprocessed)

    def test_a_case_with_two_patients_is_refused(self, folders: Folders) -> None:
        write(folders.preprocessed, "patient_groups.json", {"p0": ["p0_a"], "p1": ["p0_a"]})

        with pytest.raises(ValueError, match="expected one patient for case 'p0_a', got 'p0' and 'p1'"):
            find_grouping(CASES, folders.preprocessed)

    def test_custom_folds_group_what_they_validate_together(self, folders: Folders) -> None:
        splits = [{"train": CASES[4:], "val": CASES[:4]}, {"train": CASES[:4], "val": CASES[4:]}]
        write(folders.preprocessed, "splits_final.json", splits)

        groups = find_grouping(CASES, folders.preprocessed).patients(CASES)

        assert sorted(groups.values()) == [CASES[:4], CASES[4:]]

    def test_nnunets_own_split_says_nothing_about_patients(self, folders: Folders) -> None:
        write(folders.preprocessed, "splits_final.json", generate_crossval_split(CASES, seed=12345, n_splits=5))

        assert find_grouping(CASES, folders.preprocessed) == UNKNOWN

    def test_our_own_split_by_patient_is_recognised_with_its_patients(self, folders: Folders) -> None:
        write(folders.raw, "patient_groups.json", PATIENTS)
        ensure_splits(folders.preprocessed, GROUPING, 0, print)

        assert find_grouping(CASES, folders.preprocessed).patients(CASES) == PATIENTS

    @pytest.mark.parametrize("content", ["{", '{"a": 1}', '[{"train": []}]', "[3]"])
    def test_a_damaged_split_is_named(self, folders: Folders, content: str) -> None:
        (folders.preprocessed / "splits_final.json").write_text(content)

        with pytest.raises(ValueError, match=r"splits_final\.json: expected"):
            find_grouping(CASES, folders.preprocessed)

    def test_without_any_file_every_case_stands_for_itself(self, folders: Folders) -> None:
        assert find_grouping(CASES, folders.preprocessed) == UNKNOWN


class TestSplitPatients:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9])
    def test_sides_are_disjoint_complete_and_tear_nobody(self, seed: int, fraction: float) -> None:
        weights, architecture = split_patients(CASES, GROUPING, fraction=fraction, seed=seed)

        assert sorted(weights + architecture) == CASES and weights and architecture
        assert not {c[:2] for c in weights} & {c[:2] for c in architecture}

    def test_the_draw_depends_on_the_seed_and_not_on_the_order(self) -> None:
        draws = [split_patients(CASES, GROUPING, fraction=0.5, seed=s) for s in range(6)]

        assert len({str(d) for d in draws}) > 1
        assert split_patients(CASES[::-1], GROUPING, fraction=0.5, seed=0) == draws[0]

    def test_one_patient_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"expected at least two patients.* got 1 \(2 cases\)"):
            split_patients(CASES[:2], GROUPING, fraction=0.5, seed=0)


class TestFolds:
    def test_with_one_case_each_they_are_nnunets_own(self) -> None:
        assert patient_folds(CASES, UNKNOWN) == [
            {side: sorted(split[side]) for side in ("train", "val")}
            for split in generate_crossval_split(CASES, seed=12345, n_splits=5)
        ]

    def test_every_case_is_validated_once_and_no_patient_is_torn(self) -> None:
        folds = patient_folds(CASES, GROUPING)

        assert sorted(case for fold in folds for case in fold["val"]) == CASES
        assert all(torn_patients(fold, GROUPING) == [] for fold in folds)

    def test_too_few_patients_are_refused(self) -> None:
        with pytest.raises(ValueError, match="expected at least 5 patients for 5 folds, got 4"):
            patient_folds(CASES[:8], GROUPING)


class TestEnsureSplits:
    def test_it_is_made_by_patient_where_there_is_none(self, tmp_path: Path) -> None:
        messages: list[str] = []
        ensure_splits(tmp_path, GROUPING, 0, messages.append)

        assert json.loads((tmp_path / "splits_final.json").read_text()) == patient_folds(CASES, GROUPING)
        assert "by patient, from a test" in messages[0]

    @pytest.mark.parametrize(("grouping", "fold"), [(UNKNOWN, 0), (GROUPING, "all")])
    def test_nothing_is_written_without_patients_or_folds(
        self, tmp_path: Path, grouping: Grouping, fold: int | str
    ) -> None:
        ensure_splits(tmp_path, grouping, fold, pytest.fail)

        assert list(tmp_path.iterdir()) == []

    def test_a_split_that_tears_patients_is_kept_and_warned_about(self, tmp_path: Path) -> None:
        torn = [{"train": CASES[1:], "val": CASES[:1]}, {"train": CASES[2:], "val": CASES[:2]}]
        write(tmp_path, "splits_final.json", torn)
        messages: list[str] = []
        for fold in (0, 1, 7):
            ensure_splits(tmp_path, GROUPING, fold, messages.append)

        assert json.loads((tmp_path / "splits_final.json").read_text()) == torn
        (message,) = messages
        assert message.startswith("WARNING: 1 patients have cases in training and validation of fold 0")
