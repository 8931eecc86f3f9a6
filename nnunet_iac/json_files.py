"""Read JSON that may come from anywhere: whatever is wrong with it is a ``ValueError``.

``json.loads`` answers a file that nests a few thousand lists with ``RecursionError``, and what it just reads makes
``copy.deepcopy`` fail later. Our choice: a file that nests deeper than anything this package or nnU-Net writes is a
damaged one like any other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEEPEST = 64
"""Lists and objects inside each other; plans and traces have fewer than ten."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; bytes are UTF-8.

    Raises:
        ValueError: if it is not JSON, not UTF-8, nests deeper than :data:`DEEPEST`, or has a number of more digits
            than Python reads.

    Example:
        >>> parse_json("[1, 2]")
        [1, 2]
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it nests more than 64 lists and objects
    """
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        value = None
        is_too_deep = True
    else:
        is_too_deep = _nests_deeper(value, DEEPEST)
    if is_too_deep:
        raise ValueError(f"it nests more than {DEEPEST} lists and objects")
    return value


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        ValueError: as :func:`parse_json`; the caller says which file and what helps.
        OSError: from the file system.
    """
    return parse_json(path.read_bytes())


def _nests_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [one for part in level if isinstance(part, (dict, list)) for one in _items(part)]
        if not level:
            return False
    return True


def _items(part: dict[str, Any] | list[Any]) -> list[Any]:
    return list(part.values()) if isinstance(part, dict) else part
