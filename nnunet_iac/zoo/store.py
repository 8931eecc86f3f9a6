"""The zoo: an SQLite index of entries and weights named by their content, in one folder.

Writers take turns under a file lock, which the operating system releases when one is killed. Weights are on the disk
before their entry is committed and are deleted after theirs is gone, so what a killed writer leaves is at most a file
that no entry names; :func:`nnunet_iac.zoo.verification.verify` finds it. Readers wait for nobody. The lock and SQLite's
write-ahead log work between processes of one machine; on a network drive let one machine write at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from nnunet_iac.zoo import entries, weights_files
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Description, Entry, entry_of
from nnunet_iac.zoo.places import place_of
from nnunet_iac.zoo.replacement import replacement
from nnunet_iac.zoo.schema import FILE, connected, create_database, transaction
from nnunet_iac.zoo.shown import shown_id
from nnunet_iac.zoo.writers import check_vacant, turn, writing_to

EVERYTHING = Query()


@dataclass(frozen=True)
class Added:
    """What became of an entry that was added.

    Attributes:
        entry: what the zoo holds now.
        what: ``added``; ``kept`` if it was there already; ``replaced`` if its scores or other facts were; ``licensed``
            if nothing but a licence was added to it.
    """

    entry: Entry
    what: str


class Zoo:
    """A zoo in a folder or, for reading, at any URL that fsspec reads.

    Args:
        location: the folder or URL. Nothing is opened yet.
        name: of the zoo for messages, where the folder is a copy.

    Example:
        >>> import tempfile
        >>> zoo = Zoo.create(tempfile.mkdtemp())
        >>> about = Description(kind="network", name="a", dataset="Dataset001_A", plans={}, configuration="2d",
        ...     trainer="nnUNetTrainer", channels=("CT",), spacing=(1, 1), patch_size=(64, 64))
        >>> added = zoo.add(about, {"w": torch.ones(3)})
        >>> zoo.read_weights(zoo.entry(added.entry.id))
        {'w': tensor([1., 1., 1.])}
    """

    def __init__(self, location: str | os.PathLike[str], name: str | None = None) -> None:
        self.place = place_of(location)
        self.place.name = name or self.place.name

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> Zoo:
        """Open the zoo in a folder, which is made (an empty zoo) if there is none.

        Raises:
            OSError: if the folder cannot be made or written to.
            ValueError: if the folder holds other things, weights whose index was lost too, or ``folder`` is a URL.
        """
        zoo = cls(folder)
        path = zoo._folder()
        with writing_to(path):
            path.mkdir(parents=True, exist_ok=True)
            if not (path / FILE).is_file():
                check_vacant(path)  # before the lock, which would be left there
            with turn(path):
                if not (path / FILE).is_file():  # another process may have been faster
                    (path / weights_files.FOLDER).mkdir(exist_ok=True)
                    create_database(path / FILE)
        return zoo

    def entries(self, query: Query = EVERYTHING) -> list[Entry]:
        """Return the entries that fit a query (default: all), by data set, configuration and name.

        Raises:
            FileNotFoundError: if there is no zoo.
            ValueError: if the index is damaged or of a newer schema.
        """
        with self.place.index() as connection:
            return entries.select(connection, query)

    def entry(self, start: str) -> Entry:
        """Return the entry whose id is or starts with ``start``.

        Raises:
            FileNotFoundError: if there is no zoo.
            ValueError: if none or several fit, or the entry is damaged.
        """
        with self.place.index() as connection:
            return entries.parse(entries.row_at(connection, entries.find(connection, start)))

    def read_weights(self, entry: Entry) -> dict[str, torch.Tensor]:
        """Return an entry's tensors, on the CPU.

        Raises:
            FileNotFoundError: if the file is missing.
            OSError: if it cannot be read.
            ValueError: if it is corrupt or was tampered with; the message names it.
        """
        return weights_files.from_bytes(self.read_weights_file(entry))

    def read_weights_file(self, entry: Entry) -> bytes:
        """Return the content of an entry's weights file; it is that of the hash.

        Raises:
            FileNotFoundError: as :meth:`read_weights`.
            OSError: as :meth:`read_weights`.
            ValueError: as :meth:`read_weights`.
        """
        name = weights_files.weights_name(entry.weights)
        try:
            content = self.place.read(name, entry.weights_bytes)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"weights: expected {name} of entry {entry.id} in {self.place.name}, found none; the entry was removed "
                "meanwhile, or run nnunet-iac zoo verify"
            ) from error
        except (OSError, MemoryError) as error:
            raise OSError(
                f"weights: expected to read {name} of entry {entry.id} in {self.place.name}, got {_reason(error)}; "
                "make it readable, or delete it and add the network again"
            ) from error
        weights_files.check_content(content, entry.weights, f"{self.place.name}: {name}")
        return content

    def add(
        self,
        about: Description,
        tensors: Mapping[str, torch.Tensor],
        *,
        replace: bool = False,
        keep_name: bool = False,
    ) -> Added:
        """Store weights and what is said about them; both, or nothing.

        Args:
            about: the description.
            tensors: the weights, each once.
            replace: if the very same network is there already, let this description's scores, provenance and other
                facts take the place of those that it has. A licence stays where the description has none.
            keep_name: if it is replaced, let it keep its name too.

        Raises:
            FileNotFoundError: if there is no zoo.
            ValueError: if a tensor cannot be stored, or the zoo is read only.
            OSError: from the file system; nothing changed then.
        """
        content = weights_files.to_bytes(tensors)
        entry = entry_of(
            about,
            weights=weights_files.sha256_of(content),
            weights_bytes=len(content),
            parameters=sum(tensor.numel() for tensor in tensors.values()),
        )
        return self.add_entry(entry, content, replace=replace, keep_name=keep_name)

    def add_entry(self, entry: Entry, content: bytes, *, replace: bool = False, keep_name: bool = False) -> Added:
        """Store an entry of another zoo with the content of its weights file; see :meth:`add`."""
        weights_files.check_content(content, entry.weights, f"what is given for entry {entry.id}")
        with self._writing() as connection:
            there = entries.raw_rows(connection, entry.id)
            if there and not replace:
                weights_files.store(self._folder(), content)  # heals a file that was damaged
                return Added(entries.parse(there[0]), "kept")
            if there:
                entry = replacement(entry, there[0], keep_name=keep_name)
            self._write(connection, entry, content)
        return Added(entry, "replaced" if there else "added")

    def remove(self, starts: Sequence[str]) -> list[str]:
        """Remove entries by (the start of) their ids, and weights that no other entry names; return the ids.

        Raises:
            FileNotFoundError: if there is no zoo.
            ValueError: if one is not there; nothing is removed then.
        """
        with self._writing() as connection:
            numbers = list(dict.fromkeys(entries.find(connection, start) for start in starts))
            rows = [entries.row_at(connection, number) for number in numbers]
            # A row that was forged or damaged may say anything: only the zoo's own files are deleted.
            weights = {name for row in rows if weights_files.is_hash(name := row[entries.COLUMNS.index("weights")])}
            with transaction(connection):
                entries.delete(connection, numbers)
            for sha256 in weights - entries.referenced_weights(connection):
                # The entries are gone: weights that stay are orphans, which verify finds.
                with suppress(OSError):
                    weights_files.remove(self._folder(), sha256)
        return [shown_id(row[0]) for row in rows]

    @contextmanager
    def locked(self) -> Iterator[tuple[Path, sqlite3.Connection]]:
        """Keep writers out and give the folder and the open index.

        Raises:
            FileNotFoundError: if there is no zoo.
            ValueError: if the zoo is not in a folder.
        """
        with self._writing() as connection:
            yield self._folder(), connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        folder = self._folder()
        with self.place.index():  # says what is wrong if there is no zoo
            pass
        with writing_to(folder), turn(folder), connected(folder / FILE) as connection:
            yield connection

    def _write(self, connection: sqlite3.Connection, entry: Entry, content: bytes) -> None:
        is_new = weights_files.store(self._folder(), content)
        try:
            with transaction(connection):
                entries.insert(connection, entry)
        except BaseException:
            if is_new and entry.weights not in entries.referenced_weights(connection):
                weights_files.remove(self._folder(), entry.weights)
            raise

    def _folder(self) -> Path:
        if self.place.folder is None:
            raise ValueError(
                f"zoo: expected a folder to write to, got {self.place.name}, which is read only; import it into a "
                "folder first: nnunet-iac zoo import"
            )
        return self.place.folder


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "too little memory for it"
    return error.strerror or str(error)
