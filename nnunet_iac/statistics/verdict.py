"""Whether a difference is small enough: one rule for ``compare``, the papers' tables and the benchmarks of Dice."""

from __future__ import annotations

from dataclasses import dataclass

from nnunet_iac.statistics.paired import Interval, PairedResult


@dataclass(frozen=True)
class Verdict:
    """What two intervals of a difference allow to say.

    Attributes:
        non_inferior: whether no interval reaches the margin on the bad side.
        inside: whether none reaches it on either side; then it is non-inferior too.
        worst: the end of an interval that lies furthest on the bad side; it decides ``non_inferior``.
        trainings_counted: whether both intervals were asked. If not, an arm has one run only and few folds, and the
            answer is about these very networks.
    """

    non_inferior: bool
    inside: bool
    worst: float
    trainings_counted: bool


def judge(result: PairedResult, of_runs: Interval | None) -> Verdict:
    """Ask the two-sided 95 % interval over patients and, where there is one, that over patients and trainings.

    With a margin ``m``, for every interval ``[low, high]`` of ``arm - control``: non-inferior is ``low > -m`` where
    higher is better and ``high < m`` where lower is better; inside is both. One end of a two-sided 95 % interval is a
    one-sided bound of 97.5 %, as ICH E9 (sections 3.3.2 and 5.5) prefers for non-inferiority. The first interval is
    about these very networks, the second about networks of other seeds too; the wider one decides. It is not corrected
    for the number of arms.

    Args:
        result: the comparison by patient, with its margin.
        of_runs: from :func:`~.scatter.training_interval`; None where an arm has one run and few folds.

    Example:
        >>> from nnunet_iac.statistics.paired import compare_with_control
        >>> result, = compare_with_control([80, 81, 82], [[80, 81, 82]], margin=0.5, higher_is_better=True)
        >>> judge(result, None)
        Verdict(non_inferior=True, inside=True, worst=0.0, trainings_counted=False)
        >>> judge(result, Interval(-0.2, 0.7)).inside, judge(result, Interval(-0.2, 0.7)).non_inferior
        (False, True)
        >>> judge(result, Interval(-0.7, 0.7)).non_inferior
        False
    """
    asked = [result.interval] if of_runs is None else [result.interval, of_runs]
    low, high = min(one.low for one in asked), max(one.high for one in asked)
    above, below = low > -result.margin, high < result.margin
    return Verdict(
        non_inferior=above if result.higher_is_better else below,
        inside=above and below,
        worst=low if result.higher_is_better else high,
        trainings_counted=of_runs is not None,
    )
