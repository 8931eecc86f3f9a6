"""Where a zoo lies: a folder, or any URL that fsspec reads. What cannot be locked is copied before it is read."""

from __future__ import annotations

import io
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from nnunet_iac.zoo.locations import archive_hint, file_system, missing_index
from nnunet_iac.zoo.schema import FILE, WAL, connected, lacks_room

INDEX_LIMIT = 4 << 30
"""Bytes that an index from elsewhere may have."""

TRIES = 5

_BLOCK = 1 << 20


class Place(Protocol):
    """Where a zoo's files are read."""

    name: str
    """For messages."""

    folder: Path | None
    """None if it is not a folder of this machine."""

    def read(self, name: str, limit: int) -> bytes:
        """Return at most ``limit + 1`` bytes of a file (one more, so that too many show).

        Raises:
            FileNotFoundError: if it is not there.
            OSError: if it cannot be read.
        """

    def stamp(self, name: str) -> object | None:
        """Return what changes whenever the file does, None if it is not there."""

    def index(self) -> Any:
        """Open the index for reading, as a context manager."""


class FolderPlace:
    """A folder of this machine.

    Where it cannot be written to, or its disk is full, SQLite cannot lock the index, and it is copied to a temporary
    folder first.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.folder: Path | None = folder
        self._folder = folder

    def read(self, name: str, limit: int) -> bytes:
        """See :class:`Place`."""
        with (self._folder / name).open("rb") as file:
            return _read_at_most(file, limit + 1)

    def stamp(self, name: str) -> object | None:
        """See :class:`Place`."""
        path = self._folder / name
        if not path.is_file():
            return None
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    @contextmanager
    def index(self) -> Iterator[sqlite3.Connection]:
        """Open the index for reading.

        Raises:
            FileNotFoundError: if the folder has none.
        """
        path = self._folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"zoo: expected the folder of a zoo, got {self._folder}: {missing_index(self._folder)}"
            )
        with ExitStack() as stack:
            if os.access(path, os.W_OK) and os.access(self._folder, os.W_OK):
                try:
                    connection = stack.enter_context(connected(path, read_only=True, name=f"{FILE} of {self.name}"))
                except OSError as error:
                    if not lacks_room(error):
                        raise
                    connection = stack.enter_context(_copied(self))
            else:
                connection = stack.enter_context(_copied(self))
            yield connection


class RemotePlace:
    """A URL that fsspec reads: ``https``, ``s3``, ``zip::…`` and others.

    The index is copied at the first look; weights are fetched when they are asked for.

    Raises:
        ValueError: if fsspec, or what it needs for this protocol, is not installed, or the URL is none.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self.folder: Path | None = None
        self._files, self._root = file_system(url)
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def read(self, name: str, limit: int) -> bytes:
        """See :class:`Place`."""
        try:
            with self._files.open(self._path(name), "rb") as file:
                return _read_at_most(file, limit + 1)
        except FileNotFoundError:
            raise
        except Exception as error:  # each protocol has errors of its own
            raise OSError(f"zoo: expected to read {name} of {self.name}, got {error!r}") from error

    def stamp(self, name: str) -> object | None:
        """See :class:`Place`."""
        try:
            return str(sorted(self._files.info(self._path(name)).items(), key=str))
        except FileNotFoundError:
            return None
        except Exception as error:  # each protocol has errors of its own
            raise OSError(f"zoo: expected to look at {name} of {self.name}, got {error!r}") from error

    @contextmanager
    def index(self) -> Iterator[sqlite3.Connection]:
        """Open the index as it was at the first look.

        Raises:
            FileNotFoundError: if there is none.
        """
        if self._copy is None:
            copy: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory()
            try:
                copy_index(self, Path(copy.name))
            except OSError as error:
                if not (hint := archive_hint(self.name, self.name)):
                    raise
                kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
                raise kind(f"{error}{hint}") from error
            self._copy = copy
        with connected(Path(self._copy.name) / FILE, read_only=True, name=f"{FILE} of {self.name}") as connection:
            yield connection

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if self._root else name


def place_of(location: str | os.PathLike[str]) -> Place:
    """Return the place that a path or a URL names.

    Example:
        >>> place_of("zoo").folder
        PosixPath('zoo')
    """
    text = os.fspath(location)
    return RemotePlace(text) if "://" in text else FolderPlace(Path(text))


def copy_index(place: Place, folder: Path) -> None:
    """Copy an index with its write-ahead log, as they were at one moment.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it keeps changing meanwhile.
    """
    for attempt in range(TRIES):
        before = place.stamp(FILE), place.stamp(WAL)
        if before[0] is None:
            raise FileNotFoundError(f"zoo: expected a zoo, found no {FILE} in {place.name}")
        try:
            contents = {name: place.read(name, INDEX_LIMIT) for name, s in zip((FILE, WAL), before, strict=True) if s}
        except FileNotFoundError:
            continue  # a writer has just emptied and removed its log
        if (place.stamp(FILE), place.stamp(WAL)) == before:
            _check_size(contents, place)
            _write_all(contents, folder)
            return
        time.sleep(0.1 * 2**attempt)
    raise OSError(f"zoo: expected {FILE} to stand still while it is copied, {place.name} changed {TRIES} times; wait")


def _read_at_most(file: IO[bytes], size: int) -> bytes:
    """Read in blocks: ``read(size)`` makes room for all of it first, and the size may be forged."""
    content = io.BytesIO()
    while block := file.read(min(_BLOCK, size - content.tell())):
        content.write(block)
    return content.getvalue()


@contextmanager
def _copied(place: Place) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory() as temporary:
        copy_index(place, Path(temporary))
        with connected(Path(temporary) / FILE, read_only=True, name=f"{FILE} of {place.name}") as connection:
            yield connection


def _write_all(contents: dict[str, bytes], folder: Path) -> None:
    try:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise OSError(
            f"zoo: expected room for a copy of {FILE} in {folder.parent}, got {error.strerror}; make room there, or "
            "set TMPDIR to another folder"
        ) from error


def _check_size(contents: dict[str, bytes], place: Place) -> None:
    for name, content in contents.items():
        if len(content) > INDEX_LIMIT:
            raise ValueError(f"zoo: expected an index of at most {INDEX_LIMIT} bytes, {name} of {place.name} has more")
