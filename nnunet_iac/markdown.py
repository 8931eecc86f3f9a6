"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table_text(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table, without a line break at its end; bars within cells are escaped.

    Raises:
        ValueError: if a row has not as many cells as the head.

    Example:
        >>> print(table_text(["arm", "Dice"], [["a|b", "84.1"]]))
        | arm | Dice |
        | --- | --- |
        | a\\|b | 84.1 |
    """
    rows = [head, ["---"] * len(head), *body]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"body: expected rows of {len(head)} cells, got one of {len(row)}: {list(row)}")
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
