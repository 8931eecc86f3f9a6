"""Holm's correction as it is defined: the smallest level at which the step-down procedure rejects a hypothesis."""

from __future__ import annotations

from collections.abc import Sequence


def rejected(p_values: Sequence[float], level: float) -> set[int]:
    """Step down from the smallest p-value; stop at the first that is too large for what is left."""
    left = sorted(range(len(p_values)), key=lambda index: p_values[index])
    found: set[int] = set()
    while left and p_values[left[0]] * len(left) <= level:
        found.add(left.pop(0))
    return found


def corrected(p_values: Sequence[float]) -> list[float]:
    """Try every level at which anything can change; a p-value that is never rejected is 1."""
    levels = sorted(p * count for p in p_values for count in range(1, len(p_values) + 1))
    return [
        min([1.0, *(level for level in levels if index in rejected(p_values, level))]) for index in range(len(p_values))
    ]
