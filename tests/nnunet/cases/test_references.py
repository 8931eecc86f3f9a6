"""References, classes and patients are found where nnU-Net keeps them; arms without the same cases are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunet_folders import Folders
from prediction_folders import CASES, DATASET_JSON, PATIENTS, write_dataset, write_json, write_masks, write_model

from nnunet_iac.nnunet.cases.predictions import find_arms
from nnunet_iac.nnunet.cases.references import Sources, find_cohort, find_sources, reference_masks
from nnunet_iac.nnunet.files.label_set import LabelSet, read_label_set

FILES = {case: Path(case) for case in CASES}


@pytest.fixture
def arguments(folders: Folders) -> list[str]:
    """Two validated folds of a data set with references and patients."""
    write_dataset(folders)
    return [str(write_model(folders, trainer)) for trainer in ("nnUNetTrainer", "nnUNetTrainerIAC")]


class TestSources:
    def test_they_are_those_of_the_data_set(self, folders: Folders, arguments: list[str]) -> None:
        found = find_sources(find_arms(arguments))

        assert found.references == folders.preprocessed / "gt_segmentations"
        assert found.labels == LabelSet({"ring": (1,), "core": (2,)}, None, ".nii.gz")
        assert found.datasets == (folders.preprocessed, folders.raw)

    def test_plain_folders_take_them_from_beside_the_references(self, tmp_path: Path) -> None:
        masks = [str(write_masks(tmp_path / name)) for name in ("host", "cells")]
        references = write_masks(tmp_path / "Dataset1" / "labelsTr")
        write_json(references.parent / "dataset.json", DATASET_JSON)

        found = find_sources(find_arms(masks), references)

        assert found.references == references and list(found.labels.classes) == ["ring", "core"]
        assert found.datasets == (references.parent,)

    def test_models_of_two_data_sets_are_refused(self, folders: Folders, arguments: list[str]) -> None:
        write_json(Path(arguments[1]).parent / "plans.json", {"dataset_name": "Dataset001_Other"})

        with pytest.raises(ValueError, match=r"models of one data set, got \['Dataset001_Other', 'Dataset990_Tiny'\]"):
            find_sources(find_arms(arguments))

    def test_models_of_other_classes_are_refused(self, arguments: list[str]) -> None:
        regions = {**DATASET_JSON, "labels": {"background": 0, "whole": [1, 2], "core": [2]}}
        write_json(Path(arguments[1]).parent / "dataset.json", regions)

        with pytest.raises(ValueError, match="expected the classes and file ending of"):
            find_sources(find_arms(arguments))

    def test_nothing_known_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("nnUNet_preprocessed", raising=False)
        arms = find_arms([str(write_masks(tmp_path / name)) for name in ("host", "cells")])

        with pytest.raises(ValueError, match="folders that name none; give --reference"):
            find_sources(arms)
        with pytest.raises(FileNotFoundError, match=r"dataset\.json: expected it in one of"):
            find_sources(arms, tmp_path / "host")
        with pytest.raises(FileNotFoundError, match="--reference: expected a folder of reference masks"):
            find_sources(arms, tmp_path / "none")

    def test_an_unset_variable_is_named(self, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("nnUNet_preprocessed")

        with pytest.raises(FileNotFoundError, match="nnUNet_preprocessed: expected the environment variable"):
            find_sources(find_arms(arguments))


class TestCohort:
    def test_patients_are_those_of_the_file(self, folders: Folders, arguments: list[str]) -> None:
        found = find_cohort({"host": FILES, "cells": FILES}, (folders.preprocessed, folders.raw))

        assert found.patients == PATIENTS and found.dropped == () and str(folders.raw) in str(found.source)

    def test_folds_are_no_patients(self, folders: Folders) -> None:
        splits = [{"train": CASES[4:], "val": CASES[:4]}, {"train": CASES[:4], "val": CASES[4:]}]
        write_json(folders.preprocessed / "splits_final.json", splits)

        found = find_cohort({"host": FILES, "cells": FILES}, (folders.preprocessed, folders.raw))

        assert found.patients == {case: [case] for case in CASES} and found.source is None

    def test_a_patient_of_whom_one_case_is_missing_is_missing(self, folders: Folders, arguments: list[str]) -> None:
        runs = {"host": FILES, "cells": {case: path for case, path in FILES.items() if case != "p2_b"}}

        with pytest.raises(ValueError, match=r"1 patients are incomplete \(p2: no p2_b in cells\).*--common"):
            find_cohort(runs, (folders.raw,))
        found = find_cohort(runs, (folders.raw,), common=True)
        assert sorted(found.patients) == ["p0", "p1", "p3"] and found.dropped == ("p2",)

    @pytest.mark.parametrize("common", [True, False])
    def test_one_patient_is_no_comparison(self, folders: Folders, arguments: list[str], common: bool) -> None:
        one = {case: FILES[case] for case in PATIENTS["p0"]}

        with pytest.raises(ValueError, match=r"expected at least two that every arm has, got \['p0'\]"):
            find_cohort({"host": one, "cells": one}, (folders.raw,), common=common)

    def test_every_case_needs_a_reference(self, folders: Folders, arguments: list[str]) -> None:
        sources = find_sources(find_arms(arguments))
        cohort = find_cohort({"host": FILES}, sources.datasets)
        assert list(reference_masks(cohort, sources)) == CASES

        (sources.references / "p1_a.nii.gz").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 are missing: \['p1_a\.nii\.gz'\]"):
            reference_masks(cohort, sources)


class TestLabelSet:
    def test_regions_and_the_label_to_ignore(self, tmp_path: Path) -> None:
        labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
        write_json(tmp_path / "dataset.json", {"labels": labels, "file_ending": ".png"})

        found = read_label_set(tmp_path / "dataset.json")

        assert found == LabelSet({"whole": (1, 2), "core": (2,)}, 3, ".png") and found.known == {0, 1, 2, 3}

    @pytest.mark.parametrize(
        "content",
        ["{", "[]", '{"labels": {"a": 1}}', '{"labels": 3, "file_ending": ".png"}', json.dumps({"labels": {"a": "x"}})],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "dataset.json").write_text(content)

        with pytest.raises(ValueError, match=r"dataset\.json: expected"):
            read_label_set(tmp_path / "dataset.json")

    def test_background_alone_is_nothing_to_compare(self, tmp_path: Path) -> None:
        write_json(tmp_path / "dataset.json", {"labels": {"background": 0}, "file_ending": ".png"})

        with pytest.raises(ValueError, match="at least one foreground class"):
            read_label_set(tmp_path / "dataset.json")


def test_sources_know_the_folder_of_given_references_first(folders: Folders, arguments: list[str]) -> None:
    found: Sources = find_sources(find_arms(arguments), folders.preprocessed / "gt_segmentations")

    assert found.datasets[0] == folders.preprocessed
