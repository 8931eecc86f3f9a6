"""Any bytes are an index of sources, or are refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fuzzing import few, files, takes_or_says
from hypothesis import given
from hypothesis import strategies as st

from nnunet_iac.similarity.gaussians import Gaussian
from nnunet_iac.similarity.index import SourceIndex
from nnunet_iac.similarity.index_file import ARRAYS, NUMBERS, load_index, save_index
from nnunet_iac.similarity.mixture import LabelGaussians
from nnunet_iac.similarity.sketches import SketchSettings


def saved(path: Path) -> Path:
    index = SourceIndex(SketchSettings(dimensions=2))
    index.add("a", LabelGaussians((Gaussian.from_moments([0.0, 0.0], [[4.0, 0.0], [0.0, 0.25]]),), [1.0], ("organ",)))
    save_index(index, path)
    return path


def test_any_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "sources.npz")

    @few
    @given(files(path.read_bytes()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        takes_or_says(load_index, path, named=(path.name,))

    check()


def test_any_array_in_the_place_of_another(tmp_path: Path) -> None:
    path = saved(tmp_path / "sources.npz")
    with np.load(path) as archive:
        valid = dict(archive)
    others = st.sampled_from([np.array([]), np.array(-1), np.array([[10**9]]), np.array(["a"]), np.full(3, np.nan)])

    @few
    @given(st.sampled_from([*ARRAYS, *NUMBERS]), others)
    def check(name: str, array: np.ndarray) -> None:
        np.savez(path, **{**valid, name: array})
        takes_or_says(load_index, path, named=(path.name,))

    check()
