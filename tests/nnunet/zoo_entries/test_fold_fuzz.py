"""Whatever stands in the files of a fold, it becomes an entry that can be read back, or is refused in words."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import few, jsons, takes_or_says
from hypothesis import example, given
from nnunet_folders import Folders
from transfer_datasets import save_source, write_datasets

from nnunet_iac.nnunet.zoo_entries.zoo_import import read_fold
from nnunet_iac.zoo.store import Zoo

METRICS = {"Dice": 0.8, "IoU": 0.7}
SUMMARY = {"foreground_mean": METRICS, "mean": {"1": METRICS, "2": METRICS}, "metric_per_case": [{}, {}]}
FINGERPRINT = {
    "shapes_after_crop": [[1, 8, 8]],
    "spacings": [[1, 1, 1]],
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
}
RESULT = {"status": "decided", "epochs": 3, "seconds": 1.5, "seed": 0}
PLACES = {"validation/summary.json": SUMMARY, "../dataset_fingerprint.json": FINGERPRINT, "search_result.json": RESULT}


@pytest.fixture
def fold(folders: Folders, stock_plans: dict[str, Any]) -> Path:
    write_datasets(folders, stock_plans)
    fold = folders.results / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    (fold / "validation").mkdir(parents=True)
    save_source(fold / "checkpoint_final.pth", current_epoch=5)
    (fold / "validation" / "summary.json").write_text(json.dumps(SUMMARY))
    for name, there in (("plans.json", "nnUNetPlans.json"), ("dataset.json", "dataset.json")):
        (fold.parent / name).write_text((folders.preprocessed / there).read_text())
    return fold


def store(fold: Path, folder: Path) -> None:
    zoo, found = Zoo.create(folder), read_fold(fold)
    added = zoo.add(found.about, found.tensors, replace=True)
    assert zoo.entry(added.entry.id) == added.entry


@pytest.mark.parametrize("name", PLACES)
def test_any_json_beside_a_checkpoint(fold: Path, tmp_path: Path, name: str) -> None:
    @few
    @given(jsons(PLACES[name]))
    def check(content: Any) -> None:
        (fold / name).write_text(json.dumps(content))
        takes_or_says(lambda _: store(fold, tmp_path / "zoo"), content, named=("",))

    check()


def test_any_arguments_in_a_checkpoint(fold: Path, tmp_path: Path) -> None:
    path = fold / "checkpoint_final.pth"
    valid = torch.load(path, weights_only=False)
    init = {name: value for name, value in valid["init_args"].items() if name != "device"}
    endless = deepcopy(init)
    endless["dataset_json"]["labels"]["RV"] = float("inf")

    @few
    @given(jsons({"init_args": init, "trainer_name": "nnUNetTrainer", "current_epoch": 5}))
    @example({"init_args": endless})
    def check(content: Any) -> None:
        torch.save({**valid, **(content if isinstance(content, dict) else {"init_args": content})}, path)
        takes_or_says(lambda _: store(fold, tmp_path / "zoo"), content, named=("",))

    check()
