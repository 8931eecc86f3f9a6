"""What predictions are measured with: reference masks, classes, and the patients that every arm has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
from nnunet_iac.nnunet.files.label_set import LabelSet, read_label_set
from nnunet_iac.nnunet.files.splits import GROUPS, Grouping, find_grouping

REFERENCES = "gt_segmentations"
"""Folder of the reference masks in a preprocessed data set."""


@dataclass(frozen=True)
class Sources:
    """What the predictions are measured with.

    Attributes:
        references: folder of the reference masks.
        labels: classes, file ending and label to ignore.
        datasets: folders of the data set, where ``patient_groups.json`` may lie.
    """

    references: Path
    labels: LabelSet
    datasets: tuple[Path, ...]


@dataclass(frozen=True)
class Cohort:
    """The patients that every run has.

    Attributes:
        patients: cases by patient.
        source: where patients are known from, None if every case counts as one.
        dropped: patients that some run lacks, in whole or in part.
    """

    patients: dict[str, list[str]]
    source: str | None
    dropped: tuple[str, ...]


def find_sources(arms: Sequence[Arm], references: Path | None = None) -> Sources:
    """Find reference masks and ``dataset.json``.

    References are those given, else ``nnUNet_preprocessed/<data set>/gt_segmentations``. ``dataset.json`` is that of
    the models (they must agree), else the one beside the references, else that of the data set.

    Raises:
        FileNotFoundError: if one of both is nowhere.
        ValueError: if the models are of different data sets or classes.
    """
    runs = [run for arm in arms for run in arm.runs]
    names = sorted({name for run in runs if (name := run.dataset) is not None})
    if references is None and len(names) != 1:
        raise ValueError(
            f"folders: expected models of one data set, got {names or 'folders that name none'}; give --reference"
        )
    folders = tuple(folder for name in names for folder in _dataset_folders(name))
    if references is not None:
        folders = (Path(os.path.abspath(references)).parent, *folders)
    found = references or _default_references(names[0])
    if not found.is_dir():
        raise FileNotFoundError(f"--reference: expected a folder of reference masks, {found} is none; give the folder")
    return Sources(found, _find_labels(runs, folders), folders)


def find_cohort(masks: Mapping[str, Mapping[str, Path]], folders: Sequence[Path], *, common: bool = False) -> Cohort:
    """Return the patients whose cases every run has.

    A patient of whom a run lacks one case only is incomplete too: the means would be of different cases.

    Args:
        masks: files by case, for each run.
        folders: where ``patient_groups.json`` may lie; the first one that is there counts. The folds of
            ``splits_final.json`` are no patients: they keep cases together that may be of different ones.
        common: leave incomplete patients out instead of refusing.

    Raises:
        ValueError: if patients are incomplete and may not be left out, or less than two are complete.
    """
    cases = sorted({case for files in masks.values() for case in files})
    grouping = _grouping(cases, folders)
    groups = grouping.patients(cases)
    lacking = {
        patient: [f"{case} in {run}" for case in members for run, files in masks.items() if case not in files]
        for patient, members in groups.items()
    }
    dropped = tuple(patient for patient, where in lacking.items() if where)
    if dropped and not common:
        shown = "; ".join(f"{patient}: no {lacking[patient][0]}" for patient in dropped[:5])
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        raise ValueError(
            f"patients: expected the same cases in every arm, {len(dropped)} patients are incomplete ({shown}{more}); "
            "give folders with the same cases, or --common to compare the others"
        )
    complete = {patient: members for patient, members in groups.items() if patient not in dropped}
    if len(complete) < 2:
        raise ValueError(
            f"patients: expected at least two that every arm has, got {list(complete)}; nothing to compare"
        )
    return Cohort(complete, grouping.source, dropped)


def reference_masks(cohort: Cohort, sources: Sources) -> dict[str, Path]:
    """Return the reference of each case of the cohort.

    Raises:
        FileNotFoundError: naming the cases without one.
    """
    cases = [case for members in cohort.patients.values() for case in members]
    found = {case: sources.references / f"{case}{sources.labels.ending}" for case in cases}
    missing = [path.name for path in found.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"--reference: expected a mask of each case in {sources.references}, {len(missing)} are missing: "
            f"{missing[:5]}; give the folder that has them"
        )
    return found


def _dataset_folders(name: str) -> list[Path]:
    bases = (os.environ.get(variable) for variable in ("nnUNet_preprocessed", "nnUNet_raw"))
    return [Path(base) / name for base in bases if base]


def _default_references(name: str) -> Path:
    base = os.environ.get("nnUNet_preprocessed")
    if not base:
        raise FileNotFoundError(
            "nnUNet_preprocessed: expected the environment variable to name a folder, it is not set; set it, or give "
            "--reference"
        )
    return Path(base) / name / REFERENCES


def _find_labels(runs: Sequence[Predictions], folders: Sequence[Path]) -> LabelSet:
    own = [run.home / "dataset.json" for run in runs if (run.home / "dataset.json").is_file()]
    others = [folder / "dataset.json" for folder in folders if (folder / "dataset.json").is_file()]
    if not own and not others:
        raise FileNotFoundError(
            f"dataset.json: expected it in one of {[str(folder) for folder in (*(r.home for r in runs), *folders)]}, "
            "found none; put the data set's there"
        )
    sets = {path: read_label_set(path) for path in own or others[:1]}
    first = next(iter(sets))
    for path, labels in sets.items():
        if labels != sets[first]:
            raise ValueError(
                f"{path}: expected the classes and file ending of {first}, got {labels} instead of {sets[first]}; "
                "copy the masks to folders without dataset.json and give --reference"
            )
    return sets[first]


def _grouping(cases: Sequence[str], folders: Sequence[Path]) -> Grouping:
    for folder in folders:
        if (folder / GROUPS).is_file():
            return find_grouping(cases, folder)
    return Grouping({case: case for case in cases}, None)
