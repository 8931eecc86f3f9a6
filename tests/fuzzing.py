"""Random JSON, random changes of valid JSON and of valid files: a parser takes them or says in words what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

few = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The same few examples in every run."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([10**30, -(10**30), 1e308, float("nan"), float("inf"), 0.5, "", "2d", "schema", "\0", "é" * 300])
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changes(draw: st.DrawFn, valid: Any) -> Any:
    """Valid JSON in which one to three places hold something else, are gone or are new."""
    content = deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            return draw(json_values)
        holder, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(("replace", "replace", "remove", "add")))
        if what == "remove":
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(json_values)
        else:
            holder[key] = draw(json_values)
    return content


def jsons(valid: Any) -> st.SearchStrategy[Any]:
    """Changed or entirely other JSON."""
    return changes(valid) | json_values


def files(valid: bytes) -> st.SearchStrategy[bytes]:
    """The content of a file with a few other bytes, cut, or with bytes in between."""
    places = st.integers(0, max(0, len(valid) - 1))

    def flip(spots: list[tuple[int, int]]) -> bytes:
        content = bytearray(valid)
        for place, value in spots:
            content[place] ^= value
        return bytes(content)

    return (
        st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=4).map(flip)
        | places.map(lambda end: valid[:end])
        | st.tuples(places, st.binary(min_size=1, max_size=9)).map(lambda at: valid[: at[0]] + at[1] + valid[at[0] :])
        | st.binary(max_size=40)
    )


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def takes_or_says(parse: Callable[..., Any], *arguments: Any, named: tuple[str, ...]) -> None:
    """Check that an error is a ValueError whose message has one of these words in it."""
    try:
        parse(*arguments)
    except ValueError as error:
        assert any(name in str(error) for name in named), f"{error!r} names none of {named}"


def _places(content: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting:
        part = waiting.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        found += [(part, key) for key in keys]
        waiting += [part[key] for key in keys]
    return found
