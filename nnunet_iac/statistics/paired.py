"""Paired statistics of several arms against a control: bootstrap intervals, Wilcoxon, Holm.

The unit is the patient: every arm has one value for each of the same P patients, and everything is computed from the
P differences ``arm - control``. Tests and intervals are scipy's; Holm's step-down correction, which scipy does not
have, is in :mod:`nnunet_iac.multiple_testing`. Whether a difference is small enough is said by
:mod:`nnunet_iac.statistics.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, wilcoxon

from nnunet_iac.multiple_testing import holm

CONFIDENCE = 0.95
"""Level of the two-sided intervals."""

RESAMPLES = 9999
"""Bootstrap samples of one interval."""

FEW = 20
"""With fewer patients than this the intervals are noticeably too narrow; see :func:`mean_interval`."""

RESOLUTION = 1e-9
"""Differences closer than this to each other are the same: the rounding error of means, not a finding."""


@dataclass(frozen=True)
class Interval:
    """An interval with both ends."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedResult:
    """One arm against the control.

    Attributes:
        patients: number of pairs.
        difference: mean of ``arm - control``.
        interval: two-sided 95 % bootstrap interval of that mean.
        p_value: two-sided Wilcoxon signed-rank test.
        holm: the same p-value, corrected for the number of arms.
        margin: the largest loss that would not matter.
        higher_is_better: True for Dice, False for a distance.
    """

    patients: int
    difference: float
    interval: Interval
    p_value: float
    holm: float
    margin: float
    higher_is_better: bool


def compare_with_control(
    control: ArrayLike, others: ArrayLike, *, margin: float, higher_is_better: bool, seed: int = 0
) -> tuple[PairedResult, ...]:
    """Compare arms with a control, patient by patient.

    Args:
        control: ``(P,)``, a value of each patient.
        others: ``(A, P)``, the same patients in the same order for each of the other arms.
        margin: positive, in the unit of the values.
        higher_is_better: True for Dice, False for a distance.
        seed: of the bootstrap.

    Raises:
        ValueError: for less than two patients, values that are not finite, shapes that do not fit, or a margin that
            is not positive.

    Example:
        >>> (same,) = compare_with_control([80, 90, 85], [[80, 90, 85]], margin=1, higher_is_better=True)
        >>> same.difference, same.interval, same.p_value
        (0.0, Interval(low=0.0, high=0.0), 1.0)
    """
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(
            f"margin: expected a positive number, got {margin}; it is the largest loss that does not matter"
        )
    differences = _differences(control, others)
    p_values = [signed_rank(row) for row in differences]
    return tuple(
        PairedResult(
            patients=len(row),
            difference=float(row.mean()),
            interval=mean_interval(row, seed=seed),
            p_value=p_value,
            holm=corrected,
            margin=margin,
            higher_is_better=higher_is_better,
        )
        for row, p_value, corrected in zip(differences, p_values, holm(p_values), strict=True)
    )


def mean_interval(differences: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the two-sided 95 % BCa bootstrap interval (Efron 1987) of the mean of differences ``(P,)``.

    If all differences are the same there is nothing to resample: that value is both ends.

    With few patients the interval is too narrow, as bootstrap intervals are. Of 2,000 samples of normal differences
    it covered the true mean in 0.79 (P = 4), 0.89 (10), 0.93 (20) and 0.94 (40), with 999 resamples.

    Raises:
        ValueError: for less than two values or values that are not finite.

    Example:
        >>> interval = mean_interval([1, 2, 3, 4])
        >>> 1 <= interval.low < 2.5 < interval.high <= 4
        True
        >>> mean_interval([2, 2, 2])
        Interval(low=2.0, high=2.0)
    """
    values = _checked(differences)
    if np.ptp(values) <= RESOLUTION:
        return Interval(float(values.mean()), float(values.mean()))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(seed),
        batch=max(1, 10**7 // len(values)),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def signed_rank(differences: ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test of differences ``(P,)`` against zero.

    Zeros are left out, as Wilcoxon did; if all are zero the p-value is 1. The smallest p-value that P patients allow
    is ``2 ** (1 - P)``.

    Raises:
        ValueError: for less than two values or values that are not finite.

    Example:
        >>> signed_rank([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), signed_rank([0.0, 0.0])
        (0.03125, 1.0)
    """
    values = _checked(differences)
    values = np.where(np.abs(values) <= RESOLUTION, 0.0, values)
    return float(wilcoxon(values).pvalue) if values.any() else 1.0


def _differences(control: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    first, rest = np.asarray(control, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if first.ndim != 1 or rest.ndim != 2 or rest.shape[1] != len(first):
        raise ValueError(
            f"others: expected (arms, patients) with the control's {first.shape} patients, got {rest.shape}; "
            "every arm needs a value of each patient"
        )
    return rest - first


def _checked(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"differences: expected at least two patients, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences: expected finite numbers, got {values.tolist()}; leave such patients out first")
    return values
