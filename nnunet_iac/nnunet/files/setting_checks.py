"""What a setting may be: a check and the words for it, kept beside its default in a dataclass's field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field
from typing import Any

Check = tuple[Callable[[Any], bool], str]


def integer(low: int, high: int | None = None) -> Check:
    """Whole numbers in a range, both ends included; ``true`` is none."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    return (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v and (high is None or v <= high),
        expected,
    )


def number(low: float, high: float) -> Check:
    """Numbers above ``low``, up to ``high``."""
    return (
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low < v <= high,
        f"a number above {low:g} and up to {high:g}",
    )


def number_from(low: float, high: float) -> Check:
    """Numbers from ``low`` on, up to ``high``."""
    return (
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high,
        f"a number from {low:g} to {high:g}",
    )


def one_of(*values: Any) -> Check:
    """These values, of the very type: 1 is not ``true``."""
    listed = ", ".join(json.dumps(v) for v in values)
    return lambda v: any(v == w and type(v) is type(w) for w in values), f"one of {listed}"


def text() -> Check:
    """Text that is not blank."""
    return lambda v: isinstance(v, str) and bool(v.strip()), "text"


def either(value: str, check: Check) -> Check:
    """One word besides what another check lets through."""
    return lambda v: v == value or check[0](v), f"{check[1]}, or {json.dumps(value)}"


def or_null(check: Check) -> Check:
    """``null`` besides what another check lets through."""
    return lambda v: v is None or check[0](v), f"{check[1]}, or null"


def setting(default: Any, check: Check, meaning: str) -> Any:
    """A field with its default, the check and what it means, in words."""
    return field(default=default, metadata={"check": check, "meaning": meaning})
