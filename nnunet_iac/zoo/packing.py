"""A zoo's entries as the files that an archive of them has: the index, and the weights one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunet_iac.zoo import entries, weights_files
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.schema import FILE, connected, create_database, transaction
from nnunet_iac.zoo.store import Zoo


def packed_files(zoo: Zoo, chosen: Sequence[Entry]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of a zoo with these entries, the same whenever and in whatever order.

    Raises:
        ValueError: if weights are missing, damaged or cannot be read; the message names the entry.

    Example:
        >>> zoo = Zoo.create(tempfile.mkdtemp())
        >>> [name for name, content in packed_files(zoo, [])]
        ['zoo.sqlite']
    """
    yield FILE, _index_of(chosen)
    for _, entry in sorted({entry.weights: entry for entry in chosen}.items()):
        try:
            content = zoo.read_weights_file(entry)
        except (ValueError, OSError) as error:
            raise ValueError(f"{entry.id} ({entry.name}): {error}; no archive was written") from error
        yield weights_files.weights_name(entry.weights), content


def _index_of(chosen: Sequence[Entry]) -> bytes:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / FILE
        create_database(path)
        with connected(path) as connection, transaction(connection):
            for entry in sorted(chosen, key=lambda entry: entry.id):
                entries.insert(connection, entry)
        return path.read_bytes()
