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
from stock_architecture import plain_architecture


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
                "architecture": plain_architecture([8, 16, 32]),
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
