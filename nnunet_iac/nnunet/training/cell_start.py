"""How the cells of a search start if not from a fresh draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nnunet_iac.cells.mixed import MixedCells


@dataclass(frozen=True)
class CellStart:
    """The start of a search's cells.

    Attributes:
        identity: what it depends on, as JSON has it; a search that is continued must agree.
        fill: puts logits and weights into fresh cells and returns the squared steps that the logits took before
            (see :func:`~nnunet_iac.cells.warm_start.start_architecture`); not called where a search is continued.
        rate: factor of the architecture's learning rate in the first epochs that have architecture steps.
        rate_epochs: how many epochs.
    """

    identity: Mapping[str, Any]
    fill: Callable[[MixedCells], torch.Tensor]
    rate: float = 1.0
    rate_epochs: int = 0
