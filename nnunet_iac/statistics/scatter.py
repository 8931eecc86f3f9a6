"""How far trainings scatter: intervals of a difference over patients and trainings (seeds, or folds) together."""

from __future__ import annotations

from collections.abc import Sequence

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
    if len(groups[1]) == len(groups[2]):
        groups[1:] = [groups[2] - groups[1]]
    variances = np.array([group.var(ddof=1) / len(group) for group in groups])
    total, middle = float(variances.sum()), float(values.mean())
    if total == 0:
        return Interval(middle, middle)
    freedom = total**2 / sum(v**2 / (len(group) - 1) for v, group in zip(variances, groups, strict=True))
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * total**0.5
    return Interval(middle - half, middle + half)


FEWEST_FOLDS = 3
"""Below that, the scatter of folds is not told (our choice; two have one degree of freedom)."""


def training_interval(
    differences: ArrayLike, control_runs: Sequence[float], runs: Sequence[float], folds: ArrayLike | None
) -> Interval | None:
    """Return the interval of what there is more of: :func:`fold_interval` of folds, or :func:`run_interval` of runs.

    What decides is the number of trainings, never the result: with more folds than runs, and at least
    :data:`FEWEST_FOLDS`, it is by fold (our choice).

    Args:
        differences: ``(P,)``, of the patients.
        control_runs: ``(S_0,)``, mean over patients of each run of the control.
        runs: ``(S_1,)``, of the arm.
        folds: ``(P,)``, which model of a cross-validation predicted a patient; None if one predicted all.

    Raises:
        ValueError: as they do.

    Example:
        >>> training_interval([1.0, 2.0, 3.0], [80.0], [82.0], [0, 1, 2]) == fold_interval([1.0, 2.0, 3.0], [0, 1, 2])
        True
        >>> training_interval([1.0, 2.0, 3.0], [80.0], [82.0], None)
    """
    number = 0 if folds is None else len(np.unique(np.asarray(folds)))
    if folds is not None and number >= FEWEST_FOLDS and number > min(len(control_runs), len(runs)):
        return fold_interval(differences, folds)
    return run_interval(differences, control_runs, runs)


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
    _, owner, sizes = np.unique(np.asarray(folds), return_inverse=True, return_counts=True)
    number = len(sizes)
    if values.ndim != 1 or len(values) != len(owner) or number < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"folds: expected finite differences of patients in two folds or more, got {values.tolist()} in "
            f"{np.asarray(folds).tolist()}; leave patients without a value out first"
        )
    middle = float(values.mean())
    deviations = np.bincount(owner, weights=values - middle) / len(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, number - 1)) * float(number / (number - 1) * (deviations**2).sum()) ** 0.5
    return Interval(middle - half, middle + half)
