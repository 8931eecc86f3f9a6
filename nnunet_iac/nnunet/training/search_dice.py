"""nnU-Net's pseudo Dice of a search's network, after each epoch on the same batches of the fold's validation cases.

``dice_c = 2 tp_c / (2 tp_c + fp_c + fn_c)`` with voxels summed over all batches, and the mean over foreground classes
(or regions) that are there or predicted: the number that nnU-Net logs of a training's epoch, of the network as the
search has it (mixtures of all operations that are left, an auxiliary skip included), in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from numpy.typing import NDArray

from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.cases.batches import SeededBatches
from nnunet_iac.nnunet.cases.loaders import RANK_STRIDE, make_loader
from nnunet_iac.search import ranks

DICE_STREAM = 4
"""Number of the batch stream: training and validation have 0 and 1, the search 2 and 3."""


class SearchDice:
    """Measures the network of a search; network, search and random states are afterwards as they were.

    Batches are drawn anew by this process each time, from their start: reading them again costs less memory than
    keeping them. Under ``torch.distributed`` each rank has batches of its own, and all get the number of all voxels.

    Args:
        trainer: an initialised trainer; its plan, labels, loss and ``validation_step`` are used.
        cases: identifiers of preprocessed cases that the search does not see.
        iterations: how many batches, at least 1.
        seed: of the draw.
    """

    def __init__(self, trainer: nnUNetTrainer, cases: Sequence[str], *, iterations: int, seed: int) -> None:
        self.trainer = trainer
        self.iterations = iterations
        self.seed = seed
        mirroring = trainer.inference_allowed_mirroring_axes
        self.loader = make_loader(trainer, cases, augment=False)
        trainer.inference_allowed_mirroring_axes = mirroring  # building a loader sets it

    def __call__(self, network: CellUNet) -> float:
        """Return the mean Dice, 0 to 1; NaN if no batch has foreground and none is predicted."""
        stream = DICE_STREAM + RANK_STRIDE * self.trainer.local_rank
        batches = islice(SeededBatches(self.loader, seed=self.seed, stream=stream), self.iterations)
        before, training = self.trainer.network, network.training
        self.trainer.network = network  # not the compiled one, which knows no cells
        network.eval()
        try:
            with torch.no_grad():
                steps = [self.trainer.validation_step(batch) for batch in batches]
        finally:
            network.train(training)
            self.trainer.network = before
        counts = np.stack([np.sum([step[key] for step in steps], 0) for key in ("tp_hard", "fp_hard", "fn_hard")])
        return mean_dice(np.sum(ranks.gather(counts), 0))


def mean_dice(counts: NDArray[np.floating]) -> float:
    """Return the mean over classes of the Dice of voxel counts; a class that is nowhere does not count.

    Args:
        counts: true positives, false positives and false negatives, ``(3, classes)``.

    Example:
        >>> mean_dice(np.array([[6.0, 0.0, 0.0], [2.0, 3.0, 0.0], [2.0, 0.0, 0.0]]))
        0.375
        >>> mean_dice(np.zeros((3, 2)))
        nan
    """
    hits, false_positives, false_negatives = counts
    voxels = 2 * hits + false_positives + false_negatives
    known = voxels > 0
    return float(np.mean(2 * hits[known] / voxels[known])) if known.any() else float("nan")
