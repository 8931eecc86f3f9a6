"""Entries from one zoo to another: export to a folder or an archive, import from a folder, an archive or a URL."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnunet_iac.zoo import archives, weights_files
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Added, Zoo
from nnunet_iac.zoo.writers import writing_to


def copy_entries(source: Zoo, target: Zoo, starts: Sequence[str] = (), *, replace: bool = False) -> list[Added]:
    """Copy entries with their weights, each verified, one after the other.

    A copy that was interrupted is gone on with by calling it again: what is there is kept.

    Args:
        source: where from.
        target: where to.
        starts: (starts of) ids; empty means all.
        replace: see :meth:`nnunet_iac.zoo.store.Zoo.add`.

    Raises:
        FileNotFoundError: if a zoo or weights are missing.
        ValueError: if an id is not there, or an entry or weights are damaged; what came before is in the target.
    """
    chosen = chosen_entries(source, starts)
    return [target.add_entry(entry, source.read_weights_file(entry), replace=replace) for entry in chosen]


def chosen_entries(zoo: Zoo, starts: Sequence[str] = ()) -> list[Entry]:
    """Return the entries of these ids, each once; all of them if ``starts`` is empty."""
    found = [zoo.entry(start) for start in starts] if starts else zoo.entries()
    return list({entry.id: entry for entry in found}.values())


def export_zoo(zoo: Zoo, path: Path, starts: Sequence[str] = ()) -> list[Added]:
    """Write entries as an archive (``.zip``, ``.tar.gz``, ``.tgz``) or, under any other name, into a zoo's folder.

    An archive is written whole or not at all. A folder may be new, empty or a zoo, which then gets the entries
    as they are here.

    Raises:
        FileExistsError: if the archive is there already.
        ValueError: as :func:`copy_entries`, or if the folder holds other things.
    """
    chosen_entries(zoo, starts)  # nothing is made for a zoo or an id that is not there
    if not archives.is_archive_name(path):
        return copy_entries(zoo, Zoo.create(path), starts, replace=True)
    if path.exists():
        raise FileExistsError(f"-o: expected a new name, {path} exists; choose another or delete it first")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"-o: expected an existing folder, {path.parent} is none; make it first")
    with (
        writing_to(path.parent, "-o"),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".zoo_export.") as temporary,
    ):
        copied = copy_entries(zoo, Zoo.create(temporary), starts)
        archives.pack(Path(temporary), path)
    return copied


def import_zoo(
    folder: str | os.PathLike[str],
    source: str | os.PathLike[str],
    starts: Sequence[str] = (),
    *,
    replace: bool = False,
) -> list[Added]:
    """Copy entries from another zoo's folder, archive or URL into the zoo of a folder, which is made if there is none.

    Raises:
        FileNotFoundError: if there is no such zoo.
        ValueError: if it is damaged, not what a zoo exports, or of a newer schema, or ``folder`` holds other things.
    """
    with _opened(source) as other:
        chosen = chosen_entries(other, starts)  # nothing is made for a zoo or an id that is not there
        if chosen and not (Path(folder) / FILE).is_file():
            other.read_weights_file(chosen[0])  # nor for one whose weights are damaged
        return copy_entries(other, Zoo.create(folder), starts, replace=replace)


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
