"""Tiny preprocessed data sets, written as nnU-Net's preprocessing leaves them, in milliseconds."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from nnunet_folders import DATASET, Folders
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

LABELS: dict[str, Any] = {"background": 0, "shell": 1, "box": 2}
REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2], "box": [2]}
CASES = [f"case{number}" for number in range(6)]
PATCH = [16, 16]


def tiny_plans(plans: Mapping[str, Any], name: str = DATASET) -> dict[str, Any]:
    """The plans of `stock_plans` with patches of 16 x 16 in batches of 2, and a configuration in 3D."""
    made: dict[str, Any] = deepcopy(dict(plans)) | {"dataset_name": name}
    flat = made["configurations"]["2d"]
    flat.update(patch_size=PATCH, batch_size=2, use_mask_for_norm=[False])
    flat["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    deep = made["configurations"]["3d_fullres"] = deepcopy(flat)
    deep.update(patch_size=[4, *PATCH], data_identifier="nnUNetPlans_3d_fullres")
    deep["architecture"]["arch_kwargs"].update(
        conv_op="torch.nn.modules.conv.Conv3d",
        norm_op="torch.nn.modules.instancenorm.InstanceNorm3d",
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    )
    return made


def write_prepared(
    folders: Folders,
    plans: Mapping[str, Any],
    name: str = DATASET,
    *,
    channels: Sequence[str] = ("MRI",),
    labels: Mapping[str, Any] = LABELS,
    cases: Sequence[str] = CASES,
    values: Mapping[str, float] | None = None,
    texture: int = 1,
    configuration: str = "2d",
) -> Path:
    """Write plans, `dataset.json` and noisy cases with a box in a shell, and return the folder.

    A case of `values` has that value everywhere; `texture` is the width of the stripes in the structures.
    """
    made = tiny_plans(plans, name)
    content: dict[str, Any] = {"channel_names": {str(i): channel for i, channel in enumerate(channels)}}
    content |= {"labels": dict(labels), "file_ending": ".nii.gz", "numTraining": len(cases)}
    if any(isinstance(value, list) for value in labels.values()):
        content["regions_class_order"] = [1, 2]
    base = folders.preprocessed.parent / name
    write_json(base / "nnUNetPlans.json", made)
    write_json(base / "dataset.json", content)
    folder = base / made["configurations"][configuration]["data_identifier"]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_written(made, content, tuple(cases), dict(values or {}), texture), folder)
    return base


_WRITTEN: dict[str, tempfile.TemporaryDirectory[str]] = {}
"""Cases written before in this process, by what they were made of."""


def _written(
    plans: dict[str, Any], content: dict[str, Any], cases: Sequence[str], values: dict[str, float], texture: int
) -> str:
    key = json.dumps([content, cases, values, texture])
    if key not in _WRITTEN:
        _WRITTEN[key] = tempfile.TemporaryDirectory()
        manager = PlansManager(plans).get_label_manager(content)
        wanted = list(manager.foreground_regions if manager.has_regions else manager.foreground_labels)
        wanted += [[-1, *manager.all_labels]] if manager.has_ignore_label else []
        for number, case in enumerate(cases):
            image, mask = _case(number, len(content["channel_names"]), texture, manager.ignore_label)
            image[:] = values.get(case, image)
            places = DefaultPreprocessor._sample_foreground_locations(mask, wanted)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nnU-Net asks for chunks, which matter for large files only
                nnUNetDatasetBlosc2.save_case(
                    image, mask, {"class_locations": places}, str(Path(_WRITTEN[key].name) / case)
                )
    return _WRITTEN[key].name


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _case(number: int, channels: int, texture: int, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(number)
    mask = np.zeros((1, 6, 24, 24), np.int16)
    y, x = draw.integers(3, 11, 2)
    mask[0, 1:5, y : y + 10, x : x + 10] = 1
    mask[0, 2:4, y + 3 : y + 7, x + 3 : x + 7] = 2
    stripes = (np.arange(24) // texture) % 2
    image = mask * (1 + stripes) + draw.normal(0, 0.3, (channels, 6, 24, 24))
    if ignore is not None:
        mask[0, :, :, :8] = ignore
    return image.astype(np.float32), mask
