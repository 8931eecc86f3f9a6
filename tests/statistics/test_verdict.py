"""The one rule of small differences: both intervals, the bad side for non-inferiority, both sides for inside."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.statistics.paired import Interval, PairedResult, compare_with_control
from nnunet_iac.statistics.scatter import run_interval
from nnunet_iac.statistics.verdict import judge

CONTROL = np.random.default_rng(3).uniform(70, 95, 25)


def result(low: float, high: float, *, higher_is_better: bool = True) -> PairedResult:
    return PairedResult(9, (low + high) / 2, Interval(low, high), 0.2, 0.4, 0.5, higher_is_better)


@pytest.mark.parametrize(("margin", "good"), [(0.8, False), (1.2, True)])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_loss_is_held_against_the_margin(margin: float, good: bool, higher_is_better: bool) -> None:
    loss = -1.0 if higher_is_better else 1.0
    (found,) = compare_with_control(CONTROL, [CONTROL + loss], margin=margin, higher_is_better=higher_is_better)

    verdict = judge(found, None)

    assert verdict.non_inferior is verdict.inside is good and verdict.worst == pytest.approx(loss)


@pytest.mark.parametrize(
    ("of_runs", "non_inferior", "inside"),
    [
        (None, True, True),
        (Interval(-0.4, 0.4), True, True),
        (Interval(-0.6, 0.4), False, False),
        (Interval(-0.4, 0.6), True, False),
        (Interval(-0.5, 0.4), False, False),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_with_runs_is_asked_too(
    of_runs: Interval | None, non_inferior: bool, inside: bool, sign: int
) -> None:
    found = result(-0.3, 0.3, higher_is_better=sign > 0)
    if of_runs is not None and sign < 0:
        of_runs = Interval(-of_runs.high, -of_runs.low)

    verdict = judge(found, of_runs)

    assert (verdict.non_inferior, verdict.inside) == (non_inferior, inside)
    assert verdict.trainings_counted == (of_runs is not None)
    assert verdict.worst * sign == (-0.3 if of_runs is None else min(-0.3, *(sign * e for e in vars(of_runs).values())))


def test_a_wide_interval_over_patients_is_not_forgiven() -> None:
    assert not judge(result(-0.6, 0.1), Interval(-0.1, 0.1)).non_inferior


def test_runs_that_scatter_make_the_answer_no() -> None:
    (found,) = compare_with_control(CONTROL, [CONTROL], margin=0.5, higher_is_better=True)

    scattered, still = run_interval(CONTROL * 0, [80, 82], [81, 81]), run_interval(CONTROL * 0, [80, 82], [80, 82])

    assert not judge(found, scattered).non_inferior and judge(found, still).inside
