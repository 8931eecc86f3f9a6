"""One head for each data set of a joint search: slices of one segmentation layer, and a loss that reads its own slice.

The segmentation layers answer the classes of all data sets side by side. With ``K_d`` outputs of data set ``d`` and
``o_d = K_0 + ... + K_(d-1)``, a batch of data set ``d`` has the loss::

    L = loss_d(z[:, o_d : o_d + K_d], y)

so that the softmax is taken within the slice, and ``dL/dz`` is exactly zero outside of it: the gradient of a data set's
batch is that of the shared weights and its own head. Where data sets take turns (:mod:`nnunet_iac.search.turns`), a
step's gradient is that of the mean of the data sets' losses, in expectation, for heads as for the shared weights.

Our choice: arXiv 2407.20279 does not say how heads are handled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from nnunet_iac.search.bilevel import Loss


@dataclass(frozen=True)
class OfDataset:
    """The target of a batch, and which data set the batch is of.

    Attributes:
        number: of the data set, from 0.
        target: a tensor, or one for each output resolution.
    """

    number: int
    target: Any

    def to(self, device: torch.device, non_blocking: bool = False) -> OfDataset:
        """Return it with its tensors on a device, as a tensor does."""
        if isinstance(self.target, Sequence):
            moved: Any = [one.to(device, non_blocking=non_blocking) for one in self.target]
        else:
            moved = self.target.to(device, non_blocking=non_blocking)
        return OfDataset(self.number, moved)


class HeadLoss:
    """``loss(output, OfDataset)``: the loss of a batch's data set on its slice of the outputs.

    Args:
        sizes: outputs of each data set's head, in the order in which they stand side by side.
        losses: of each data set, ``loss(output, target)`` with what its head answers.

    Raises:
        ValueError: if there is no head, one is empty, or there are more or fewer losses than heads.

    Example:
        >>> loss = HeadLoss([2, 3], [lambda z, y: z.sum(), lambda z, y: z.mean()])
        >>> output = torch.arange(5.0).reshape(1, 5, 1)
        >>> loss(output, OfDataset(0, None)).item(), loss(output, OfDataset(1, None)).item()
        (1.0, 3.0)
    """

    def __init__(self, sizes: Sequence[int], losses: Sequence[Loss]) -> None:
        if not sizes or min(sizes) < 1 or len(sizes) != len(losses):
            raise ValueError(
                f"heads: expected a positive number of outputs and a loss for each data set, got {list(sizes)} and "
                f"{len(losses)} losses"
            )
        self.losses = tuple(losses)
        self.bounds = tuple(accumulate(sizes, initial=0))

    def head(self, output: Any, number: int) -> Any:
        """Return the slice of a data set, ``(B, K_d, *spatial)``, of outputs ``(B, sum K, *spatial)`` or a list."""
        if isinstance(output, (list, tuple)):
            return [self.head(one, number) for one in output]
        if output.shape[1] != self.bounds[-1]:
            raise ValueError(f"output: expected {self.bounds[-1]} channels, those of all heads, got {output.shape[1]}")
        return output[:, self.bounds[number] : self.bounds[number + 1]]

    def __call__(self, output: Any, target: OfDataset) -> torch.Tensor:
        """Return the loss of a batch."""
        return self.losses[target.number](self.head(output, target.number), target.target)
