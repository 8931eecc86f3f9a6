"""Laws of the interval over patients and runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from nnunet_iac.statistics.paired import Interval
from nnunet_iac.statistics.scatter import fold_interval, run_interval, training_interval


def draws(runs: int, patients: int, of_runs: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences of patients and means of runs of two arms that do not differ."""
    rng = np.random.default_rng(seed)
    easy = rng.normal(size=patients)
    both = rng.normal(0, 3, (runs, 1))
    control = both + rng.normal(0, of_runs, (runs, 1)) + rng.normal(size=(runs, patients))
    arm = both + easy + rng.normal(0, of_runs, (runs, 1)) + rng.normal(size=(runs, patients))
    return arm.mean(axis=0) - control.mean(axis=0), control.mean(axis=1), arm.mean(axis=1)


def coverages(found: list[Interval], differences: np.ndarray) -> tuple[float, float]:
    """Return in what share of draws zero is in the interval, and in Student's over patients of `(draws, patients)`."""
    patients = ttest_1samp(differences, 0, axis=1).confidence_interval(0.95)
    narrow = (patients.low <= 0) & (patients.high >= 0)
    return float(np.mean([one.low <= 0 <= one.high for one in found])), float(narrow.mean())


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
    share, narrow = coverages([run_interval(*one) for one in drawn], np.stack([one[0] for one in drawn]))
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


def test_with_folds_of_one_size_it_is_students_interval_of_their_means() -> None:
    differences = np.random.default_rng(0).normal(1, 2, (5, 4))
    found = fold_interval(differences.ravel(), np.repeat(np.arange(5), 4))
    student = ttest_1samp(differences.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high))


def test_patients_who_are_folds_of_their_own_have_the_interval_over_patients() -> None:
    differences = np.random.default_rng(0).normal(1, 2, 12)
    found = fold_interval(differences, np.arange(12))
    student = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high))


def test_large_folds_weigh_as_much_as_their_patients() -> None:
    """The middle is the mean over patients, and names or order of folds say nothing."""
    differences, folds = [0.0, 0.5, 1.0, 4.0], [0, 0, 0, 1]
    found = fold_interval(differences, folds)
    assert (found.low + found.high) / 2 == pytest.approx(np.mean(differences))
    assert found == fold_interval(differences[::-1], ["b", "a", "a", "a"])


@pytest.mark.parametrize(
    ("sizes", "of_trainings", "covered", "over_patients"),
    [((4, 4, 4, 4, 4), 1, 0.95, 0.78), ((4, 4, 4, 4, 4), 0, 0.95, 0.95), ((8, 4, 4, 2, 2), 1, 0.93, 0.71)],
)
def test_the_coverage_of_folds_that_the_docstring_gives(
    sizes: tuple[int, ...], of_trainings: float, covered: float, over_patients: float
) -> None:
    """``pytest -k coverage -s`` prints it; 3,000 draws have a standard error of up to 0.009."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(len(sizes)), sizes)
    draws = rng.normal(size=(3000, len(folds))) + rng.normal(0, of_trainings, (3000, len(sizes)))[:, folds]
    share, narrow = coverages([fold_interval(one, folds) for one in draws], draws)
    print(f"{sizes}: {share:.3f}, over patients {narrow:.3f}")
    assert share == pytest.approx(covered, abs=0.02)
    assert narrow == pytest.approx(over_patients, abs=0.03)


def crossed(runs: int, of_runs: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what :func:`draws` does, of 20 patients in five folds; ``of_runs`` is what the folds of a run share."""
    rng = np.random.default_rng(seed)
    patients = rng.normal(size=20)
    both = rng.normal(0, of_runs, (runs, 1)) + rng.normal(size=(runs, 5))[:, FIVE]
    control = rng.normal(0, 3, (runs, 20))
    arm = control + patients + both
    return arm.mean(axis=0) - control.mean(axis=0), control.mean(axis=1), arm.mean(axis=1)


FIVE = np.repeat(np.arange(5), 4)


@pytest.mark.parametrize(
    ("runs", "of_runs", "covered", "by_fold"),
    [(2, 1, 0.94, 0.75), (3, 1, 0.95, 0.76), (2, 0, 0.98, None), (3, 0, 0.98, None)],
)
def test_the_coverage_of_runs_on_folds_that_the_docstring_gives(
    runs: int, of_runs: float, covered: float, by_fold: float | None
) -> None:
    """``pytest -k coverage -s`` prints it; 1,500 draws have a standard error of up to 0.013."""
    drawn = [crossed(runs, of_runs, seed) for seed in range(1500)]
    found = [training_interval(*one, FIVE) for one in drawn]
    share = np.mean([one.low <= 0 <= one.high for one in found])
    alone = np.mean([one.low <= 0 <= one.high for one in (fold_interval(d, FIVE) for d, _, _ in drawn)])
    print(f"{runs} runs of {of_runs}: {share:.3f}, by fold {alone:.3f}")
    assert share == pytest.approx(covered, abs=0.02)
    assert by_fold is None or alone == pytest.approx(by_fold, abs=0.03)


def test_what_was_trained_decides_which_interval_it_is() -> None:
    differences, folds = [1.0, 2.0, 4.0, 3.0], [0, 1, 2, 2]
    one, two = [80.0], [80.0, 81.0]
    by_fold = fold_interval(differences, folds)
    assert training_interval(differences, one, one, folds) == by_fold
    assert training_interval(differences, one, two, folds) == by_fold
    assert training_interval(differences, two, two[::-1], [0, 0, 1, 1]) == run_interval(differences, two, two[::-1])
    assert training_interval(differences, one, one, [0, 0, 1, 1]) is None
    assert training_interval(differences, one, one, None) is None


def test_runs_that_agree_leave_the_interval_by_fold_and_those_that_do_not_widen_it() -> None:
    differences, folds = np.random.default_rng(0).normal(2, 1, 20), FIVE
    middle, control = float(differences.mean()), [80.0, 80.0]
    by_fold = fold_interval(differences, folds)
    same = training_interval(differences, control, [80 + middle, 80 + middle], folds)
    apart = training_interval(differences, control, [80 + middle - 2, 80 + middle + 2], folds)
    assert (same.low, same.high) == pytest.approx((by_fold.low, by_fold.high))
    # As on Dataset501: one search brought nothing, the other four points, and each fold had both.
    assert by_fold.low > 0 > apart.low and apart.high > by_fold.high


@pytest.mark.parametrize(
    ("differences", "folds"), [([1.0, 2.0], [0, 0]), ([1.0, np.nan], [0, 1]), ([1.0, 2.0], [0, 1, 2]), ([], [])]
)
def test_folds_that_tell_nothing_are_refused(differences: list[float], folds: list[int]) -> None:
    with pytest.raises(ValueError, match="folds: expected finite differences of patients in two folds or more"):
        fold_interval(differences, folds)
