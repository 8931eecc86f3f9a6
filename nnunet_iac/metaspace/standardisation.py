"""Columns with mean 0 and equal variance, as the training data sets have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CONSTANT = 1e-8
"""Columns with a smaller standard deviation, relative to their largest magnitude, are constant."""


class Standardisation(nn.Module):
    r"""``(x - mean) / (deviation sqrt(c))`` with ``c`` columns that vary, so that a row has length 1 on average.

    A column that was constant in training is 0 ever after: no weight behind it was learned. Rows of another width are
    padded with zeros or cut, for the same reason.

    Args:
        width: number of columns.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("scale", torch.zeros(width, dtype=torch.float64))

    @classmethod
    def of(cls, groups: Sequence[NDArray[np.float64]]) -> Standardisation:
        """Return that of groups of rows ``(n, width)``; each group counts the same, however many rows it has.

        The deviation of a column is the root of its mean squared distance from the mean over groups. Narrower groups
        are padded with zeros.

        Example:
            >>> found = Standardisation.of([np.array([[0.0, 5.0]] * 9), np.array([[4.0, 5.0]])])
            >>> found(torch.tensor([[0.0, 5.0], [4.0, 7.0]])).tolist()
            [[-1.0, 0.0], [1.0, 0.0]]
        """
        width = max(group.shape[1] for group in groups)
        rows = [fitted_width(torch.from_numpy(group), width) for group in groups]
        found = cls(width)
        found.mean = torch.stack([group.mean(dim=0) for group in rows]).mean(dim=0)
        variance = torch.stack([(group - found.mean).square().mean(dim=0) for group in rows]).mean(dim=0)
        largest = torch.stack([group.abs().amax(dim=0) for group in rows]).amax(dim=0)
        varies = variance.sqrt() > CONSTANT * largest
        scale = torch.where(varies, variance, torch.ones_like(variance)).rsqrt() * varies
        found.scale = scale / max(int(varies.sum()), 1) ** 0.5
        return found

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows ``(n, any width)`` as ``(n, width)``, float64."""
        return (fitted_width(rows.double(), len(self.mean)) - self.mean) * self.scale


def fitted_width(rows: Tensor, width: int) -> Tensor:
    """Return rows ``(n, any)`` as ``(n, width)``: padded with zeros on the right, or cut.

    Example:
        >>> fitted_width(torch.ones(1, 2), 3).tolist(), fitted_width(torch.ones(1, 2), 1).tolist()
        ([[1.0, 1.0, 0.0]], [[1.0]])
    """
    return nn.functional.pad(rows, (0, width - rows.shape[1]))
