"""What a small paired experiment lets one recommend: an estimate, and a plain verdict from it.

Everything here is a pure function of numbers; :mod:`nnunet_iac.nnunet.probe.probe` runs the experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nnunet_iac.statistics.paired import mean_interval
from nnunet_iac.statistics.patients import Metric, PatientScores
from nnunet_iac.statistics.scatter import run_interval

FEWEST = 5
"""Patients below which no interval is shown or trusted (our choice; see :func:`~.paired.mean_interval`)."""

Verdict = Literal["pays", "do not bother", "not settled", "too few patients"]


@dataclass(frozen=True)
class Estimate:
    """How much better an arm is than the control, in points of Dice; or how much further off, in mm of HD95.

    Attributes:
        patients: number of pairs.
        difference: mean over patients of ``arm - control``, each patient averaged over its cases and the seeds.
        low: lower end of the two-sided 95 % bootstrap interval over patients; None with fewer than :data:`FEWEST`.
        high: upper end, or None.
        of_seeds: the same difference for each seed by itself, whose scatter is not in the interval.
        runs_low: lower end of the interval over patients and trainings (:func:`~.scatter.run_interval`); None with
            fewer patients, and with one seed.
        runs_high: upper end, or None.
    """

    patients: int
    difference: float
    low: float | None
    high: float | None
    of_seeds: tuple[float, ...]
    runs_low: float | None = None
    runs_high: float | None = None


@dataclass(frozen=True)
class Recommendation:
    """A verdict and the sentence to print."""

    verdict: Verdict
    sentence: str


def estimate(scores: PatientScores, arm: int, *, metric: Metric = "dice", seed: int = 0) -> Estimate:
    """Return the difference of an arm to the first one, of the mean over classes.

    Args:
        scores: the arms have the same number of runs, one for each seed, in the same order.
        arm: index into ``scores.arms``.
        metric: what is compared.
        seed: of the bootstrap.

    Raises:
        ValueError: if no patient has any class, or the runs cannot be paired.
    """
    paired = scores.paired(metric)
    means = scores.run_means[metric]
    if paired.shape[1] == 0 or len(means[arm]) != len(means[0]):
        raise ValueError(
            f"scores: expected patients with a structure and as many runs of {scores.arms[arm]} as of the control, got "
            f"{paired.shape[1]} patients, {len(means[arm])} and {len(means[0])} runs"
        )
    differences = paired[arm] - paired[0]
    of_seeds = tuple(float(a - b) for a, b in zip(means[arm], means[0], strict=True))
    found = Estimate(len(differences), float(differences.mean()), None, None, of_seeds)
    if len(differences) < FEWEST:
        return found
    over_patients = mean_interval(differences, seed=seed)
    found = replace(found, low=over_patients.low, high=over_patients.high)
    if with_runs := run_interval(differences, means[0], means[arm]):
        found = replace(found, runs_low=with_runs.low, runs_high=with_runs.high)
    return found


def recommend(found: Estimate, *, margin: float) -> Recommendation:
    """Say in one sentence whether cells are worth their training.

    In this order, with the interval over patients ``[low, high]`` and that over patients and trainings ``[runs_low,
    runs_high]``:

    1. fewer than :data:`FEWEST` patients: no interval is trusted, nothing is recommended;
    2. ``high < margin``, ``runs_high < margin`` and no seed by itself reaches the margin: do not bother. With one seed
       there is no second interval, and the sentence says that trainings were not counted. This comes before the next
       rule, so a gain that is real but smaller than the margin is none to bother about;
    3. ``low > 0``, ``runs_low > 0`` and every seed by itself is above 0: cells pay. One seed never shows it,
       unless it was trained on several folds (:func:`~.scatter.training_interval`); the rates below are of seeds;
    4. anything else is not settled.

    Both verdicts bear the same burden. How often they are said by three seeds was measured with 20 patients whose
    differences scatter by 1, trainings that scatter by 0.3 / 0.6, and the margin 0.5, in 1500 draws each (standard
    error up to 0.013):

    - true gain 0: "do not bother" in 0.17 / 0.13 (its power), "pays" in 0.02 / 0.03 (wrong);
    - true gain 0.5: "do not bother" in 0.02 / 0.04 (wrong);
    - true gain 1.0: "do not bother" in 0.00 / 0.01 (wrong), "pays" in 0.55 / 0.30 (its power).

    Three seeds seldom mislead, and often settle nothing; five raise 0.17 / 0.13 to 0.25 / 0.12 and 0.55 / 0.30 to
    0.73 / 0.40. The interval over patients alone would say "do not bother" at a true gain of 0.5 in 0.08 / 0.10, with
    two seeds in 0.08 / 0.17, and with one, where it is all there is, it does in 0.10 / 0.21.
    ``tests/statistics/test_recommendation.py`` measures the wrong verdicts of three seeds.

    Args:
        found: see :class:`Estimate`.
        margin: positive, the smallest gain worth having, in points of Dice.

    Raises:
        ValueError: if the margin is not a positive number.

    Example:
        >>> recommend(Estimate(20, 1.2, 0.4, 2.0, (1.1, 1.3), 0.2, 2.2), margin=0.5).verdict
        'pays'
        >>> recommend(Estimate(20, 0.02, -0.1, 0.15, (0.01, 0.03), -0.2, 0.24), margin=0.5).verdict
        'do not bother'
        >>> recommend(Estimate(20, 0.02, -0.1, 0.15, (0.01, 0.03), -0.9, 0.94), margin=0.5).verdict
        'not settled'
    """
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(
            f"margin: expected a positive number, got {margin}; it is the smallest gain worth having, in points of Dice"
        )
    if found.low is None or found.high is None or found.patients < FEWEST:
        return too_few(found.patients)
    numbers = f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    certain = found.runs_low is not None and found.runs_low > 0
    if _highest(found) < margin and all(one < margin for one in found.of_seeds):
        return Recommendation("do not bother", _not_worth_it(found, margin, numbers))
    if found.low > 0 and certain and all(one > 0 for one in found.of_seeds):
        doubt = "" if (found.runs_low or 0) >= margin else f"; that it is {margin:g} or more is not certain"
        return Recommendation(
            "pays",
            f"cells pay here: expect about {found.difference:+.1f} points of Dice over continued training "
            f"({numbers}, {_with_trainings(found)}){doubt}",
        )
    return Recommendation("not settled", f"not settled: {numbers} points of Dice; {_what_to_do(found, margin)}")


def boundary_warning(found: Estimate, *, unit: str) -> str:
    """Return a warning if HD95 rose, empty if it did not.

    The recommendation is about Dice. A network can keep its Dice and put voxels far away (README, Dataset501), so a
    rise is said whatever the verdict. It is said early, once the interval over patients is above 0; whether trainings
    were counted stands in the sentence. That is our choice.

    Args:
        found: of HD95, arm minus control.
        unit: mm, or pixels for images without a spacing.

    Example:
        >>> boundary_warning(Estimate(20, -0.2, -0.9, 0.4, (-0.2,)), unit="mm")
        ''
        >>> print(boundary_warning(Estimate(20, 3.0, 1.0, 5.0, (2.5, 3.5), -4.0, 10.0), unit="mm"))
        HD95 rose by 3.00 mm [+1.00, +5.00]; counting other trainings [-4.00, +10.00], which includes 0
    """
    if found.low is None or found.high is None or found.low <= 0:
        return ""
    text = f"HD95 rose by {found.difference:.2f} {unit} [{found.low:+.2f}, {found.high:+.2f}]"
    if found.runs_low is None:
        return f"{text}; trainings were not counted, there is one of each arm"
    return f"{text}; {_with_trainings(found)}{', which includes 0' if found.runs_low <= 0 else ''}"


def too_few(patients: int) -> Recommendation:
    """Return the answer for a number of patients that no interval can be built on.

    Example:
        >>> too_few(1).sentence
        'too few patients: 1 held out, at least 5 are needed for an interval; hold out more of them'
    """
    return Recommendation(
        "too few patients",
        f"too few patients: {patients} held out, at least {FEWEST} are needed for an interval; hold out more of them",
    )


def spread(of_seeds: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (with one degree of freedom less), None for a single seed.

    Example:
        >>> spread([1.0, 1.0]), spread([0.3])
        (0.0, None)
    """
    return float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else None


def _highest(found: Estimate) -> float:
    """Return the upper end that a margin must be above: of both intervals, or of the one there is."""
    return max(end for end in (found.high, found.runs_high) if end is not None)


def _lowest(found: Estimate) -> float:
    return min(end for end in (found.low, found.runs_low) if end is not None)


def _not_worth_it(found: Estimate, margin: float, numbers: str) -> str:
    one_run = found.runs_high is None
    counted = "trainings were not counted, there is one of each arm" if one_run else _with_trainings(found)
    if _highest(found) < 0:
        return (
            f"do not bother: no gain, cells lost Dice against continued training, {numbers} points "
            f"({counted}); a short measurement leans against them, so it does not show that they lose in a long one"
        )
    gain = "the gain is real but small, " if _lowest(found) > 0 and not one_run else ""
    return (
        f"do not bother: {gain}cells bring less than {margin:g} points of Dice over continued training ({numbers}; "
        f"{counted})"
    )


def _with_trainings(found: Estimate) -> str:
    return f"counting other trainings [{found.runs_low:+.2f}, {found.runs_high:+.2f}]"


def _what_to_do(found: Estimate, margin: float) -> str:
    """Return what would help, by which of the two scatters is in the way."""
    settled_by_patients = (found.low or 0) > 0 or (found.high or 0) < margin
    if settled_by_patients:
        seeds = ", ".join(f"{one:+.2f}" for one in found.of_seeds)
        if found.runs_low is None or found.runs_high is None:
            return "one training of each arm shows no gain: give --seeds 0 1 2"
        scatter = f"[{found.runs_low:+.2f}, {found.runs_high:+.2f}] with that of trainings"
        return f"the seeds ({seeds}) scatter too far to settle it, {scatter}: train more of them, or longer"
    return f"the interval includes both 0 and {margin:g}: hold out more patients, train more seeds, or train longer"
