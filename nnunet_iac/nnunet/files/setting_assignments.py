"""Settings as people write them on a command line: ``search.epochs=50``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnunet_iac.json_files import parse_json


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn ``search.epochs=50`` into the block ``{"search": {"epochs": 50}}``; values are JSON, or plain words.

    Raises:
        ValueError: naming every text that is not ``section.key=value``.

    Example:
        >>> parse_assignments(["search.epochs=50", "search.host=joint"])
        {'search': {'epochs': 50, 'host': 'joint'}}
    """
    block: dict[str, Any] = {}
    wrong = []
    for text in assignments:
        name, equals, value = text.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            wrong.append(text)
            continue
        block.setdefault(section, {})[key] = _value(value)
    if wrong:
        raise ValueError(f"--set: expected section.key=value (such as search.epochs=50), got {wrong}")
    return block


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text
