"""Who may write to a zoo's folder: nobody to one that holds other things, and writers take turns under a file lock."""

from __future__ import annotations

import errno
import os
import stat
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

REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there, or give a folder on another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give a folder that you may write to"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), "a file is in the way: give another folder"),
}
"""What helps, by error number."""


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
        ValueError: if the lock is a link.
        OSError: if the lock cannot be made.
    """
    lock = FileLock(str(folder / LOCK), mode=_make_lock(folder / LOCK))
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


@contextmanager
def writing_to(folder: Path, argument: str = "zoo") -> Iterator[None]:
    """Say in words why a folder cannot be written to; an error that is in words already passes as it is.

    Args:
        folder: where the block writes.
        argument: who named it.

    Raises:
        OSError: in place of one with an error number.

    Example:
        >>> with writing_to(Path("zoo")):
        ...     raise OSError(errno.EROFS, "Read-only file system")
        Traceback (most recent call last):
        ...
        OSError: zoo: expected to write to zoo, got Read-only file system; give a folder that you may write to
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise OSError(
            f"{argument}: expected to write to {folder}, got {error.strerror}{where}; "
            f"{REMEDIES.get(error.errno, 'see whether the disk works, or give another folder')}"
        ) from error


def _make_lock(path: Path) -> int:
    """Make the file of a lock, without following a link, and return its mode, for FileLock to leave as it is.

    Versions of filelock that are supported follow a link, empty what it leads to, and set a mode of their own.
    """
    if path.is_symlink():
        raise ValueError(
            f"zoo: expected {path} to be a file of the zoo, {path.name} is a link, which is not followed; delete it"
        )
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode) | stat.S_IRUSR | stat.S_IWUSR
    finally:
        os.close(handle)


def _is_half_made(name: str) -> bool:
    return name.startswith(f".{FILE}.")
