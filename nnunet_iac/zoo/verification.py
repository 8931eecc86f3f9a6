"""Is everything in a zoo what it says it is? Hashes, orphans, what killed writers left."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_iac.zoo import entries, weights_files
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.schema import lacks_room
from nnunet_iac.zoo.shown import escaped, shown_id
from nnunet_iac.zoo.store import Zoo

TEMPORARY = re.compile(r"\..+\.tmp(-wal|-shm|-journal)?")
"""Names of files that a writer had not finished."""

Fault = Literal["damaged index", "damaged entry", "missing weights", "unreadable weights", "corrupt weights"]
What = Literal[Fault, "orphan weights", "leftover"]

LEFTOVERS: tuple[What, ...] = ("orphan weights", "leftover")
"""What a killed writer leaves: nothing that was committed, so it may be removed."""

UNHASHED: tuple[What, ...] = ("missing weights", "unreadable weights")
"""Files whose content nobody saw."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: a fault, or what a killed writer left, which loses nothing.

    Attributes:
        what: its kind; see :data:`LEFTOVERS` for those that are no faults.
        where: entry or file.
        detail: more in words, with what to do.
        removed: whether it was removed.
    """

    what: What
    where: str
    detail: str
    removed: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether something that was committed is lost or in doubt."""
        return self.what not in LEFTOVERS


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found.

    Attributes:
        entries: how many there are.
        files: how many files of weights were hashed.
        findings: faults, and what killed writers left.
    """

    entries: int
    files: int
    findings: tuple[Finding, ...]

    @property
    def is_fine(self) -> bool:
        """Whether there is no fault; what killed writers left is none."""
        return not any(finding.is_fault for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"schema": 1, "is_fine": self.is_fine, **asdict(self)}


def verify(zoo: Zoo, *, repair: bool = False) -> Verification:
    """Check the index, each entry's digest, each file's hash, and that entries and files belong together.

    In a folder that can be written to, writers wait meanwhile. At a URL orphans and leftovers are not looked for.

    Args:
        zoo: the zoo.
        repair: delete what killed writers left (see :data:`LEFTOVERS`); nothing else, and nothing if the index is
            damaged.

    Raises:
        FileNotFoundError: if there is no zoo.
        ValueError: if the index cannot be read at all, or ``repair`` is asked for where it cannot be.
    """
    folder = zoo.place.folder
    if repair or (folder is not None and os.access(folder, os.W_OK)):
        try:
            with zoo.locked() as (path, connection):
                return _verify(zoo, connection, path, repair)
        except OSError as error:
            if repair or not lacks_room(error):
                raise  # else the disk is full: nobody can write, and a copy of the index can be read
    with zoo.place.index() as connection:
        return _verify(zoo, connection, folder, False)


def _verify(zoo: Zoo, connection: sqlite3.Connection, folder: Path | None, repair: bool) -> Verification:
    rows = entries.raw_rows(connection)
    findings = list(_index_findings(connection))
    whole: list[Entry] = []
    for row in rows:
        try:
            whole.append(entries.parse(row))
        except ValueError as error:
            findings.append(Finding("damaged entry", shown_id(row[0]), str(error)))
    named = {entry.weights: entry for entry in whole}
    of_weights = [finding for entry in named.values() for finding in _weights_findings(zoo, entry)]
    hashed = len(named) - sum(finding.what in UNHASHED for finding in of_weights)
    findings += of_weights
    if folder is not None:
        # A damaged row may have lost the name of its weights: then no file counts as an orphan.
        is_whole = not any(finding.what.startswith("damaged") for finding in findings)
        findings += _leftovers(folder, entries.referenced_weights(connection), repair and is_whole)
    return Verification(len(rows), hashed, tuple(findings))


def _index_findings(connection: sqlite3.Connection) -> Iterator[Finding]:
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield Finding("damaged index", "zoo.sqlite", f"{escaped(str(message))}; restore it from an export")


def _weights_findings(zoo: Zoo, entry: Entry) -> Iterator[Finding]:
    name = weights_files.weights_name(entry.weights)
    try:
        zoo.read_weights(entry)
    except FileNotFoundError:
        detail = f"of entry {entry.id}; add the network again, or remove the entry"
        yield Finding("missing weights", name, detail)
    except OSError as error:
        yield Finding("unreadable weights", name, str(error))
    except ValueError as error:
        yield Finding("corrupt weights", name, f"of entry {entry.id}: {error}")


def _leftovers(folder: Path, referenced: set[object], repair: bool) -> Iterator[Finding]:
    orphans = sorted(weights_files.stored_hashes(folder) - referenced)
    found: list[tuple[What, Path]] = [("orphan weights", folder / weights_files.weights_name(h)) for h in orphans]
    for parent in (folder, folder / weights_files.FOLDER):
        inside = sorted(parent.iterdir()) if parent.is_dir() else []
        found += [("leftover", path) for path in inside if TEMPORARY.fullmatch(path.name)]
    for what, path in found:
        detail = "a writer that was killed left it" if what == "leftover" else "no entry names it"
        problem = _problem_of_removing(path) if repair else None
        detail += (
            f"; it could not be removed: {problem}" if problem else "; --repair removes it where the index is whole"
        )
        yield Finding(what, path.relative_to(folder).as_posix(), detail, repair and not problem)


def _problem_of_removing(path: Path) -> str | None:
    """Delete a file; return why it could not be."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None
