"""How far trainings scatter: intervals of a difference over patients and trainings (seeds, or folds) together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from nnunet_iac.statistics.paired import CONFIDENCE, Interval


def run_interval(differences: ArrayLike, control_runs: Sequence[float], runs: Sequence[float]) -> Interval | None:
    """Return a two-sided 95 % interval of a mean difference that holds for other patients *and* other trainings.

    An interval over patients answers "would these very networks differ on other patients?". Whoever trains anew asks
    for more: networks of other seeds differ too. Each source of scatter has its variance and degrees of freedom::

        V_P = var_p(d_p) / P             P - 1     patients, each the mean over its arm's runs
        V_S = var_s(m_1s - m_0s) / S     S - 1     pairs of runs, each the mean over patients
        d +- t(0.975, nu) sqrt(V),  V = V_P + V_S,  nu = V^2 / sum(V_i^2 / nu_i)     (Welch, Satterthwaite)

    The n-th runs of both arms are a pair: with one seed they start from the same weights and see the same batches. If
    they share nothing the interval holds as well, only with fewer degrees of freedom than it could have. With other
    numbers of runs there are no pairs, and ``V_S`` is ``var_s(m_0s) / S_0 + var_s(m_1s) / S_1``, each with its own
    degrees. The scatter of a run on a patient is in both terms, so the interval is a little too wide (our choice).

    With two arms that do not differ, standard deviations of 1 (patients), 1 (runs), 1 (a run on a patient) and P = 20,
    it covers zero in 0.88 of the draws (2 pairs), 0.92 (3), 0.95 (5) and 0.95 (10); the interval over patients in 0.47,
    0.49, 0.58 and 0.67. Where runs scatter in no way of their own: 0.98 and 0.95 (3). Two pairs are too few.
    ``tests/statistics/test_scatter.py`` measures this.

    Args:
        differences: ``(P,)``, of the patients.
        control_runs: ``(S_0,)``, mean over patients of each run of the control.
        runs: ``(S_1,)``, of the arm.

    Returns:
        The interval, or None where an arm has one run only: its scatter is unknown.

    Raises:
        ValueError: for less than two patients or values that are not finite.

    Example:
        >>> run_interval([1.0, 1.0, 1.0], [80.0, 82.0], [81.0])
        >>> wide = run_interval([1.0, 1.2, 0.8], [80.0, 82.0, 81.0], [82.0, 82.0, 82.0])
        >>> wide.low < 0 < 1 < wide.high
        True
    """
    values = np.asarray(differences, dtype=np.float64)
    groups = [values, np.asarray(control_runs, dtype=np.float64), np.asarray(runs, dtype=np.float64)]
    if values.ndim != 1 or len(values) < 2 or not all(np.isfinite(group).all() for group in groups):
        raise ValueError(
            f"differences: expected finite numbers of two patients or more, got {values.tolist()} and runs "
            f"{list(control_runs)}, {list(runs)}; leave patients without a value out first"
        )
    if min(map(len, groups)) < 2:
        return None
    return _interval(values, [_of_means(values), *_of_runs(groups[1], groups[2])])


FEWEST_FOLDS = 3
"""Below that, the scatter of folds is not told (our choice; two have one degree of freedom)."""


def training_interval(
    differences: ArrayLike, control_runs: Sequence[float], runs: Sequence[float], folds: ArrayLike | None
) -> Interval | None:
    """Return the interval over patients and all that was trained: runs, folds, or both.

    With :data:`FEWEST_FOLDS` folds or more, and one run of an arm, it is :func:`fold_interval`; with fewer folds and
    several runs, :func:`run_interval`. With several of both, folds stand for patients, for their scatter holds that of
    patients, and runs count beside them::

        V = V_F + V_S,  nu = V^2 / (V_F^2 / (F - 1) + V_S^2 / (S - 1))

    ``V_F`` is the variance of :func:`fold_interval`, ``V_S`` that of :func:`run_interval`. By fold alone would not do:
    the models of a run share what they started from, a search that found the cells of all folds above all, and no
    scatter of folds tells what another search would have found. With standard deviations of 1 (patients), 1 (the
    training of a fold in a run), 1 (a run: what its folds share) and 20 patients in five folds it covers zero in 0.94
    of the draws of two arms that do not differ with 2 runs and in 0.95 with 3, by fold alone in 0.75 and 0.76;
    where runs share nothing, 0 in place of the last 1, in 0.98 and 0.98. ``tests/statistics/test_scatter.py``
    measures this. That the scatter of a fold is in both terms is our choice, as in :func:`run_interval`.

    Args:
        differences: ``(P,)``, of the patients, each the mean over its arm's runs.
        control_runs: ``(S_0,)``, mean over patients of each run of the control.
        runs: ``(S_1,)``, of the arm.
        folds: ``(P,)``, which model of a cross-validation predicted a patient; None if one predicted all.

    Raises:
        ValueError: as they do.

    Example:
        >>> training_interval([1.0, 2.0, 3.0], [80.0], [82.0], [0, 1, 2]) == fold_interval([1.0, 2.0, 3.0], [0, 1, 2])
        True
        >>> training_interval([1.0, 2.0, 3.0], [80.0], [82.0], None)
        >>> both = training_interval([1.0, 2.0, 3.0], [80.0, 80.0], [81.0, 83.0], [0, 1, 2])
        >>> round(both.low, 2), round(both.high, 2)
        (-3.98, 7.98)
    """
    if folds is None or len(np.unique(np.asarray(folds))) < FEWEST_FOLDS:
        return run_interval(differences, control_runs, runs)
    by_fold = fold_interval(differences, folds)
    if min(len(control_runs), len(runs)) < 2:
        return by_fold
    values = np.asarray(differences, dtype=np.float64)
    return _interval(values, [_of_folds(values, folds), *_of_runs(np.asarray(control_runs), np.asarray(runs))])


def fold_interval(differences: ArrayLike, folds: ArrayLike) -> Interval:
    """Return a two-sided 95 % interval of the mean difference of a cross-validation, with its models' scatter in it.

    Patients of a fold share the two models that are compared, so their differences are not independent; folds are::

        d = sum_f w_f d_f,  w_f = P_f / P,  d_f: mean over the P_f patients of fold f
        d +- t(0.975, F - 1) sqrt(F / (F - 1) sum_f w_f^2 (d_f - d)^2)

    That is the cluster-robust variance with the correction for few clusters; with folds of one size it is Student's
    interval of the F means. Patients and trainings are both in it, for the folds' means hold the scatter of both.

    With standard deviations of 1 (patients), 1 (trainings) and 20 patients in five folds it covers zero in 0.95 of the
    draws of two arms that do not differ, the interval over patients in 0.78; where trainings do not scatter, 0.95 and
    0.95; with folds of 8, 4, 4, 2 and 2 patients 0.93 and 0.71. ``tests/statistics/test_scatter.py`` measures this.
    Models of a cross-validation share training cases, which no interval from one cross-validation can account for
    (Bengio and Grandvalet, 2004): read it as "at least so wide".

    Args:
        differences: ``(P,)``, of the patients.
        folds: ``(P,)``, the fold of each.

    Raises:
        ValueError: for less than two folds, values that are not finite, or other lengths.

    Example:
        >>> found = fold_interval([0.0, 1.0, 1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1, 2, 2])
        >>> round(found.low, 2), round(found.high, 2)
        (-0.98, 3.98)
    """
    values: NDArray[np.float64] = np.asarray(differences, dtype=np.float64)
    owner = np.asarray(folds)
    if values.ndim != 1 or len(values) != len(owner) or len(np.unique(owner)) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"folds: expected finite differences of patients in two folds or more, got {values.tolist()} in "
            f"{np.asarray(folds).tolist()}; leave patients without a value out first"
        )
    return _interval(values, [_of_folds(values, folds)])


class _Part(NamedTuple):
    """A source of scatter: its share of the variance of the mean difference, and its degrees of freedom."""

    variance: float
    freedom: int


def _of_means(values: NDArray[np.float64]) -> _Part:
    return _Part(float(values.var(ddof=1)) / len(values), len(values) - 1)


def _of_runs(control: NDArray[np.float64], arm: NDArray[np.float64]) -> list[_Part]:
    return [_of_means(arm - control)] if len(control) == len(arm) else [_of_means(control), _of_means(arm)]


def _of_folds(values: NDArray[np.float64], folds: ArrayLike) -> _Part:
    _, owner = np.unique(np.asarray(folds), return_inverse=True)
    number = int(owner.max()) + 1
    deviations = np.bincount(owner, weights=values - values.mean()) / len(values)
    return _Part(float(number / (number - 1) * (deviations**2).sum()), number - 1)


def _interval(values: NDArray[np.float64], parts: Sequence[_Part]) -> Interval:
    """Return the mean with Student's interval of the parts together (Welch, Satterthwaite)."""
    total, middle = sum(part.variance for part in parts), float(values.mean())
    if total == 0:
        return Interval(middle, middle)
    freedom = total**2 / sum(part.variance**2 / part.freedom for part in parts)
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * total**0.5
    return Interval(middle - half, middle + half)
