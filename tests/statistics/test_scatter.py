"""Laws of the interval over patients and runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from nnunet_iac.statistics.scatter import run_interval


def draws(runs: int, patients: int, of_runs: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences of patients and means of runs of two arms that do not differ."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=patients)
    both = rng.normal(0, 3, (runs, 1))
    control = both + rng.normal(0, of_runs, (runs, 1)) + rng.normal(size=(runs, patients))
    arm = both + easy + rng.normal(0, of_runs, (runs, 1)) + rng.normal(size=(runs, patients))
    return arm.mean(axis=0) - control.mean(axis=0), control.mean(axis=1), arm.mean(axis=1)


def test_with_scatter_of_runs_alone_it_is_the_interval_of_welch() -> None:
    control, arm = [80.0, 82.5, 81.0], [83.0, 82.0, 85.5, 84.0]
    difference = float(np.mean(arm) - np.mean(control))
    found = run_interval([difference] * 20, control, arm)
    welch = ttest_ind(arm, control, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))


def test_as_many_runs_on_both_sides_are_pairs() -> None:
    control, arm = [80.0, 82.5, 81.0], [81.0, 83.0, 83.5]
    steps = [a - b for a, b in zip(arm, control, strict=True)]
    found = run_interval([float(np.mean(steps))] * 20, control, arm)
    student = ttest_1samp(steps, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high))


def test_with_runs_that_agree_it_is_the_interval_of_students_t() -> None:
    differences = np.random.default_rng(0).normal(1, 2, 12)
    found = run_interval(differences, [80.0, 80.0], [81.0, 81.0])
    student = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high))


@pytest.mark.parametrize(
    ("runs", "of_runs", "covered", "over_patients"),
    [(2, 1, 0.88, 0.47), (3, 1, 0.92, 0.49), (5, 1, 0.95, 0.58), (10, 1, 0.95, 0.67), (3, 0, 0.98, 0.95)],
)
def test_the_coverage_that_the_docstring_gives(runs: int, of_runs: float, covered: float, over_patients: float) -> None:
    """``pytest -k coverage -s`` prints it; 1,500 draws have a standard error of up to 0.013."""
    drawn = [draws(runs, 20, of_runs, seed) for seed in range(1500)]
    found = [run_interval(*one) for one in drawn]
    share = np.mean([interval.low <= 0 <= interval.high for interval in found])
    differences = np.stack([one[0] for one in drawn])
    patients = ttest_1samp(differences, 0, axis=1).confidence_interval(0.95)
    narrow = np.mean((patients.low <= 0) & (patients.high >= 0))
    print(f"{runs} pairs: {share:.3f}, over patients {narrow:.3f}")
    assert share == pytest.approx(covered, abs=0.02)
    assert narrow == pytest.approx(over_patients, abs=0.04)


def test_a_single_run_has_no_known_scatter() -> None:
    assert run_interval([1.0, 2.0], [80.0], [81.0, 82.0]) is None
    assert run_interval([1.0, 2.0], [80.0, 80.5], [81.0]) is None


def test_without_any_scatter_both_ends_are_the_difference() -> None:
    found = run_interval([1.0, 1.0], [80.0, 80.0], [81.0, 81.0])
    assert (found.low, found.high) == (1.0, 1.0)


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_what_cannot_be_measured_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="differences: expected finite numbers"):
        run_interval(differences, [80.0, 81.0], [81.0, 82.0])
