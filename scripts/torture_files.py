"""Is every file in a folder whole? By reading each as its format demands."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

OF_NNUNET = ("debug.json", "progress.png", "dataset.json", "dataset_fingerprint.json", "training_log", "validation")
"""What nnU-Net writes in place, by name or folder; it writes them anew when a run goes on."""


@dataclass(frozen=True)
class Findings:
    """What is wrong in a folder.

    Attributes:
        ours: half-written files of this package.
        of_nnunet: half-written files that nnU-Net writes itself.
        leftovers: temporary files.
    """

    ours: tuple[str, ...] = ()
    of_nnunet: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()


def examine(folder: Path) -> Findings:
    """Read every file below a folder."""
    damaged = list(_damaged(folder))
    foreign = [name for name in damaged if any(part.startswith(OF_NNUNET) for part in Path(name).parts)]
    temporary = tuple(str(p.relative_to(folder)) for p in folder.rglob("*.tmp"))
    return Findings(tuple(name for name in damaged if name not in foreign), tuple(foreign), temporary)


def _damaged(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        check = next((check for ending, check in CHECKS.items() if path.name.endswith(ending)), None)
        if check is None or not path.is_file() or path.name.startswith("."):
            continue
        try:
            check(path)
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {str(error)[:100]}"


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> None:
    # The last line of a process that was killed may be cut: it is dropped when the run goes on.
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            json.loads(line)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise zipfile.BadZipFile(name)


def _safetensors(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        for name in file.keys():
            np.asarray(file.get_tensor(name)).sum()


def _sqlite(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("integrity check")


def _png(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _gzip(path: Path) -> None:
    with gzip.open(path) as file:
        file.read()


CHECKS: dict[str, Callable[[Path], None]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".pth": _zip,
    ".pt": _zip,
    ".npz": _zip,
    ".safetensors": _safetensors,
    ".sqlite": _sqlite,
    ".png": _png,
    ".gz": _gzip,
}
