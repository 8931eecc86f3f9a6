"""How good a network is on held-out patches: the same patches for every network, drawn once by a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnunet_iac.nnunet.cases.image_samples import sample_batches
from nnunet_iac.nnunet.cases.recalibration import PATCHES
from nnunet_iac.nnunet.supernets.supernet_data import SupernetData
from nnunet_iac.zoo.candidates_dice import mean_dice, overlap_counts, predicted_masks, region_masks
from nnunet_iac.zoo.subnetwork import recalibrate

RECALIBRATION = PATCHES
"""Patches of the supernet part that batch normalisation is calibrated on before a network is measured."""


@dataclass(frozen=True)
class Estimate:
    """What was measured.

    Attributes:
        dice: mean over foreground classes or regions of the hard Dice, voxels summed over all patches; 0 to 1.
        loss: nnU-Net's loss at full resolution, the mean over patches of that of each batch.
    """

    dice: float
    loss: float


@dataclass(frozen=True, eq=False)
class PatchMeasure:
    """Measures networks on patches of the selection part, each around a foreground voxel, without augmentation.

    Patches are read anew for every network, so that only one batch is in memory.

    Attributes:
        data: of the build.
        patches: how many.
        seed: of the draw.
        device: of the networks.

    Raises:
        ValueError: if there is no patch.
    """

    data: SupernetData
    patches: int
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.patches < 1:
            raise ValueError(f"--measured: expected at least one patch, got {self.patches}")

    @property
    def description(self) -> dict[str, Any]:
        """How it is measured, as JSON has it."""
        return {
            "metric": "hard Dice, mean over foreground, voxels summed over patches",
            "patches": self.patches,
            "around": "a voxel of a random foreground class of a random case",
            "seed": self.seed,
            "batch_size_of_the_loss": self.data.batch_size,
            "batch_normalisation": f"recalibrated on {RECALIBRATION} patches of the supernet part",
        }

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> Estimate:
        """Return the estimate of a stock network, on :attr:`device`; it is left in evaluation mode.

        Running statistics of batch normalisation are replaced first, and deep supervision is switched off.

        Raises:
            ValueError: if no patch has foreground.
            FloatingPointError: if the network answers with NaN or infinity.
        """
        data, decoder = self.data, _decoder(network)
        decoder.deep_supervision = False
        recalibrate(network, self._calibration())
        network.eval()
        loss_of, counts, total = data.loss(deep_supervision=False), torch.zeros(3, len(data.foreground)).double(), 0.0
        for images, label_maps in self._patches():
            label_maps = label_maps.to(self.device)
            logits = network(images.to(self.device)).float()
            total += float(loss_of(logits, self._target(label_maps))) * len(images)
            predicted, true = predicted_masks(logits, data.activation), region_masks(label_maps, data.foreground)
            counts += overlap_counts(predicted, true, self._counted(label_maps)).cpu()
        if not math.isfinite(total):
            raise FloatingPointError(
                f"network: expected finite answers, got a loss of {total}; was its training sound?"
            )
        return Estimate(mean_dice(counts), total / self.patches)

    def _patches(self) -> Any:
        batch_size = self.data.batch_size
        return sample_batches(self.data.selection, count=self.patches, batch_size=batch_size, seed=self.seed)

    def _calibration(self) -> Any:
        batch_size = self.data.batch_size
        batches = sample_batches(self.data.training, count=RECALIBRATION, batch_size=batch_size, seed=self.seed)
        return (images for images, _ in batches)

    def _counted(self, label_maps: torch.Tensor) -> torch.Tensor:
        """Return where voxels count, ``(B, 1, *spatial)``."""
        every = torch.ones_like(label_maps[:, None], dtype=torch.bool)
        return every if self.data.ignored is None else label_maps[:, None] != self.data.ignored

    def _target(self, label_maps: torch.Tensor) -> torch.Tensor:
        """Return what nnU-Net's loss takes: label maps, or regions and last what is ignored."""
        if self.data.activation == "softmax":
            return label_maps[:, None]
        masks = region_masks(label_maps, self.data.foreground)
        return masks if self.data.ignored is None else torch.cat([masks, ~self._counted(label_maps)], 1)


def _decoder(network: nn.Module) -> Any:
    return network.decoder
