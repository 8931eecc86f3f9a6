"""Who may write to a zoo's folder: nobody to one that holds other things, and writers take turns under a file lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.weights_files import FOLDER, LOST, has_weights

LOCK = "zoo.lock"
"""Lock of the writers."""

WAIT_S = 600.0
"""Seconds to wait for other writers."""


def check_vacant(folder: Path) -> None:
    """Check that a folder is empty, but for what a writer that was killed while making a zoo left.

    Raises:
        ValueError: if it holds other things, or weights: an index that knows none of them would make them orphans.

    Example:
        >>> import tempfile
        >>> check_vacant(Path(tempfile.mkdtemp()))
    """
    others = sorted(p.name for p in folder.iterdir() if p.name not in (LOCK, FOLDER) and not _is_half_made(p.name))
    if others:
        raise ValueError(
            f"zoo: expected a zoo or an empty folder, {folder} holds other things ({', '.join(others[:3])}); "
            "give a new folder"
        )
    if has_weights(folder):
        raise ValueError(f"zoo: expected a zoo or an empty folder, {folder} holds weights without {FILE}; {LOST}")


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Keep other writers out of a folder; the operating system lets the next one in when this one is killed.

    Raises:
        TimeoutError: if others write for very long.
    """
    lock = FileLock(str(folder / LOCK))
    try:
        lock.acquire(timeout=WAIT_S, poll_interval=0.01)
    except Timeout as error:
        raise TimeoutError(
            f"zoo: expected other processes to be done writing within {WAIT_S:.0f} s, {lock.lock_file} is still "
            "held; wait for them"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _is_half_made(name: str) -> bool:
    return name.startswith(f".{FILE}.")
