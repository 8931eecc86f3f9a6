"""Regions, several channels, colour images, residual hosts and volumes: one step of search and training each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_folders import Folders
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset
from PIL import Image
from tiny_dataset import configure, final_weights, train, write_raw

from nnunet_iac.cells.network import CellUNet


def preprocess_again(tiny: Folders, configurations: tuple[str, ...] = ("2d",)) -> None:
    """Keep the plans, replace the images."""
    shutil.rmtree(tiny.preprocessed / "nnUNetPlans_2d")
    shutil.copy(tiny.raw / "dataset.json", tiny.preprocessed / "dataset.json")
    preprocess_dataset(990, configurations=configurations, num_processes=(1,))


def change_plans(tiny: Folders, **changes: Any) -> None:
    path = tiny.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"].update(changes)
    path.write_text(json.dumps(plans))


def short() -> None:
    configure("tiny", "host.epochs=1", "training.epochs=1", "search.epochs=2")


def heads(fold: Path) -> set[int]:
    return {v.shape[0] for k, v in final_weights(fold).items() if k.startswith("decoder.seg_layers.")}


def test_overlapping_regions_over_two_channels(tiny: Folders) -> None:
    shutil.rmtree(tiny.raw)
    write_raw(tiny.raw, channels=2, regions=True)
    plans = json.loads((tiny.preprocessed / "nnUNetPlans.json").read_text())
    properties = plans["foreground_intensity_properties_per_channel"]
    plans["foreground_intensity_properties_per_channel"] = {str(c): properties["0"] for c in range(2)}
    (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans))
    change_plans(tiny, normalization_schemes=["ZScoreNormalization"] * 2, use_mask_for_norm=[False] * 2)
    preprocess_again(tiny)
    short()

    trainer = train("nnUNetTrainerIAC")

    fold = tiny.results / "nnUNetTrainerIAC__tiny__2d" / "fold_0"
    assert trainer.label_manager.has_regions and heads(fold) == {2}
    assert final_weights(fold)["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 2


def test_a_residual_host(tiny: Folders) -> None:
    path = tiny.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    path.write_text(json.dumps(plans))
    short()

    trainer = train("nnUNetTrainerIAC")

    assert isinstance(trainer.network, CellUNet) and trainer.network.cells is not None
    assert any("blocks" in key for key in trainer.network.state_dict())


def test_colour_images(tiny: Folders) -> None:
    shutil.rmtree(tiny.raw)
    write_colour_images(tiny.raw)
    plans = json.loads((tiny.preprocessed / "nnUNetPlans.json").read_text())
    properties = plans["foreground_intensity_properties_per_channel"]["0"]
    plans["foreground_intensity_properties_per_channel"] = {str(c): properties for c in range(3)}
    plans["image_reader_writer"] = "NaturalImage2DIO"
    (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans))
    change_plans(tiny, normalization_schemes=["RGBTo01Normalization"] * 3, use_mask_for_norm=[False] * 3)
    preprocess_again(tiny)
    short()

    train("nnUNetTrainerIAC")

    fold = tiny.results / "nnUNetTrainerIAC__tiny__2d" / "fold_0"
    assert final_weights(fold)["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 3


@pytest.mark.parametrize("fold", ["all"])
def test_the_fold_of_all_cases(tiny: Folders, fold: str) -> None:
    short()

    train("nnUNetTrainerIAC", fold=fold)  # type: ignore[arg-type]

    record = json.loads((tiny.results / "nnUNetTrainerIAC__tiny__2d" / "fold_all" / "search_result.json").read_text())
    assert len(record["weight_cases"] + record["architecture_cases"]) == 12


def write_colour_images(raw: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in range(6):
        label = np.zeros((24, 24), np.uint8)
        label[4:16, 6:18] = 1
        label[8:12, 9:14] = 2
        noise = generator.integers(0, 60, (24, 24, 3))
        Image.fromarray((noise + 60 * label[..., None]).astype(np.uint8)).save(raw / "imagesTr" / f"c{case}_0000.png")
        Image.fromarray(label).save(raw / "labelsTr" / f"c{case}.png")
    dataset = {
        "channel_names": {"0": "rgb_to_0_1", "1": "rgb_to_0_1", "2": "rgb_to_0_1"},
        "labels": {"background": 0, "shell": 1, "box": 2},
        "numTraining": 6,
        "file_ending": ".png",
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
