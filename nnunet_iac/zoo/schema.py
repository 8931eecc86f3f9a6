"""The zoo's SQLite file: made whole, opened with care, migrated in one transaction, refused if it is newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nnunet_iac.atomic import replacing
from nnunet_iac.zoo.shown import escaped

FILE = "zoo.sqlite"
"""Name of the index in a zoo's folder."""

WAL = "zoo.sqlite-wal"
"""SQLite's write-ahead log beside it; there while a process writes, or after one was killed."""

APPLICATION_ID = 0x6E6E7A6F
"""``PRAGMA application_id`` that tells a zoo from other SQLite files (``nnzo``)."""

BUSY_S = 60.0
"""Seconds to wait for another process that holds SQLite's own lock."""

NO_ROOM = ("database or disk is full", "disk I/O error", "unable to open database file", "attempt to write a readonly")
"""How SQLite begins to say that it cannot write what it needs beside an index, even to read it."""

PASSING = (
    *NO_ROOM,
    *("database is locked", "database table is locked", "database schema is locked", "locking protocol"),
    *("out of memory", "interrupted"),
)
"""How SQLite begins to say what is wrong around an index (Python 3.10 keeps no codes); all else is damage."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE entries (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, dataset TEXT NOT NULL,
            configuration TEXT NOT NULL, trainer TEXT NOT NULL, dimensions INTEGER NOT NULL,
            channels INTEGER NOT NULL, parameters INTEGER NOT NULL, weights TEXT NOT NULL, created TEXT NOT NULL,
            record TEXT NOT NULL, digest TEXT NOT NULL)""",
        "CREATE INDEX entries_by_shape ON entries (dimensions, channels)",
        "CREATE INDEX entries_by_dataset ON entries (dataset)",
        "CREATE INDEX entries_by_weights ON entries (weights)",
    ),
)
"""Statements that lead from each schema version to the next; a file of version n has had the first n steps."""


def create_database(path: Path) -> None:
    """Write an empty index of the current schema, whole or not at all."""
    with replacing(path) as temporary:
        with _translated(str(path)), closing(_connect(temporary)) as connection:
            # Where the file system has no shared memory SQLite keeps its rollback journal, which is as safe.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(connection, str(path))


@contextmanager
def connected(path: Path, *, read_only: bool = False, name: str | None = None) -> Iterator[sqlite3.Connection]:
    """Open an index, of which an older schema is migrated first.

    Statements commit one by one, unless inside :func:`transaction`.

    Args:
        path: the file; it must lie in a folder that can be written to, even if it is only read (SQLite's WAL).
        read_only: refuse statements that write.
        name: of the index for messages, where the file is a copy.

    Raises:
        ValueError: if it is no index of a zoo, damaged, or of a newer schema.
        OSError: if it cannot be opened, or another process holds it for too long.
    """
    shown = name or str(path)
    with _translated(shown), closing(_connect(path)) as connection:
        _check(connection, shown)
        if _number(connection, "user_version") < len(MIGRATIONS):
            _migrate(connection, shown)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        yield connection


def lacks_room(error: OSError) -> bool:
    """Whether :func:`connected` could not open an index for want of room or rights, so that a copy may do."""
    return isinstance(error.__cause__, sqlite3.OperationalError) and str(error.__cause__).startswith(NO_ROOM)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the block's statements together, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path) -> sqlite3.Connection:
    location = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(location, uri=True, timeout=BUSY_S, isolation_level=None)
    # A text that is not UTF-8 is a damaged cell of one row, not the end of reading.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    # An index may come from elsewhere: what its schema says is not run, and cells are checked while they are read.
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _check(connection: sqlite3.Connection, path: str) -> None:
    if _number(connection, "application_id") != APPLICATION_ID:
        raise ValueError(f"zoo: expected an index of nnunet-iac, {path} is none; give a zoo's folder, or restore it")
    version = _number(connection, "user_version")
    if version > len(MIGRATIONS):
        raise ValueError(
            f"zoo: expected schema {len(MIGRATIONS)} or older, got {version} in {path}; it was written by a newer "
            "nnunet-iac: install that version (pip install --upgrade nnunet-iac)"
        )


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    try:
        with transaction(connection):
            version = _number(connection, "user_version")  # another process may have been faster
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
    except sqlite3.OperationalError as error:
        if str(error).startswith(PASSING):
            raise
        raise OSError(
            f"zoo: expected to bring {path} from schema {version} to {len(MIGRATIONS)}, SQLite says: {error}; nothing "
            "was changed: restore it from an export"
        ) from error


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Raise what SQLite says as errors that name the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and str(error).startswith(PASSING):
            raise OSError(
                f"zoo: expected to use {path}, SQLite says: {error}; is another process writing for very long, the "
                "disk full, or the folder on a network drive?"
            ) from error
        raise ValueError(
            f"zoo: expected an SQLite file, {path} is damaged ({escaped(str(error))}); restore it from an export, the "
            "weights beside it are not touched"
        ) from error
