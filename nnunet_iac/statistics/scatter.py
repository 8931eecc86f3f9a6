"""How far training runs scatter: an interval of a difference over patients and over runs (seeds) together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
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
