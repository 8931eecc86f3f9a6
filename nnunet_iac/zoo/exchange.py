"""Entries from one zoo to another: export to a folder or an archive, import from a folder, an archive or a URL.

Between folders each entry is on its own: what is wrong with one stops no other, and whoever listens hears of each as
soon as it is there. An archive is written whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnunet_iac.zoo import archives, entries, weights_files
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.packing import packed_files
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Added, Zoo
from nnunet_iac.zoo.writers import writing_to

Listener = Callable[[Added], object]
"""Hears of each entry as soon as it is where it should be."""


def copy_entries(
    source: Zoo,
    target: Zoo,
    starts: Sequence[str] = (),
    *,
    replace: bool = False,
    listener: Listener = lambda added: None,
) -> list[Added]:
    """Copy entries with their weights, each verified, one after the other.

    A copy that was interrupted is gone on with by calling it again: what is there is kept.

    Args:
        source: where from.
        target: where to.
        starts: (starts of) ids; empty means all.
        replace: see :meth:`nnunet_iac.zoo.store.Zoo.add`.
        listener: hears of each entry.

    Raises:
        FileNotFoundError: if a zoo is missing.
        ValueError: if an id is not there (nothing was copied then), or some entries or their weights are damaged or
            cannot be written: all of these are named, and the others are in the target.
        TimeoutError: if others write to the target for too long.
    """
    return _copy(source, lambda: target, starts, replace=replace, listener=listener)


def export_zoo(
    zoo: Zoo, path: Path, starts: Sequence[str] = (), *, listener: Listener = lambda added: None
) -> list[Added]:
    """Write entries as an archive (``.zip``, ``.tar.gz``, ``.tgz``) or, under any other name, into a zoo's folder.

    An archive is written whole or not at all; of the same entries it has the same bytes, whenever it is written. A
    folder may be new, empty or a zoo, which then gets the entries as they are here.

    Raises:
        FileExistsError: if the archive is there already.
        ValueError: as :func:`copy_entries`, or if the folder holds other things.
    """
    if not archives.is_archive_name(path):
        return _copy(zoo, lambda: Zoo.create(path), starts, replace=True, listener=listener)
    chosen, problems = _chosen(zoo, starts)
    if problems:
        raise _not_copied(zoo, problems, len(chosen) + len(problems), "nothing was written")
    if path.exists():
        raise FileExistsError(f"-o: expected a new name, {path} exists; choose another or delete it first")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"-o: expected an existing folder, {path.parent} is none; make it first")
    with writing_to(path.parent, "-o"):
        archives.pack(packed_files(zoo, chosen), path)
    packed = [Added(entry, "added") for entry in chosen]
    for added in packed:
        listener(added)
    return packed


def import_zoo(
    folder: str | os.PathLike[str],
    source: str | os.PathLike[str],
    starts: Sequence[str] = (),
    *,
    replace: bool = False,
    listener: Listener = lambda added: None,
) -> list[Added]:
    """Copy entries from another zoo's folder, archive or URL into the zoo of a folder, which is made if there is none.

    Raises:
        FileNotFoundError: if there is no such zoo.
        ValueError: as :func:`copy_entries`, or if the zoo is damaged, not what a zoo exports, or of a newer schema, or
            ``folder`` holds other things.
    """
    with _opened(source) as other:
        return _copy(other, lambda: Zoo.create(folder), starts, replace=replace, listener=listener)


def _copy(
    source: Zoo, make: Callable[[], Zoo], starts: Sequence[str], *, replace: bool, listener: Listener
) -> list[Added]:
    """Copy entries to a zoo that is made when there is something to put in."""
    chosen, problems = _chosen(source, starts)
    count = len(chosen) + len(problems)
    target = None if count else make()
    copied = []
    for entry in chosen:
        try:
            content = source.read_weights_file(entry)
        except (ValueError, OSError) as error:
            problems.append(f"{_words(entry)}: {error}")
            continue
        target = target or _usable(make())
        try:
            added = target.add_entry(entry, content, replace=replace)
        except ValueError as error:  # an OSError is the target's, and the next entry would meet it too
            problems.append(f"{_words(entry)}: {error}")
            continue
        copied.append(added)
        listener(added)
    if problems:
        done = f"the other {len(copied)} are in {target.place.name}" if target and copied else "nothing was written"
        raise _not_copied(source, problems, count, done)
    return copied


def _usable(target: Zoo) -> Zoo:
    """Return a zoo whose index can be read: what is wrong with that is wrong for every entry."""
    with target.place.index():
        return target


def _chosen(zoo: Zoo, starts: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """Return the entries of these ids, each once, or all; and what is wrong with those whose row is damaged.

    Raises:
        ValueError: if an id is not there or its row is damaged: who names ids can name others.
    """
    if starts:
        return list({entry.id: entry for entry in map(zoo.entry, starts)}.values()), []
    with zoo.place.index() as connection:
        rows = entries.raw_rows(connection)
    found, problems = [], []
    for row in rows:
        try:
            found.append(entries.parse(row))
        except ValueError as error:
            problems.append(str(error))
    return sorted(found, key=lambda entry: (entry.dataset, entry.configuration, entry.name, entry.id)), problems


def _not_copied(source: Zoo, problems: Sequence[str], count: int, done: str) -> ValueError:
    return ValueError(
        f"zoo: expected {count} whole entries in {source.place.name}, {len(problems)} could not be copied, {done}:\n"
        + "\n".join(problems)
    )


def _words(entry: Entry) -> str:
    return f"{entry.id} ({entry.name})"


@contextmanager
def _opened(source: str | os.PathLike[str]) -> Iterator[Zoo]:
    path = Path(source)
    if "://" in os.fspath(source) or not path.is_file():
        yield Zoo(source)
        return
    with tempfile.TemporaryDirectory() as temporary:
        with writing_to(Path(temporary), "archive"):
            archives.unpack(path, Path(temporary))
        unpacked = Zoo(temporary, str(path))
        _check_against_index(unpacked, Path(temporary), path)
        yield unpacked


def _check_against_index(zoo: Zoo, folder: Path, archive: Path) -> None:
    """Check that an archive holds what its index says, byte for byte in size, and nothing else."""
    if not (folder / FILE).is_file():
        raise ValueError(f"archive: expected a zoo, {archive} holds no {FILE}; export it again")
    try:
        expected = {entry.weights: entry.weights_bytes for entry in zoo.entries()}
    except ValueError as error:
        raise ValueError(f"archive: expected {archive} to hold a whole zoo, got this: {error}") from error
    stored = weights_files.stored_hashes(folder)
    sizes = {sha256: (folder / weights_files.weights_name(sha256)).stat().st_size for sha256 in stored}
    if wrong := sorted(set(expected.items()) ^ set(sizes.items())):
        raise ValueError(
            f"archive: expected the weights that its index names, {archive} differs at "
            f"{weights_files.weights_name(wrong[0][0])}; export it again"
        )
