"""The healthy little world that bad input is put into: a data set, models and a zoo, as they are really written.

Made once in seconds and copied for each case. The folders of ``tests/`` that make such files are used here too.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "zoo")]

from nnunet_folders import DATASET, Folders  # noqa: E402 - found through the line above
from prediction_folders import PATIENTS, write_model  # noqa: E402
from prepared_datasets import CASES, write_prepared  # noqa: E402
from stock_architecture import plain_architecture  # noqa: E402
from tiny_zoo import filled  # noqa: E402

from nnunet_iac.cells.cell_shape import edges_of  # noqa: E402
from nnunet_iac.cells.genotype import OPERATIONS, Genotype  # noqa: E402
from nnunet_iac.nnunet.files.plans import configuration_of  # noqa: E402
from nnunet_iac.nnunet.files.weight_source import empty_host  # noqa: E402
from nnunet_iac.search.trace import EpochRecord, append_record  # noqa: E402
from nnunet_iac.zoo.exchange import export_zoo  # noqa: E402

HOST = "results/Dataset990_Tiny/nnUNetTrainer__nnUNetPlans__2d"
SEARCHED = "results/Dataset990_Tiny/nnUNetTrainerIAC__nnUNetPlans__2d"
PREPARED = "preprocessed/Dataset990_Tiny"
CHECKPOINT = f"{HOST}/fold_0/checkpoint_final.pth"


def build_world(base: Path) -> None:
    """Write everything below ``base``: raw, preprocessed, results, zoo, zoo.zip, images, out."""
    folders = Folders(base)
    os.environ.update(folders.variables)
    for name in ("raw", "preprocessed", "results", "images/a", "images/b", "out", "masks"):
        (base / name).mkdir(parents=True, exist_ok=True)
    prepared = write_prepared(folders, stock_plans())
    write_prepared(folders, stock_plans(), "Dataset991_Other")
    plans = json.loads((prepared / "nnUNetPlans.json").read_text(encoding="utf-8"))
    splits = [{"train": CASES[1:], "val": CASES[:1]} for _ in range(5)]
    write(prepared / "splits_final.json", splits)
    write(folders.raw / "patient_groups.json", {**PATIENTS, **{case: [case] for case in CASES}})
    for trainer, shift in (("nnUNetTrainer", 1), ("nnUNetTrainerIAC", 0)):
        fold = write_model(folders, trainer, shift)
        write(fold.parent / "plans.json", plans)
        write(fold / "validation" / "summary.json", _summary())
    content = json.loads((base / HOST / "dataset.json").read_text(encoding="utf-8"))
    content["channel_names"] = {"0": "MRI"}
    write(base / HOST / "dataset.json", content)
    torch.save(checkpoint(plans, content), base / CHECKPOINT)
    _write_references(base)
    _write_search(base / SEARCHED)
    zoo = filled(base / "zoo")
    export_zoo(zoo, base / "zoo.zip", [])
    for folder in ("a", "b"):
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(base / "images" / folder / f"{number}.png")


def write(path: Path, content: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def stock_plans() -> dict[str, Any]:
    """Plans of a tiny plain host in 2D."""
    flat = {
        **{"data_identifier": "nnUNetPlans_2d", "batch_size": 2, "patch_size": [16, 16], "spacing": [1.0, 1.0]},
        **{"preprocessor_name": "DefaultPreprocessor", "batch_dice": True, "normalization_schemes": ["ZScore"]},
        **{"use_mask_for_norm": [False], "architecture": plain_architecture([4, 8, 16])},
    }
    return {
        **{"dataset_name": DATASET, "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"},
        **{"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager"},
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"2d": flat},
    }


def checkpoint(plans: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of a stock host as nnU-Net writes it."""
    host = empty_host(configuration_of(plans, "2d")["architecture"], 1, 3).to_empty(device="cpu")
    weights = {
        key: torch.randn(value.shape, generator=torch.Generator().manual_seed(0)) / 10
        for key, value in host.state_dict().items()
    }
    return {
        "network_weights": weights,
        "init_args": {"plans": plans, "configuration": "2d", "fold": 0, "dataset_json": dataset},
        "trainer_name": "nnUNetTrainer",
        "current_epoch": 3,
    }


def _summary() -> dict[str, Any]:
    cases = [
        {
            "metrics": {str(label): {"Dice": 0.5} for label in (1, 2)},
            "reference_file": f"gt/{case}.nii.gz",
            "prediction_file": f"validation/{case}.nii.gz",
        }
        for cases in PATIENTS.values()
        for case in cases
    ]
    return {
        "foreground_mean": {"Dice": 0.5},
        "mean": {"1": {"Dice": 0.5}, "2": {"Dice": 0.5}},
        "metric_per_case": cases,
    }


def _write_references(base: Path) -> None:
    from prediction_folders import write_masks

    write_masks(base / PREPARED / "gt_segmentations")


def _write_search(model: Path) -> None:
    genotype = Genotype.random(seed=0).to_dict()
    edges, operations = len(edges_of(4)), len(OPERATIONS)
    fold = model / "fold_0"
    for epoch in range(3):
        append_record(
            fold / "search.jsonl",
            EpochRecord(
                epoch=epoch,
                phase="search",
                seconds=1.0,
                weight_loss=0.5,
                arch_loss=0.5,
                probabilities=[[[1 / operations] * operations] * edges],
                edge_weights=[[0.5] * edges],
                jsd=[[0.1] * edges],
                mask=[[[1] * operations] * edges],
                pruned=[],
                decided=[[False] * edges],
                active_operations=edges * operations,
            ),
        )
    record = {"schema": 1, "status": "undecided", "message": "the budget ended", "epochs": 3, "seconds": 3.0, "seed": 0}
    record |= {"decided_edges": 0, "edges": edges, "genotype": genotype, "host": {"checkpoint": None}, "settings": {}}
    write(fold / "search_result.json", record)
    write(fold / "host.json", {"message": "trained here", "checkpoint": None})
    write(model / "genotype.json", {"2d": genotype})
