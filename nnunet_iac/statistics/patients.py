"""From cases to patients: one value of each arm, patient and class, with the same things counted in every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["dice", "hd95"]

METRICS: tuple[Metric, ...] = ("dice", "hd95")
"""What is compared; Dice is better the higher it is, a distance the lower."""

Emptiness = Literal["neither", "both", "prediction", "reference"]


@dataclass(frozen=True)
class Agreement:
    """How one predicted mask of one class agrees with its reference.

    Attributes:
        dice: in points, 0 to 100.
        hd95: 95th percentile of the Hausdorff distance, in mm (in pixels for images without a spacing).
        empty: which of both masks is empty. With one of them, Dice is 0 and HD95 the largest distance that the image
            allows; with both, they agree (100 and 0), and :func:`patient_scores` decides whether that counts.
    """

    dice: float
    hd95: float
    empty: Emptiness = "neither"


Run = Mapping[str, Sequence[Agreement]]
"""One trained model's predictions: the agreement of each class, by case."""


@dataclass(frozen=True, eq=False)
class PatientScores:
    """Values of A arms, P patients and K classes.

    Attributes:
        arms: names; the first is the control.
        patients: names.
        classes: names.
        values: of each metric ``(A, P, K)``; a patient's mean over its cases and the arm's runs. NaN where the class
            counts in none of the patient's cases; that is the same in every arm.
        cases: ``(P, K + 1)``, in how many of the patient's cases the class counts; last column: any class.
        run_means: of each metric, for each arm the mean over patients of the mean over classes of each of its runs.
        class_run_means: of each metric, for each arm ``(S, K)``, the mean over patients of each of its runs; NaN for a
            class that no patient has.
        both_empty: for each arm, cases x classes (over all runs) where reference and prediction are empty.
        one_empty: the same where exactly one of both is empty.
        left_out: cases x classes that count in no arm, because all are empty.
        folds: ``(P,)``, which model of a cross-validation predicted a patient, the same in all arms; None if one model
            predicted all, or not the same fold in every arm.
    """

    arms: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    values: Mapping[Metric, NDArray[np.float64]]
    cases: NDArray[np.int64]
    run_means: Mapping[Metric, tuple[tuple[float, ...], ...]]
    class_run_means: Mapping[Metric, tuple[NDArray[np.float64], ...]]
    both_empty: tuple[int, ...]
    one_empty: tuple[int, ...]
    left_out: int
    folds: NDArray[np.int64] | None = None

    def paired(self, metric: Metric, structure: int | None = None) -> NDArray[np.float64]:
        """Return ``(A, p)``: values of the patients that have one, of a class or (None) of the mean over classes."""
        column = self._column(metric, structure)
        return column[:, np.isfinite(column).all(axis=0)]

    def paired_folds(self, metric: Metric, structure: int | None = None) -> NDArray[np.int64] | None:
        """Return ``(p,)``: the folds of the patients of :meth:`paired`, or None."""
        there = np.isfinite(self._column(metric, structure)).all(axis=0)
        return None if self.folds is None else self.folds[there]

    def _column(self, metric: Metric, structure: int | None) -> NDArray[np.float64]:
        table = self.values[metric]
        return mean_over_classes(table) if structure is None else table[:, :, structure]

    def means_of_runs(self, metric: Metric, structure: int | None = None) -> tuple[tuple[float, ...], ...]:
        """Return for each arm the mean over patients of each of its runs, of a class or of the mean over classes."""
        if structure is None:
            return self.run_means[metric]
        return tuple(tuple(table[:, structure].tolist()) for table in self.class_run_means[metric])


def patient_scores(
    arms: Mapping[str, Sequence[Run]],
    patients: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    folds: Mapping[str, int] | None = None,
) -> PatientScores:
    """Average cases within a patient, and runs (seeds) within an arm.

    What counts must be the same for all arms, or the differences would not be paired. A class of a case is left out
    if reference and prediction are empty in *every* run of every arm: nobody could be wrong there. If the reference
    is empty and some run predicts something, that run gets Dice 0 and the worst distance, and those that rightly
    predict nothing get Dice 100 and distance 0 (our choice; leaving the right ones out would hide the error).

    Args:
        arms: runs by arm, the control first; every run has all cases.
        patients: cases by patient.
        classes: names, in the order of the agreements.
        folds: number of each patient's fold, None if there is no cross-validation.

    Example:
        >>> good, bad, none = Agreement(90, 2), Agreement(0, 50, "reference"), Agreement(100, 0, "both")
        >>> control, other = {"a1": [good, none], "a2": [good, none]}, {"a1": [good, bad], "a2": [good, none]}
        >>> scores = patient_scores({"host": [control], "cells": [other]}, {"a": ["a1", "a2"]}, ["ring", "core"])
        >>> scores.values["dice"].tolist(), scores.left_out
        ([[[90.0, 100.0]], [[90.0, 0.0]]], 1)
    """
    owners = [np.full(len(cases), index) for index, cases in enumerate(patients.values())]
    owner = np.concatenate(owners)
    cases = [case for members in patients.values() for case in members]
    runs = {name: [[run[case] for case in cases] for run in of_arm] for name, of_arm in arms.items()}
    counted = np.zeros((len(cases), len(classes)), dtype=bool)
    for run in (run for of_arm in runs.values() for run in of_arm):
        counted |= np.array([[agreement.empty != "both" for agreement in case] for case in run])
    tables = {metric: [_tables(of_arm, metric, counted, owner) for of_arm in runs.values()] for metric in METRICS}
    columns = np.column_stack([counted, counted.any(axis=1)])
    return PatientScores(
        arms=tuple(arms),
        patients=tuple(patients),
        classes=tuple(classes),
        values={metric: np.stack([table.mean(axis=0) for table in of_arm]) for metric, of_arm in tables.items()},
        cases=np.stack([columns[owner == index].sum(axis=0) for index in range(len(patients))]),
        run_means={metric: tuple(map(_run_means, of_arm)) for metric, of_arm in tables.items()},
        class_run_means={
            metric: tuple(mean_over_classes(np.moveaxis(table, 1, -1)) for table in of_arm)
            for metric, of_arm in tables.items()
        },
        both_empty=tuple(_count(of_arm, ("both",)) for of_arm in runs.values()),
        one_empty=tuple(_count(of_arm, ("prediction", "reference")) for of_arm in runs.values()),
        left_out=int((~counted).sum()),
        folds=None if folds is None else np.array([folds[patient] for patient in patients]),
    )


def mean_over_classes(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of the values that are there, ``(..., K) -> (...)``; NaN where none is.

    Example:
        >>> mean_over_classes(np.array([[1.0, 3.0], [np.nan, 3.0], [np.nan, np.nan]])).tolist()
        [2.0, 3.0, nan]
    """
    there = np.isfinite(table)
    counts = there.sum(axis=-1)
    total = np.where(there, table, 0.0).sum(axis=-1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _tables(
    runs: Sequence[Sequence[Sequence[Agreement]]],
    metric: Metric,
    counted: NDArray[np.bool_],
    owner: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return ``(S, P, K)``: the patients' means of each run."""
    found = np.array([[[getattr(agreement, metric) for agreement in case] for case in run] for run in runs])
    found = np.where(counted, found, np.nan)
    by_patient = [mean_over_classes(np.moveaxis(found[:, owner == p], 1, -1)) for p in range(owner.max() + 1)]
    return np.stack(by_patient, axis=1)


def _run_means(table: NDArray[np.float64]) -> tuple[float, ...]:
    of_patients = mean_over_classes(table)
    return tuple(mean_over_classes(of_patients).tolist())


def _count(runs: Sequence[Sequence[Sequence[Agreement]]], kinds: tuple[Emptiness, ...]) -> int:
    return sum(agreement.empty in kinds for run in runs for case in run for agreement in case)
