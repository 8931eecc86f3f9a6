"""Plans and checkpoints of two tiny data sets, as nnU-Net writes them, without any image."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import get_trainer_from_args

TARGET = "Dataset991_Other"
SOURCE_JSON = {"channel_names": {"0": "cineMRI"}, "labels": {"background": 0, "RV": 1, "LV": 2}, "file_ending": ".png"}
TARGET_JSON = {
    "channel_names": {"0": "FLAIR", "1": "T1w", "2": "T1gd", "3": "T2w"},
    "labels": {"background": 0, "oedema": 1},
    "file_ending": ".png",
}


def deeper(plans: dict[str, Any]) -> None:
    """Add a configuration in 3D with thick slices and a stage more than 2D has."""
    plan = deepcopy(plans["configurations"]["2d"])
    plan.update(patch_size=[8, 32, 32], spacing=[5.0, 1.0, 1.0], data_identifier="nnUNetPlans_3d_fullres")
    plan["architecture"]["arch_kwargs"].update(
        n_stages=4,
        features_per_stage=[8, 16, 32, 32],
        conv_op="torch.nn.modules.conv.Conv3d",
        norm_op="torch.nn.modules.instancenorm.InstanceNorm3d",
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
        n_conv_per_stage=[1] * 4,
        n_conv_per_stage_decoder=[1] * 3,
    )
    plans["configurations"]["3d_fullres"] = plan


def write_datasets(folders: Folders, plans: dict[str, Any]) -> None:
    """Write plans and `dataset.json` of the source (1 channel) and the target (4 channels, 2D and 3D)."""
    target = deepcopy(plans) | {"dataset_name": TARGET}
    deeper(target)
    for name, content, dataset in ((DATASET, plans, SOURCE_JSON), (TARGET, target, TARGET_JSON)):
        folder = folders.preprocessed.parent / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nnUNetPlans.json").write_text(json.dumps(content))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        for plan in ("nnUNetPlans_2d", "nnUNetPlans_3d_fullres"):
            (folder / plan).mkdir(exist_ok=True)
            (folder / plan / "case.b2nd").touch()  # nnU-Net looks at the endings before it builds a network


def trainer_of(dataset: str, configuration: str = "2d", name: str = "nnUNetTrainer") -> Any:
    """Return a trainer with its network, as `nnUNetv2_train` builds it."""
    trainer = get_trainer_from_args(dataset, configuration, 0, name, "nnUNetPlans", False, torch.device("cpu"))
    trainer.initialize()
    return trainer


def save_source(path: Path, **changes: Any) -> Path:
    """Let nnU-Net save a checkpoint of the source, then change entries of it."""
    trainer_of(DATASET).save_checkpoint(str(path))
    if changes:
        torch.save({**torch.load(path, weights_only=False), **changes}, path)
    return path
