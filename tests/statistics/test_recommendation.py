"""What numbers lead to which verdict, and where the numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from nnunet_iac.statistics.patients import Agreement, PatientScores, patient_scores
from nnunet_iac.statistics.recommendation import FEWEST, Estimate, Verdict, estimate, recommend, spread, too_few
from nnunet_iac.statistics.scatter import run_interval


def found(
    low: float | None, high: float | None, *of_seeds: float, patients: int = 20, runs: tuple[Any, Any] | None = None
) -> Estimate:
    middle = ((low or 0) + (high or 0)) / 2
    return Estimate(patients, middle, low, high, of_seeds or (middle, middle), *(runs or (low, high)))


def scores(control: list[list[float]], other: list[list[float]]) -> PatientScores:
    """Dice of each patient in each run; the patients have one case each, one class."""

    def runs(values: list[list[float]]) -> list[dict[str, list[Agreement]]]:
        return [{f"c{p}": [Agreement(value, 1.0)] for p, value in enumerate(of_run)} for of_run in values]

    patients = {f"p{p}": [f"c{p}"] for p in range(len(control[0]))}
    return patient_scores({"identity": runs(control), "random": runs(other)}, patients, ["ring"])


@pytest.mark.parametrize(
    ("numbers", "verdict", "words"),
    [
        (found(0.4, 2.0), "pays", "cells pay here: expect about +1.2 points of Dice"),
        (found(0.6, 2.0), "pays", "(+1.30 [+0.60, +2.00], counting"),
        (found(-0.1, 0.2), "do not bother", "cells bring less than 0.5 points of Dice over continued training"),
        (found(0.1, 0.3), "do not bother", "the gain is real but small"),
        (found(-2.0, -0.5), "do not bother", "does not show that they lose in a long one"),
        (found(-0.2, 0.9), "not settled", "hold out more patients, train more seeds, or train longer"),
        (found(0.4, 2.0, runs=(0.2, 2.2)), "pays", "counting other trainings [+0.20, +2.20]"),
        (found(0.4, 2.0, runs=(-0.1, 2.5)), "not settled", "[-0.10, +2.50] with that of trainings"),
        (found(-0.1, 0.2, runs=(-0.9, 1.0)), "not settled", "[-0.90, +1.00] with that of trainings"),
        (found(-0.1, 0.2, runs=(-0.2, 0.3)), "do not bother", "counting other trainings [-0.20, +0.30]"),
        (found(-0.1, 0.2, 0.05, runs=(None, None)), "do not bother", "trainings were not counted"),
        (found(0.4, 2.0, 1.2, runs=(None, None)), "not settled", "one training of each arm shows no gain"),
        (found(0.4, 2.0, -0.1, 2.5), "not settled", "the seeds (-0.10, +2.50) scatter too far"),
        (found(-0.1, 0.3, -0.4, 0.6), "not settled", "the seeds (-0.40, +0.60) scatter too far"),
        (found(None, None, patients=4), "too few patients", "4 held out, at least 5 are needed"),
        (found(0.4, 2.0, patients=4), "too few patients", "hold out more"),
    ],
)
def test_the_verdict_follows_from_interval_margin_and_seeds(numbers: Estimate, verdict: Verdict, words: str) -> None:
    answer = recommend(numbers, margin=0.5)

    assert (answer.verdict, words in answer.sentence) == (verdict, True), answer.sentence


def test_every_sentence_begins_with_its_verdict() -> None:
    for numbers in (found(0.4, 2.0), found(0.1, 0.3), found(-0.2, 0.9), found(None, None, patients=2)):
        answer = recommend(numbers, margin=0.5)
        beginning = "cells pay here" if answer.verdict == "pays" else answer.verdict
        assert answer.sentence.startswith(f"{beginning}:") and "\n" not in answer.sentence


def test_at_the_bounds_nothing_is_claimed() -> None:
    assert recommend(found(0.0, 0.9), margin=0.5).verdict == "not settled"
    assert recommend(found(0.1, 0.9, runs=(0.0, 1.0)), margin=0.5).verdict == "not settled"
    assert recommend(found(-0.2, 0.5), margin=0.5).verdict == "not settled"


def test_a_gain_that_may_be_smaller_than_the_margin_is_said_to_be() -> None:
    unsure, sure = (recommend(found(low, 2.0), margin=0.5).sentence for low in (0.4, 0.6))

    assert "that it is 0.5 or more is not certain" in unsure and "not certain" not in sure


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="margin: expected a positive number"):
        recommend(found(0.4, 2.0), margin=margin)


def test_patients_are_averaged_over_seeds_and_seeds_over_patients() -> None:
    control = [[80.0, 70, 60, 50, 40], [82.0, 72, 62, 52, 42]]
    other = [[81.0, 71, 61, 51, 41], [82.0, 72, 62, 52, 47]]

    answer = estimate(scores(control, other), 1)

    # Gains of the patients: 0.5 four times and (1 + 5) / 2.
    assert answer.patients == FEWEST and answer.difference == pytest.approx(1.0)
    assert answer.of_seeds == pytest.approx((1.0, 1.0)) and spread(answer.of_seeds) == pytest.approx(0.0)
    assert answer.low is not None and answer.high is not None
    assert 0.5 <= answer.low < answer.difference < answer.high <= 3.0


def test_few_patients_have_a_difference_and_no_interval() -> None:
    answer = estimate(scores([[80.0, 70, 60, 50]], [[81.0, 71, 61, 51]]), 1)

    assert (answer.difference, answer.low, answer.high) == (pytest.approx(1.0), None, None)
    assert recommend(answer, margin=0.5) == too_few(4)


def test_runs_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="as many runs of random as of the control"):
        estimate(scores([[80.0] * 5] * 2, [[81.0] * 5]), 1)


def test_a_gain_or_a_loss_is_real_only_if_other_trainings_would_show_it() -> None:
    patients_only = [found(0.1, 0.3, runs=(-0.1, 0.4)), found(-2.0, -0.5, runs=(-2.6, 0.1))]
    both = [found(0.1, 0.3), found(-2.0, -0.5)]

    words = [recommend(one, margin=0.5).sentence for one in (*patients_only, *both)]

    assert ["real" in text or "lost" in text for text in words] == [False, False, True, True]


def probes(of_runs: float, gain: float, draws: int = 300, patients: int = 20, seeds: int = 3) -> list[Estimate]:
    """What as many probes estimate; the difference of a patient scatters by 1, and a run on a patient too.

    The intervals over patients are those of ``mean_interval``, of all probes in one call and with fewer samples.
    """
    rng = np.random.default_rng(0)
    dice = 80 + rng.normal(0, of_runs, (draws, 2, seeds, 1)) + rng.normal(0, 1, (draws, 2, seeds, patients))
    dice[:, 1] += gain + rng.normal(0, 1, (draws, 1, patients))
    differences, runs = (dice[:, 1] - dice[:, 0]).mean(axis=1), dice.mean(axis=3)
    ends = bootstrap((differences,), np.mean, axis=1, n_resamples=599, method="BCa", random_state=rng)
    found = []
    for values, (control, cells), *over in zip(differences, runs, *ends.confidence_interval, strict=True):
        with_runs = run_interval(values, control, cells)
        assert with_runs is not None
        of_seeds = tuple(cells - control)
        found.append(Estimate(patients, float(values.mean()), *over, of_seeds, with_runs.low, with_runs.high))
    return found


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


@pytest.mark.parametrize("of_runs", [0.3, 1.0])
def test_without_an_effect_chance_seldom_pays(of_runs: float) -> None:
    """``pytest -k seldom -s`` prints it; 300 draws have a standard error of up to 0.02."""
    found = probes(of_runs, gain=0.0)
    pays = share([recommend(one, margin=0.5).verdict == "pays" for one in found])
    alone = share([(one.low or 0) > 0 and min(one.of_seeds) > 0 for one in found])
    print(f"trainings scatter by {of_runs}: {pays:.3f}, by the interval over patients {alone:.3f}")
    assert pays <= 0.08
    assert of_runs < 1 or alone >= 0.1


@pytest.mark.parametrize("of_runs", [0.3, 0.6])
def test_a_gain_of_the_margin_is_seldom_called_none(of_runs: float) -> None:
    """At most in 5 of 100 probes, and one standard error of 300 draws (0.013) for the simulation itself."""
    found = probes(of_runs, gain=0.5)
    wrong = share([recommend(one, margin=0.5).verdict == "do not bother" for one in found])
    alone = share([(one.high or 0) < 0.5 and max(one.of_seeds) < 0.5 for one in found])
    print(f"trainings scatter by {of_runs}: {wrong:.3f}, by the interval over patients {alone:.3f}")
    assert wrong <= 0.05 + 0.013 < alone
