"""Fixtures for all tests: folders that nnU-Net's variables name, and the plans of a tiny host as nnU-Net has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# Before torch is imported: each of pytest's processes would take a thread for every core, and so would what they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from nnunet_folders import DATASET, Folders


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Empty folders of a data set; the variables name them."""
    folders = Folders(tmp_path)
    for folder in (folders.raw, folders.preprocessed, folders.results):
        folder.mkdir(parents=True)
    for name, value in folders.variables.items():
        monkeypatch.setenv(name, value)
    return folders


@pytest.fixture
def stock_plans() -> dict[str, Any]:
    """Plans of a tiny plain host in 2D, and a configuration that inherits from it."""
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {
            "2d": {
                "data_identifier": "nnUNetPlans_2d",
                "batch_size": 12,
                "patch_size": [32, 32],
                "spacing": [1.0, 1.0],
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 3,
                        "features_per_stage": [8, 16, 32],
                        "conv_op": "torch.nn.modules.conv.Conv2d",
                        "kernel_sizes": [[3, 3]] * 3,
                        "strides": [[1, 1], [2, 2], [2, 2]],
                        "n_conv_per_stage": [1, 1, 1],
                        "n_conv_per_stage_decoder": [1, 1],
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                "batch_dice": True,
            },
            "2d_small": {"inherits_from": "2d", "batch_size": 4},
        },
    }


@pytest.fixture
def planned(folders: Folders, stock_plans: dict[str, Any]) -> Folders:
    """A preprocessed data set of which only the plans exist."""
    (folders.preprocessed / "nnUNetPlans.json").write_text(json.dumps(stock_plans))
    return folders


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests, saying so, unless a marker expression asks for them."""
    if "slow" in str(config.getoption("-m")):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with `pytest -m slow`"))
