"""An index on disk: one ``.npz`` of plain arrays with a schema version, written whole or not at all.

Nothing is pickled or unpickled, so that a file from elsewhere cannot run code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_iac.atomic import replacing
from nnunet_iac.similarity.index import SourceIndex
from nnunet_iac.similarity.scan import SketchTable
from nnunet_iac.similarity.sketches import SketchSettings
from nnunet_iac.similarity.stored_source import StoredSource

SCHEMA = 1
"""Version of the file; readers refuse others."""

ARRAYS = ("keys", "names", "starts", "weights", "means", "roots", "deviations", "factors", "rows", "slacks")
NUMBERS = ("schema", "dimensions", "projections", "seed", "rank")


def save_index(index: SourceIndex, path: str | os.PathLike[str]) -> None:
    """Write an index to ``path``, whose folder must exist.

    Raises:
        OSError: from the file system; an earlier file is untouched then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "zoo.npz"
        >>> save_index(SourceIndex(SketchSettings(dimensions=2)), path)
        >>> len(load_index(path))
        0
    """
    table, sources, settings = index.table, index.sources, index.settings
    numbers = [SCHEMA, settings.dimensions, settings.projections, settings.seed, index.rank]
    empty = np.empty((0, settings.dimensions), dtype=np.float32)
    arrays: dict[str, Any] = {
        **dict(zip(NUMBERS, map(np.int64, numbers), strict=True)),
        "keys": np.array([source.key for source in sources], dtype=np.str_),
        "names": np.array([name for source in sources for name in source.names], dtype=np.str_),
        "starts": table.starts.astype(np.int64),
        "weights": table.weights,
        "means": table.means,
        "roots": table.roots,
        "deviations": table.deviations,
        "factors": np.concatenate([empty, *(source.factors for source in sources)]),
        "rows": np.concatenate([np.empty(0, np.int64), *(source.rows for source in sources)]),
        "slacks": np.concatenate([np.empty(0), *(source.slacks for source in sources)]),
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_index(path: str | os.PathLike[str]) -> SourceIndex:
    """Read an index.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an index, or of another version.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"path: expected an index, got {file}, which does not exist; save one first")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # zipfile and NumPy raise many kinds for damaged files
        raise ValueError(f"path: expected an index of sources, got {file}, which cannot be read: {error}") from error
    version = arrays.get("schema")
    if version is None or version.ndim or version.dtype.kind != "i" or int(version) != SCHEMA:
        raise ValueError(f"path: expected an index of version {SCHEMA}, got {version} in {file}; build it again")
    missing = sorted({*ARRAYS, *NUMBERS} - arrays.keys())
    if missing:
        raise ValueError(f"path: expected an index of sources, got {file} without {', '.join(missing)}; build it again")
    try:
        return _restored(arrays)
    except Exception as error:  # NumPy raises many kinds for arrays that do not fit together
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"path: expected arrays of an index that fit together, got others in {file} ({reason}); build it again"
        ) from error


def _restored(arrays: Mapping[str, Any]) -> SourceIndex:
    settings = SketchSettings(*(int(arrays[name]) for name in ("dimensions", "projections", "seed")))
    table = SketchTable(**{name: arrays[name] for name in ("means", "roots", "deviations", "weights", "starts")})
    ends = np.concatenate([[0], np.cumsum(arrays["rows"])])
    sources = []
    for key, first, last in zip(arrays["keys"].tolist(), table.starts[:-1], table.starts[1:], strict=True):
        labels = slice(first, last)
        sources.append(
            StoredSource(
                key=key,
                names=tuple(arrays["names"][labels].tolist()),
                weights=table.weights[labels],
                means=table.means[labels],
                factors=arrays["factors"][ends[first] : ends[last]],
                rows=arrays["rows"][labels],
                slacks=arrays["slacks"][labels],
            )
        )
    return SourceIndex.restored(settings, int(arrays["rank"]), sources, table)
