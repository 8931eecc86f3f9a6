"""A data set as it is kept: Gaussians of its labels, truncated, in single precision, with the error this makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.similarity.gaussians import Gaussian
from nnunet_iac.similarity.mixture import LabelGaussians

Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredSource:
    """Label Gaussians of one data set.

    Attributes:
        key: its name.
        names: of its ``k`` labels.
        weights: ``(k,)``.
        means: ``(k, d)``.
        factors: ``(R, d)``, rows of all labels, one label after the other.
        rows: ``(k,)``, rows of each label.
        slacks: ``(k,)``, Bures-Wasserstein distance of each label to the one it stands for, at most.
    """

    key: str
    names: tuple[str, ...]
    weights: NDArray[np.float64]
    means: Single
    factors: Single
    rows: NDArray[np.int64]
    slacks: NDArray[np.float64]

    @property
    def labels(self) -> LabelGaussians:
        """The Gaussians, in double precision, with their slack."""
        factors = np.split(self.factors.astype(np.float64), np.cumsum(self.rows)[:-1])
        parts = zip(self.means.astype(np.float64), factors, self.slacks.tolist(), strict=True)
        return LabelGaussians(tuple(Gaussian(*part) for part in parts), self.weights, self.names)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in (self.weights, self.means, self.factors, self.rows, self.slacks))


def stored_source(key: str, labels: LabelGaussians, *, rank: int) -> StoredSource:
    """Return label Gaussians as they are kept, with at most ``rank`` principal axes each.

    The slack is that of the truncation plus that of rounding, ``BW <= (||m - m'||^2 + ||A - A'||_F^2)^1/2``.

    Example:
        >>> organ = Gaussian.from_moments([0.0, 0.0], [[4.0, 0.0], [0.0, 0.25]])
        >>> kept = stored_source("a", LabelGaussians((organ,), [1.0], ("organ",)), rank=1)
        >>> kept.factors.shape, kept.slacks.tolist()
        ((1, 2), [0.5])
    """
    gaussians = labels.truncated(rank).gaussians
    means = np.stack([g.mean for g in gaussians])
    factors = np.concatenate([g.factor for g in gaussians])
    rows = np.array([len(g.factor) for g in gaussians], dtype=np.int64)
    kept = StoredSource(
        key=key,
        names=labels.names,
        weights=labels.weights,
        means=means.astype(np.float32),
        factors=factors.astype(np.float32),
        rows=rows,
        slacks=np.array([g.slack for g in gaussians]),
    )
    rounding = [
        np.hypot(np.linalg.norm(g.mean - k.mean), np.linalg.norm(g.factor - k.factor))
        for g, k in zip(gaussians, kept.labels.gaussians, strict=True)
    ]
    return StoredSource(**{**vars(kept), "slacks": kept.slacks + rounding})
