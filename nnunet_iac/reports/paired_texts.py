"""A paired result in the words that all tables use: the difference with its interval, the p-value, the verdict."""

from __future__ import annotations

from nnunet_iac.statistics.paired import Interval, PairedResult


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


def verdict_text(result: PairedResult) -> str:
    """Return whether the arm is non-inferior, with the one-sided bound that decides it.

    Example:
        >>> from nnunet_iac.statistics.paired import compare_with_control
        >>> result, = compare_with_control([80, 81, 82], [[78.5, 79.5, 80.5]], margin=1, higher_is_better=True)
        >>> verdict_text(result)
        'no (-1.50)'
    """
    return f"{'yes' if result.non_inferior else 'no'} ({result.bound:+.2f})"
