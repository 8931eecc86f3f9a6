"""Laws of paired comparisons: same is same, a shift is found, swapping flips signs, Holm counts the arms."""

from __future__ import annotations

import holm as reference
import numpy as np
import pytest
from scipy.stats import wilcoxon

from nnunet_iac.statistics import paired
from nnunet_iac.statistics.paired import Interval, compare_with_control, mean_interval, signed_rank
from nnunet_iac.statistics.verdict import judge

RNG = np.random.default_rng(3)
CONTROL = RNG.uniform(70, 95, 25)
OTHER = CONTROL + RNG.normal(0.4, 1.0, 25)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_identical_arms_do_not_differ_and_are_not_inferior(higher_is_better: bool) -> None:
    (result,) = compare_with_control(CONTROL, [CONTROL], margin=0.01, higher_is_better=higher_is_better)

    assert (result.difference, result.interval, result.p_value, result.holm) == (0, Interval(0, 0), 1, 1)
    assert judge(result, None).worst == 0 and judge(result, None).non_inferior and result.patients == 25


def test_the_same_shift_of_every_patient_is_exact() -> None:
    (result,) = compare_with_control(CONTROL, [CONTROL - 2], margin=1, higher_is_better=True)

    assert [result.difference, result.interval.low, result.interval.high] == pytest.approx([-2] * 3)
    assert result.p_value < 1e-4 and not judge(result, None).non_inferior


def test_a_shift_beyond_the_scatter_is_found_and_one_within_is_not() -> None:
    shifts = np.array([3.0, 0.0])[:, None] + RNG.permutation(np.linspace(-1, 1, 25))
    found, not_found = compare_with_control(CONTROL, CONTROL + shifts, margin=1, higher_is_better=True)

    assert found.interval.low > 2 and found.holm < 0.001
    assert not_found.interval.low < 0 < not_found.interval.high and not_found.holm > 0.5


def test_swapping_the_arms_flips_the_signs() -> None:
    (there,) = compare_with_control(CONTROL, [OTHER], margin=1, higher_is_better=True)
    (back,) = compare_with_control(OTHER, [CONTROL], margin=1, higher_is_better=False)

    assert there.p_value == back.p_value and there.difference == -back.difference
    assert [there.interval.low, there.interval.high] == pytest.approx([-back.interval.high, -back.interval.low])
    assert judge(there, None).worst == pytest.approx(-judge(back, None).worst)
    assert judge(there, None).non_inferior == judge(back, None).non_inferior


def test_patients_may_come_in_any_order() -> None:
    order = RNG.permutation(25)
    (first,) = compare_with_control(CONTROL, [OTHER], margin=1, higher_is_better=True)
    (second,) = compare_with_control(CONTROL[order], [OTHER[order]], margin=1, higher_is_better=True)

    assert first.p_value == pytest.approx(second.p_value) and first.difference == pytest.approx(second.difference)


def test_the_interval_depends_on_its_seed_alone_and_holds_the_mean() -> None:
    differences = OTHER - CONTROL
    assert mean_interval(differences, seed=1) == mean_interval(differences, seed=1)
    assert mean_interval(differences, seed=1) != mean_interval(differences, seed=2)
    assert mean_interval(differences).low < differences.mean() < mean_interval(differences).high


def test_holm_counts_the_arms() -> None:
    results = compare_with_control(CONTROL, [OTHER, CONTROL, CONTROL + 1], margin=1, higher_is_better=True)

    assert [r.holm for r in results] == pytest.approx(reference.corrected([r.p_value for r in results]))
    assert results[0].p_value == wilcoxon(OTHER - CONTROL).pvalue


@pytest.mark.parametrize("differences", [[0, 0, 0, 5], [-1, 1], [0, 1e-12], [1, 1, 1, 2], [-1, -1, 0, 0, 1]])
def test_few_patients_and_many_ties_give_finite_numbers(differences: list[float]) -> None:
    interval = mean_interval(differences)

    assert np.isfinite([interval.low, interval.high]).all() and 0 < signed_rank(differences) <= 1


def test_rounding_errors_are_no_finding() -> None:
    assert signed_rank([1e-14, 2e-14, 3e-14, 1e-14, 5e-14, 6e-14]) == 1


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_what_cannot_be_tested_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="differences: expected"):
        mean_interval(values)


@pytest.mark.parametrize("margin", [0, -1, np.nan, np.inf])
def test_a_margin_is_a_positive_number(margin: float) -> None:
    with pytest.raises(ValueError, match="margin: expected a positive number"):
        compare_with_control(CONTROL, [OTHER], margin=margin, higher_is_better=True)


def test_arms_of_other_patients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"others: expected \(arms, patients\)"):
        compare_with_control(CONTROL, [OTHER[:-1]], margin=1, higher_is_better=True)


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "covered"), [(4, 0.79), (10, 0.89), (20, 0.93), (40, 0.94)])
def test_the_coverage_that_the_docstring_gives(patients, covered, monkeypatch):
    """``pytest -m slow -k coverage -s`` prints it; 2,000 samples have a standard error of up to 0.01."""
    monkeypatch.setattr(paired, "RESAMPLES", 999)
    samples = np.random.default_rng(0).normal(size=(2000, patients))
    intervals = [paired.mean_interval(sample) for sample in samples]
    share = float(np.mean([i.low <= 0 <= i.high for i in intervals]))
    print(f"{patients} patients: {share:.2f}")
    assert share == pytest.approx(covered, abs=0.03)
