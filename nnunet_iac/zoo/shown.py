"""Text of an entry as a terminal may have it: an index may come from elsewhere, or be damaged."""

from __future__ import annotations

import json


def escaped(text: str) -> str:
    """Return text with what cannot be printed as backslash escapes, so that it can be copied.

    Example:
        >>> print(escaped("a\\x1b[31m\\n"), escaped("Hölle"))
        a\\x1b[31m\\n Hölle
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str) -> str:
    """Return text as it is if it is one line that can be printed, else as a JSON string.

    Example:
        >>> print(quoted("T1"), quoted("T1\\x1b[31m"))
        T1 "T1\\u001b[31m"
    """
    return text if text.isprintable() else json.dumps(text)


def shown_id(value: object) -> str:
    """Return an entry's id as it is shown and asked for; a damaged one may be anything that SQLite holds.

    Example:
        >>> print(shown_id("0123"), shown_id("01\\udc80"), shown_id(b"01"), shown_id(""))
        0123 01\\udc80 x3031 ""
    """
    if isinstance(value, bytes):
        return f"x{value.hex()}"
    return escaped(str(value)) or '""'
