"""Other nnU-Net data sets as batches for pretraining: segmentation, one head for each data set, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_iac.nnunet.cases.batches import make_batch
from nnunet_iac.nnunet.cases.encoders import fit_channels
from nnunet_iac.nnunet.cases.image_samples import PreparedData

STREAM = 5
"""Number of the first batch stream; each data set has its own."""

FOREGROUND = 0.33
"""Share of patches around foreground, as in nnU-Net's training."""


@dataclass
class SegmentationSources:
    """Segmentation of several data sets, balanced: every data set has every n-th batch, however many cases it has.

    All are cut into the target's patches and augmented as nnU-Net does. A data set with another number of channels
    than the target is made grey; see :func:`~nnunet_iac.nnunet.cases.encoders.fit_channels`. Regions are learnt as the
    labels that they are made of; voxels with the label to ignore do not count.

    Attributes:
        sources: with the target's patch size.
        channels: of the target.
        batch_size: patches.
        seed: of the batches.
        unreadable: nothing; nnU-Net's own error names a damaged case.
    """

    sources: Sequence[PreparedData]
    channels: int
    batch_size: int
    seed: int
    unreadable: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Open the data sets.

        Raises:
            ValueError: if there is none, or one twice.
        """
        names = [source.dataset for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"--datasets: expected at least one, each once, got {names}")
        self._loaders = [_loader(source, self.batch_size) for source in self.sources]
        self._losses = [_loss(source) for source in self.sources]
        self._classes = [1 + max(source.label_names) for source in self.sources]

    @property
    def description(self) -> dict[str, Any]:
        """What a state must agree on to be continued, as JSON has it."""
        return {
            "datasets": {source.dataset: len(source.cases) for source in self.sources},
            "plans": [source.plans["plans_name"] for source in self.sources],
            "patch_size": list(self.sources[0].patch_size),
            "batch_size": self.batch_size,
        }

    def heads(self, features: int, outputs: int) -> nn.ModuleList:
        """Return a 1x1 convolution from the decoder's last features to the classes of each data set."""
        convolution = nn.Conv3d if self.sources[0].dimensions == 3 else nn.Conv2d
        return nn.ModuleList([convolution(outputs, classes, 1) for classes in self._classes])

    def batch(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Return the head's number, images ``(B, C, *patch)`` and label maps ``(B, 1, *patch)``."""
        turn, number = divmod(index, len(self.sources))
        batch = make_batch(self._loaders[number], (self.seed, STREAM + number, turn))
        return number, fit_channels(torch.as_tensor(batch["data"]), self.channels), torch.as_tensor(batch["target"])

    def loss(self, network: nn.Module, heads: Sequence[nn.Module], batch: tuple[int, Any, Any]) -> torch.Tensor:
        """Return nnU-Net's loss, Dice and cross-entropy, of the batch's head."""
        number, images, target = batch
        loss: torch.Tensor = self._losses[number](heads[number](network(images)), target)
        return loss


def _loader(source: PreparedData, batch_size: int) -> nnUNetDataLoader:
    labels = PlansManager(source.plans).get_label_manager(dict(source.content))
    # nnU-Net's own choice of rotations, mirroring and margin; it looks at nothing of a trainer but this.
    stand_in: Any = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=list(source.patch_size)), print_to_log_file=lambda *_: None
    )
    choose = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
    rotation, flat, enlarged, mirror_axes = choose(stand_in)
    transforms = nnUNetTrainer.get_training_transforms(
        source.patch_size,
        rotation,
        None,
        mirror_axes,
        flat,
        use_mask_for_norm=source.planned.get("use_mask_for_norm"),
        foreground_labels=labels.foreground_labels,
        ignore_label=labels.ignore_label,
    )
    return nnUNetDataLoader(
        infer_dataset_class(str(source.folder))(str(source.folder), list(source.cases)),
        batch_size,
        enlarged,
        source.patch_size,
        labels,
        oversample_foreground_percent=FOREGROUND,
        transforms=transforms,
    )


def _loss(source: PreparedData) -> nn.Module:
    ignored = PlansManager(source.plans).get_label_manager(dict(source.content)).ignore_label
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(
        dice, {}, weight_ce=1, weight_dice=1, ignore_label=ignored, dice_class=MemoryEfficientSoftDiceLoss
    )
