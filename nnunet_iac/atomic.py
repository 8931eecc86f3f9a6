"""Write files whole or not at all: to a temporary name beside the target, flushed to disk, then renamed.

``os.replace`` is atomic within one file system, so a reader (or a process killed in the middle) sees the old
file or the new one, never half of either.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORGOTTEN = 3600.0
"""Seconds for which another machine's temporary file must be unchanged: its lock may not be seen from here."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds it replaces ``path``, otherwise it is deleted.

    The folder of ``path`` must exist. The temporary file lies in it (same file system) and its name starts
    with a dot. What killed writers of ``path`` left there is removed first.

    Raises:
        OSError: from the file system (full disk, no permission); ``path`` is untouched then.

    Example:
        >>> folder = tempfile.mkdtemp()
        >>> with replacing(Path(folder) / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> os.listdir(folder), (Path(folder) / "a.txt").read_text()
        (['a.txt'], 'whole')
    """
    target = Path(path)
    _remove_forgotten(target)
    handle, temporary = _make_locked(target)
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` whole or not at all."""
    _write(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write ``content`` as UTF-8 to ``path`` whole or not at all."""
    _write(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON to ``path`` whole or not at all.

    Raises:
        TypeError: if ``content`` is not JSON-serialisable; nothing is written then.
    """
    write_text(path, json.dumps(content, indent=4) + "\n")


def _write(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    with replacing(path) as temporary:
        write(temporary)


def _prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _make_locked(target: Path) -> tuple[int, Path]:
    """Make a temporary file and hold its lock (where the file system has locks) until it is closed."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{_prefix(target)}{_machine()}.", suffix=".tmp")
        _lock(handle, wait=True)
        # Between the two calls another writer may have taken it for forgotten.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file; return False if another process holds it (and this one does not wait) or nothing can."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_forgotten(target: Path) -> None:
    names = glob.glob(f"{glob.escape(_prefix(target))}*.tmp*", root_dir=target.parent)
    # SQLite keeps files beside its own, NAME-wal and such: they go after the one that they belong to.
    for name in sorted(names, key=len):
        path = target.parent / name
        try:
            here = name.startswith(f"{_prefix(target)}{_machine()}.")
            if here or time.time() - path.stat().st_mtime > FORGOTTEN:
                _remove_unlocked(path)
        except OSError:  # another process removed it, or may not be touched: the file is none of this write's business
            continue


def _remove_unlocked(path: Path) -> None:
    owner = path.with_name(path.name.rpartition(".tmp")[0] + ".tmp")
    if owner != path and owner.exists():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        if _lock(handle, wait=False):
            path.unlink()
    finally:
        os.close(handle)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The only portable way to read the mask is to set it; mkstemp made the file private (0600), and results
    # of nnU-Net are usually shared within a group.
    mask = os.umask(0)
    os.umask(mask)
    return mask
