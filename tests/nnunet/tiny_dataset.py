"""A data set so small that nnU-Net plans, preprocesses and trains it in seconds; one training as a function."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunet_folders import DATASET
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

from nnunet_iac.cli.main import main

TESTS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
BUDGET = (
    "host.epochs=2 host.iterations=1 search.epochs=4 search.warmup_epochs=1 search.iterations=1 "
    "training.epochs=2 training.iterations=1 training.validation_iterations=1"
).split()
PATIENTS = 6
TIMEOUT = 300


def write_raw(folder: Path, channels: int = 1, regions: bool = False) -> None:
    """Two noisy cases with a bright box in a brighter shell for each of six patients."""
    generator = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    groups = {f"patient{p}": [f"patient{p}_{phase}" for phase in "ab"] for p in range(PATIENTS)}
    for case in (case for cases in groups.values() for case in cases):
        label = np.zeros((8, 24, 24), np.uint8)
        y, x = generator.integers(3, 11, 2)
        label[1:7, y : y + 10, x : x + 10] = 1
        label[2:6, y + 3 : y + 7, x + 3 : x + 7] = 2
        for channel in range(channels):
            image = label + generator.normal(0, 0.5, label.shape)
            write_image(folder / "imagesTr" / f"{case}_{channel:04}.nii.gz", image.astype(np.float32))
        write_image(folder / "labelsTr" / f"{case}.nii.gz", label)
    labels: dict[str, Any] = {"background": 0, "shell": 1, "box": 2}
    dataset = {"channel_names": {str(c): f"c{c}" for c in range(channels)}, "labels": labels}
    dataset |= {"numTraining": 2 * PATIENTS, "file_ending": ".nii.gz"}
    if regions:
        dataset |= {"labels": {"background": 0, "whole": [1, 2], "box": [2]}, "regions_class_order": [1, 2]}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "patient_groups.json").write_text(json.dumps(groups))


def write_image(path: Path, image: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(image), str(path))


def shrink(plans: dict[str, Any], configuration: str = "2d") -> None:
    """Make the planned host tiny."""
    plan = plans["configurations"][configuration]
    dimension = len(plan["patch_size"])
    plan.update(batch_size=2, patch_size=[32] * dimension)
    plan["architecture"]["arch_kwargs"].update(
        n_stages=3,
        features_per_stage=[8, 16, 32],
        kernel_sizes=[[3] * dimension] * 3,
        strides=[[1] * dimension, [2] * dimension, [2] * dimension],
        n_conv_per_stage=[1] * 3,
        n_conv_per_stage_decoder=[1] * 2,
    )


def plan(base: Path, dataset: str = DATASET, configurations: str = "2d") -> None:
    """Plan and preprocess with nnU-Net's own command, then shrink the host."""
    number = dataset[len("Dataset") :][:3]
    command(base, f"nnUNetv2_plan_and_preprocess -d {number} -c {configurations} -npfp 1 -np 1")
    path = base / "preprocessed" / dataset / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    for configuration in configurations.split():
        shrink(plans, configuration)
    path.write_text(json.dumps(plans))


def environment(base: Path, **variables: str) -> dict[str, str]:
    """A user's environment in which the modules of the tests are found too."""
    found = commands.environment(base, **variables)
    return {**found, "PYTHONPATH": os.pathsep.join([found["PYTHONPATH"], *TESTS])}


def command(base: Path, line: str, **variables: str) -> str:
    """Run one command of a user and return what it printed."""
    return commands.run(line.split(), environment(base, **variables), base, TIMEOUT)


def configure(output: str, *settings: str, plans: str = "nnUNetPlans", configuration: str = "2d") -> None:
    """`nnunet-iac configure` with the tiny budget, then these settings."""
    words = f"configure -d {DATASET} -c {configuration} -p {plans} -o {output} --overwrite --set".split()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([*words, *BUDGET, *settings]) == 0


def make_trainer(name: str, *, fold: int = 0, plans: str = "tiny", resume: bool = False) -> Any:
    """Build a trainer as `nnUNetv2_train` does."""
    return get_trainer_from_args(DATASET, "2d", fold, name, plans, resume, device=torch.device("cpu"))


def train(
    name: str, *, fold: int = 0, plans: str = "tiny", resume: bool = False, pretrained: Path | None = None
) -> Any:
    """Do what `nnUNetv2_train` does, without the validation, and return the trainer."""
    trainer = make_trainer(name, fold=fold, plans=plans, resume=resume)
    maybe_load_checkpoint(trainer, resume, False, str(pretrained) if pretrained else None)
    trainer.run_training()
    return trainer


def final_weights(fold: Path) -> dict[str, torch.Tensor]:
    """Weights of a finished fold."""
    weights = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)["network_weights"]
    return dict(weights)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def log_of(fold: Path) -> str:
    """Everything that nnU-Net logged in a fold, oldest first."""
    return "\n".join(path.read_text() for path in sorted(fold.glob("training_log_*.txt")))


class Killed(BaseException):
    """Stands for the death of the process: nobody may catch it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int, *, after: bool = False) -> None:
    """Let the process die before (or after) the given call of a function, counted from 1."""
    original: Callable[..., Any] = getattr(place, name)
    calls = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Killed
        result = original(*args, **kwargs)
        if calls == call:
            raise Killed
        return result

    monkeypatch.setattr(place, name, dying)
