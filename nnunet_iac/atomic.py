"""Write files whole or not at all: to a temporary name beside the target, flushed to disk, then renamed.

``os.replace`` is atomic within one file system, so a reader (or a process killed in the middle) sees the old
file or the new one, never half of either.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds it replaces ``path``, otherwise it is deleted.

    The folder of ``path`` must exist. The temporary file lies in it (same file system) and its name starts
    with a dot.

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
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
