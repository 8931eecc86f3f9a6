"""nnU-Net's own data loaders for any set of cases, with or without augmentation, as seeded streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_iac.nnunet.cases.batches import seeded_stream

RANK_STRIDE = 1000
"""Distance between the stream numbers of two ranks under DDP, so that ranks draw different batches."""


def make_loader(trainer: nnUNetTrainer, cases: Sequence[str], *, augment: bool) -> nnUNetDataLoader:
    """Build the loader that ``nnUNetTrainer.get_dataloaders`` builds, for these cases.

    Args:
        trainer: an initialised trainer; its plan, labels, transforms and sampling are used.
        cases: identifiers of preprocessed cases.
        augment: nnU-Net's training transforms and enlarged patches, or its validation transforms.
    """
    configuration = trainer.configuration_manager
    labels = trainer.label_manager
    scales = trainer._get_deep_supervision_scales()
    rotation, dummy_2d, enlarged, mirror_axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    common: dict[str, Any] = {
        "is_cascaded": trainer.is_cascaded,
        "foreground_labels": labels.foreground_labels,
        "regions": labels.foreground_regions if labels.has_regions else None,
        "ignore_label": labels.ignore_label,
    }
    if augment:
        transforms = trainer.get_training_transforms(
            configuration.patch_size,
            rotation,
            scales,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=configuration.use_mask_for_norm,
            **common,
        )
    else:
        transforms = trainer.get_validation_transforms(scales, **common)
    dataset_class = trainer.dataset_class or infer_dataset_class(trainer.preprocessed_dataset_folder)
    dataset = dataset_class(
        trainer.preprocessed_dataset_folder,
        list(cases),
        folder_with_segs_from_previous_stage=trainer.folder_with_segs_from_previous_stage,
    )
    return nnUNetDataLoader(
        dataset,
        trainer.batch_size,
        enlarged if augment else configuration.patch_size,
        configuration.patch_size,
        labels,
        oversample_foreground_percent=trainer.oversample_foreground_percent,
        sampling_probabilities=None,
        pad_sides=None,
        transforms=transforms,
        probabilistic_oversampling=trainer.probabilistic_oversampling,
    )


def open_stream(
    trainer: nnUNetTrainer, cases: Sequence[str], *, augment: bool, seed: int, stream: int, start: int, share: int = 1
) -> Any:
    """Return an endless iterator over seeded batches of these cases.

    Args:
        trainer: see :func:`make_loader`.
        cases: see :func:`make_loader`.
        augment: see :func:`make_loader`.
        seed: of the run.
        stream: number of the stream.
        start: index of the first batch.
        share: this stream gets ``1 / share`` of the processes that nnU-Net allows, at least one (if any).
    """
    allowed = get_allowed_n_proc_DA()
    return seeded_stream(
        make_loader(trainer, cases, augment=augment),
        seed=seed,
        stream=stream + RANK_STRIDE * trainer.local_rank,
        start=start,
        workers=max(1, allowed // share) if allowed else 0,
        pin_memory=trainer.device.type == "cuda",
    )
