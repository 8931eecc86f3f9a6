"""Rows of the zoo's index: an entry as JSON with its digest, and columns to search by."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_iac.json_files import parse_json
from nnunet_iac.zoo.entry import JOINED, Entry
from nnunet_iac.zoo.shown import escaped, shown_id

COLUMNS = (
    *("id", "kind", "name", "dataset", "configuration", "trainer", "dimensions", "channels"),
    *("parameters", "weights", "created", "record", "digest"),
)


@dataclass(frozen=True)
class Query:
    """Which entries are wanted; None is any.

    Attributes:
        kind: such as ``network``.
        dimensions: 2 or 3.
        channels: how many image channels.
        dataset: name, or number as nnU-Net's ``-d`` takes it; entries of several data sets are found by each of them.
    """

    kind: str | None = None
    dimensions: int | None = None
    channels: int | None = None
    dataset: str | None = None


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry's row, in place of one with the same id.

    Raises:
        ValueError: if it could not be read back.
    """
    row = _row(entry)
    try:
        parse(row)
    except ValueError as error:
        raise ValueError(
            f"entry {entry.id}: expected one that can be read back, got {entry.name!r} ({error.__cause__}); nothing "
            "was written: say less about it"
        ) from error
    places = ", ".join("?" * len(COLUMNS))
    connection.execute(f"INSERT OR REPLACE INTO entries ({', '.join(COLUMNS)}) VALUES ({places})", row)


def select(connection: sqlite3.Connection, query: Query) -> list[Entry]:
    """Return the entries that fit a query, by data set, configuration and name.

    Raises:
        ValueError: if a row is damaged.
    """
    conditions, values = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM entries{where} ORDER BY dataset, configuration, name, id", values
    )
    return [parse(row) for row in rows]


def raw_rows(connection: sqlite3.Connection, identity: str | None = None) -> list[tuple[object, ...]]:
    """Return all rows (or that of one id) as they are, for :func:`parse` one by one."""
    where, values = (" NOT INDEXED", ()) if identity is None else (" WHERE id = ?", (identity,))
    return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM entries{where} ORDER BY id", values).fetchall()


def find(connection: sqlite3.Connection, start: str) -> int:
    """Return the number (SQLite's ``rowid``) of the row whose id, as it is shown, is or starts so.

    Raises:
        ValueError: if none or several do; the message lists some.
    """
    # A damaged id may be no text that SQLite finds again, and its search trees may say something else than the rows.
    rows = connection.execute("SELECT rowid, id, name FROM entries NOT INDEXED ORDER BY id").fetchall()
    known = [(number, shown_id(identity), escaped(str(name))) for number, identity, name in rows]
    found = [row for row in known if row[1] == start] or [row for row in known if start and row[1].startswith(start)]
    if len(found) == 1:
        return int(found[0][0])
    shown = [f"{row[1]} ({row[2]})" for row in (found or known)]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    raise ValueError(
        f"id: expected the start of one entry's id, {start!r} is that of {len(found)}; "
        + (f"there are {', '.join(shown[:5])}{more}" if shown else "the zoo is empty: nnunet-iac zoo add FOLDER")
    )


def row_at(connection: sqlite3.Connection, number: int) -> tuple[object, ...]:
    """Return the row of a number that :func:`find` gave."""
    statement = f"SELECT {', '.join(COLUMNS)} FROM entries NOT INDEXED WHERE rowid = ?"
    return tuple(connection.execute(statement, (number,)).fetchone())


def delete(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Remove rows, inside a transaction."""
    statement, values = "DELETE FROM entries WHERE rowid = ?", [(number,) for number in numbers]
    try:
        connection.executemany(statement, values)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        # A row or the trees that SQLite searches it by were damaged: made again of the rows, they fit.
        connection.execute("REINDEX entries")
        connection.executemany(statement, values)


def referenced_weights(connection: sqlite3.Connection) -> set[object]:
    """Return the hashes of all weights that entries name; of damaged ones, whatever they have in its place."""
    return {row[0] for row in connection.execute("SELECT weights FROM entries NOT INDEXED")}


def parse(row: Sequence[object]) -> Entry:
    """Return the entry of a row.

    Raises:
        ValueError: if the row is damaged: its record is not what was written, or the columns say something else.
    """
    record, digest = row[COLUMNS.index("record")], row[COLUMNS.index("digest")]
    try:
        if not isinstance(record, str) or _digest(record) != digest:
            raise ValueError("its digest does not fit")
        entry = Entry.from_dict(parse_json(record))
        if tuple(row)[:-2] != _row(entry)[:-2]:
            raise ValueError("its columns do not fit its record")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"zoo: expected entry {shown_id(row[0])} as it was written, its row is damaged or was changed "
            f"({escaped(str(error))}); remove it with nnunet-iac zoo remove and add it again"
        ) from error
    return entry


def _row(entry: Entry) -> tuple[object, ...]:
    record = json.dumps(entry.to_dict())
    searched = {"channels": len(entry.channels), "record": record, "digest": _digest(record)}
    return tuple(searched[name] if name in searched else getattr(entry, name) for name in COLUMNS)


def _digest(record: str) -> str:
    return hashlib.sha256(record.encode("utf-8", "surrogateescape")).hexdigest()


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    conditions, values = [], []
    for name in ("kind", "dimensions", "channels"):
        if getattr(query, name) is not None:
            conditions.append(f"{name} = ?")
            values.append(getattr(query, name))
    if query.dataset is not None:
        # What an entry of several data sets has between their names stands around each of them here.
        names = f"'{JOINED}' || dataset || '{JOINED}'"
        if query.dataset.isdecimal():
            conditions.append(f"{names} LIKE ? ESCAPE '\\'")
            values.append(f"%{JOINED}Dataset{int(query.dataset):03d}\\_%")
        else:
            conditions.append(f"instr({names}, ?) > 0")
            values.append(f"{JOINED}{query.dataset}{JOINED}")
    return conditions, values
