"""What a probe tells people while it runs: its networks by name, and how long it will still take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType(
    {"identity": "continued training", "random": "random cells", "searched": "searched cells"}
)
"""The arms in words."""


def to_go(done: Mapping[str, Sequence[float]], left: Sequence[str]) -> str:
    """Return how long the trainings that are left will take, from the seconds of those that are done.

    A training takes as long as the mean of its own arm, or of all arms where none of its own is done. A search that
    was not timed yet is named, not guessed.

    Args:
        done: seconds of the finished trainings by arm, at least one.
        left: the arm of each training that is left.

    Example:
        >>> to_go({"identity": [100.0], "random": [140.0]}, ["identity", "random", "random"])
        'about 6 minutes to go'
        >>> to_go({"identity": [20.0]}, ["searched"])
        'less than a minute to go, and the time of the search'
    """
    all_seconds = [second for of_arm in done.values() for second in of_arm]
    seconds = sum(_mean(done.get(arm) or all_seconds) for arm in left)
    search = ", and the time of the search" if "searched" in left and not done.get("searched") else ""
    return f"{in_words(seconds)} to go{search}"


def in_words(seconds: float) -> str:
    """Return a duration as one says it.

    Example:
        >>> in_words(30), in_words(70), in_words(720), in_words(9000)
        ('less than a minute', 'about a minute', 'about 12 minutes', 'about 2.5 hours')
    """
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
