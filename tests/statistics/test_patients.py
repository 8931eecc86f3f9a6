"""From cases to patients: what is averaged in which order, and what counts where masks are empty."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.statistics.patients import Agreement, PatientScores, patient_scores

BOTH, FALSE = Agreement(100, 0, "both"), Agreement(0, 30, "reference")


def agreement(dice: float) -> Agreement:
    return Agreement(dice, 100 - dice)


def scores(*runs: dict[str, list[Agreement]], patients: dict[str, list[str]] | None = None) -> PatientScores:
    groups = patients or {case: [case] for case in runs[0]}
    classes = [f"class {k}" for k in range(len(next(iter(runs[0].values()))))]
    return patient_scores({f"arm {i}": [run] for i, run in enumerate(runs)}, groups, classes)


def test_a_patient_counts_once_however_many_cases_it_has() -> None:
    run = {case: [agreement(dice)] for case, dice in {"a1": 80, "a2": 90, "a3": 100, "b": 50}.items()}
    found = scores(run, patients={"a": ["a1", "a2", "a3"], "b": ["b"]})

    assert found.paired("dice").tolist() == [[90, 50]] and found.paired("hd95").tolist() == [[10, 50]]
    assert found.run_means["dice"] == ((70,),) and found.cases.tolist() == [[3, 3], [1, 1]]


def test_runs_of_one_arm_are_averaged() -> None:
    runs = [{"a": [agreement(dice)], "b": [agreement(50)]} for dice in (60, 80, 100)]
    found = patient_scores({"host": runs[:1], "cells": runs}, {"a": ["a"], "b": ["b"]}, ["ring"])

    assert found.paired("dice").tolist() == [[60, 50], [80, 50]]
    assert found.run_means["dice"] == ((55,), (55, 65, 75))


def test_what_is_empty_everywhere_does_not_count() -> None:
    found = scores({"a": [agreement(80), BOTH], "b": [BOTH, BOTH]}, {"a": [agreement(90), BOTH], "b": [BOTH, BOTH]})

    assert found.paired("dice").tolist() == [[80], [90]] and found.paired("dice", 1).shape == (2, 0)
    assert found.both_empty == (3, 3) and found.one_empty == (0, 0) and found.left_out == 3
    assert found.cases.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("right", [0, 1])
def test_where_one_arm_is_wrong_on_an_empty_reference_the_other_is_right(right: int) -> None:
    runs = [{"a": [FALSE], "b": [agreement(90)]}, {"a": [FALSE], "b": [agreement(90)]}]
    runs[right]["a"] = [BOTH]
    found = scores(*runs)

    assert found.paired("dice")[right].tolist() == [100, 90] and found.paired("dice")[1 - right].tolist() == [0, 90]
    assert found.paired("hd95")[right].tolist() == [0, 10] and found.paired("hd95")[1 - right].tolist() == [30, 10]
    assert found.left_out == 0 and found.both_empty[right] == found.one_empty[1 - right] == 1
    assert found.both_empty[1 - right] == found.one_empty[right] == 0


def test_the_mean_over_classes_is_of_the_patients_means() -> None:
    run = {"a1": [agreement(100), agreement(40)], "a2": [agreement(50), BOTH], "b": [agreement(10), agreement(30)]}
    found = scores(run, patients={"a": ["a1", "a2"], "b": ["b"]})

    assert found.values["dice"].tolist() == [[[75, 40], [10, 30]]]
    assert found.paired("dice").tolist() == [[57.5, 20]]


def test_no_value_is_missing_where_a_class_counts() -> None:
    rng = np.random.default_rng(1)
    kinds = [BOTH, FALSE, agreement(70), Agreement(0, 30, "prediction")]
    runs = [{f"c{n}": [kinds[k] for k in rng.integers(0, 4, 2)] for n in range(20)} for _ in range(3)]
    found = scores(*runs, patients={f"p{n}": [f"c{n}", f"c{n + 10}"] for n in range(10)})

    assert (np.isfinite(found.values["dice"]) == (found.cases[:, :2] > 0)).all()


def test_a_case_without_a_prediction_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError, match="b"):
        scores({"a": [agreement(1)]}, patients={"a": ["a", "b"]})
