"""A paired result in the words that all tables use: the difference with its interval, the p-value, the verdict."""

from __future__ import annotations

from nnunet_iac.statistics.paired import Interval, PairedResult
from nnunet_iac.statistics.verdict import Verdict


def difference_text(result: PairedResult) -> str:
    """Return the mean difference with its 95 % interval, all with signs and two decimals.

    Example:
        >>> from nnunet_iac.statistics.paired import compare_with_control
        >>> result, = compare_with_control([80, 81, 82], [[81.5, 82.5, 83.5]], margin=1, higher_is_better=True)
        >>> difference_text(result)
        '+1.50 [+1.50, +1.50]'
    """
    return f"{result.difference:+.2f} {interval_text(result.interval)}"


def interval_text(interval: Interval | None) -> str:
    """Return an interval with signs and two decimals, or that there is none.

    Example:
        >>> interval_text(Interval(-1, 0.5)), interval_text(None)
        ('[-1.00, +0.50]', 'one run')
    """
    return "one run" if interval is None else f"[{interval.low:+.2f}, {interval.high:+.2f}]"


def p_text(value: float) -> str:
    """Return a p-value with three decimals, or that it is smaller than they can show.

    Example:
        >>> p_text(0.03125), p_text(0.001), p_text(0.00098)
        ('0.031', '0.001', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict_text(verdict: Verdict) -> str:
    """Return whether the arm is non-inferior, with the end of an interval that decides it.

    Example:
        >>> verdict_text(Verdict(non_inferior=False, inside=False, worst=-1.5, trainings_counted=True))
        'no (-1.50)'
    """
    return f"{yes_or_no(verdict.non_inferior)} ({verdict.worst:+.2f}){_caveat(verdict)}"


def inside_text(verdict: Verdict) -> str:
    """Return whether the difference is inside the margin on both sides.

    Example:
        >>> inside_text(Verdict(non_inferior=True, inside=True, worst=-0.1, trainings_counted=False))
        'yes, trainings not counted'
    """
    return f"{yes_or_no(verdict.inside)}{_caveat(verdict)}"


def yes_or_no(answer: bool) -> str:
    """Return the word.

    Example:
        >>> yes_or_no(True)
        'yes'
    """
    return "yes" if answer else "no"


def _caveat(verdict: Verdict) -> str:
    return "" if verdict.trainings_counted else ", trainings not counted"
