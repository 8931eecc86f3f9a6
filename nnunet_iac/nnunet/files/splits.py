"""Who is whose patient: cases of one patient never stand on both sides of a split."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_iac.atomic import write_json
from nnunet_iac.json_files import read_json

GROUPS = "patient_groups.json"
SPLITS = "splits_final.json"
FOLDS = 5


@dataclass(frozen=True)
class Grouping:
    """Cases by patient.

    Attributes:
        patient: patient of each case.
        source: where that is known from, in words; None if every case was taken for a patient of its own.
    """

    patient: Mapping[str, str]
    source: str | None

    def patients(self, cases: Iterable[str]) -> dict[str, list[str]]:
        """Return the cases of each patient, patients in order of their name."""
        groups: dict[str, list[str]] = {}
        for case in sorted(cases):
            groups.setdefault(self.patient[case], []).append(case)
        return dict(sorted(groups.items()))


def find_grouping(cases: Sequence[str], preprocessed: Path) -> Grouping:
    """Find out which cases belong to one patient.

    Looked at in this order: ``patient_groups.json`` (patient -> list of cases) in one of the folders;
    ``splits_final.json`` in the preprocessed one, if it is not the split by case that nnU-Net itself would have
    made (then somebody made it, and the validation cases of one fold are kept together); else every case by itself.

    Args:
        cases: all cases of the data set.
        preprocessed: the preprocessed data set's folder; the raw data set of the same name is looked at too.

    Raises:
        ValueError: if ``patient_groups.json`` is malformed or gives a case to two patients.
    """
    raw = os.environ.get("nnUNet_raw")
    folders = [preprocessed, *([Path(raw) / preprocessed.name] if raw else [])]
    for folder in folders:
        if (folder / GROUPS).is_file():
            return Grouping(_read_groups(folder / GROUPS, cases), f"{GROUPS} in {folder}")
    path = preprocessed / SPLITS
    if path.is_file() and (folds := _custom_folds(path, cases)) is not None:
        return Grouping(folds, f"the folds of {path}")
    return Grouping({case: case for case in cases}, None)


def split_patients(
    cases: Sequence[str], grouping: Grouping, *, fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Split cases into data for the weights and data for the architecture, patient by patient.

    Args:
        cases: the fold's *training* cases.
        grouping: see :func:`find_grouping`.
        fraction: share of the patients that go to the architecture; at least one on each side.
        seed: of the draw.

    Returns:
        ``(weights, architecture)``, disjoint, together all cases.

    Raises:
        ValueError: if there is only one patient.

    Example:
        >>> grouping = Grouping({"a1": "a", "a2": "a", "b1": "b"}, "doctest")
        >>> sorted(map(len, split_patients(["a1", "a2", "b1"], grouping, fraction=0.5, seed=0)))
        [1, 2]
    """
    groups = list(grouping.patients(cases).values())
    if len(groups) < 2:
        raise ValueError(
            f"cases: expected at least two patients to split, got {len(groups)} ({len(cases)} cases); add patients, or "
            f"correct {GROUPS}"
        )
    random.Random(seed).shuffle(groups)
    count = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    architecture = sorted(case for group in groups[:count] for case in group)
    weights = sorted(case for group in groups[count:] for case in group)
    return weights, architecture


def patient_folds(cases: Sequence[str], grouping: Grouping, folds: int = FOLDS) -> list[dict[str, list[str]]]:
    """Return nnU-Net's cross-validation split, made over patients instead of cases (same seed, 12345).

    Raises:
        ValueError: if there are fewer patients than folds.
    """
    groups = grouping.patients(cases)
    if len(groups) < folds:
        raise ValueError(f"cases: expected at least {folds} patients for {folds} folds, got {len(groups)}")
    splits = generate_crossval_split(list(groups), seed=12345, n_splits=folds)
    return [{side: sorted(c for p in split[side] for c in groups[p]) for side in ("train", "val")} for split in splits]


def planned_folds(folder: Path, cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return the folds as the next training will have them, without writing anything.

    Args:
        folder: the preprocessed data set's folder.
        cases: all cases of the data set.

    Raises:
        ValueError: if there is no split yet and fewer cases than folds, or the file is damaged.
    """
    if (folder / SPLITS).is_file():
        return read_splits(folder / SPLITS)
    if len(cases) < FOLDS:
        raise ValueError(f"-f: expected at least {FOLDS} cases for {FOLDS} folds, got {len(cases)}; give -f all")
    grouping = find_grouping(cases, folder)
    if grouping.source is not None and len(grouping.patients(cases)) >= FOLDS:
        return patient_folds(cases, grouping)
    splits = generate_crossval_split(list(cases), seed=12345, n_splits=FOLDS)
    return [{side: [str(case) for case in split[side]] for side in ("train", "val")} for split in splits]


def ensure_splits(folder: Path, grouping: Grouping, fold: int | str, log: Callable[[str], None]) -> None:
    """Make nnU-Net's split by patient where there is none yet, and warn about one that tears patients apart.

    Args:
        folder: the preprocessed data set's folder.
        grouping: see :func:`find_grouping`.
        fold: nnU-Net's fold; nothing is to be done for ``all``.
        log: receives what was done.
    """
    path = folder / SPLITS
    if fold == "all" or grouping.source is None:
        return
    if not path.is_file():
        if len(grouping.patients(grouping.patient)) >= FOLDS:
            write_json(path, patient_folds(list(grouping.patient), grouping))
            log(f"Wrote {path}: cross-validation by patient, from {grouping.source}.")
        return
    splits = read_splits(path)
    torn = torn_patients(splits[int(fold)], grouping) if int(fold) < len(splits) else []
    if torn:
        names = ", ".join([*torn[:3], *["…"] * (len(torn) > 3)])
        log(
            f"WARNING: {len(torn)} patients have cases in training and validation of fold {fold} ({names}); the "
            f"validation Dice is too good. Delete {path} to get a split by patient, and train the host again."
        )


def torn_patients(split: Mapping[str, Sequence[str]], grouping: Grouping) -> list[str]:
    """Return the patients that stand on both sides of a fold."""
    sides = [{grouping.patient[c] for c in split[side] if c in grouping.patient} for side in ("train", "val")]
    return sorted(sides[0] & sides[1])


def _read_groups(path: Path, cases: Sequence[str]) -> dict[str, str]:
    try:
        groups = read_json(path)
    except ValueError as error:
        raise ValueError(f"{GROUPS}: expected JSON in {path} ({error})") from error
    if not isinstance(groups, dict) or not all(_is_list_of_names(members) for members in groups.values()):
        raise ValueError(f"{GROUPS}: expected an object patient -> list of cases in {path}, got something else")
    patient: dict[str, str] = {}
    for case, name in ((case, name) for name, members in groups.items() for case in members):
        if patient.setdefault(case, name) != name:
            raise ValueError(
                f"{GROUPS}: expected one patient for case {case!r}, got {patient[case]!r} and {name!r} in {path}"
            )
    # A case that the file forgot is a patient of its own.
    return {case: patient.get(case, case) for case in cases}


def _is_fold(value: object) -> bool:
    return isinstance(value, dict) and all(_is_list_of_names(value.get(side)) for side in ("train", "val"))


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _custom_folds(path: Path, cases: Sequence[str]) -> dict[str, str] | None:
    splits = read_splits(path)
    if len(cases) >= 5 and splits == generate_crossval_split(sorted(cases), seed=12345, n_splits=5):
        return None
    fold_of = {case: f"fold {i}" for i, split in enumerate(splits) for case in split["val"]}
    return {case: fold_of.get(case, case) for case in cases}


def read_splits(path: Path) -> list[dict[str, list[str]]]:
    """Return the folds of a ``splits_final.json``, each with the cases of its sides ``train`` and ``val``.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        splits = read_json(path)
    except ValueError as error:
        raise ValueError(f"{SPLITS}: expected JSON in {path} ({error}); delete it to get a new split") from error
    if not isinstance(splits, list) or not all(_is_fold(fold) for fold in splits):
        raise ValueError(
            f'{SPLITS}: expected a list of folds with "train" and "val" in {path}, got something else; delete it to '
            "get a new split"
        )
    return splits
