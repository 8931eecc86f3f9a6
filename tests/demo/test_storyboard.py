"""The commands of the demo: nnU-Net's own, in the right order, on the same plans and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_iac.demo.storyboard import BATCH_SIZE, HOST, IMPLANT, PLANS, SETTINGS, Demo, build_steps

PHANTOM = Demo("Dataset900_Phantom", None, 7, "cpu")
REAL = Demo("Dataset004_Hippocampus", "/data/Dataset004_Hippocampus", 7, "cuda")


def line(demo: Demo, name: str) -> str:
    return next(step.line for step in build_steps(demo) if step.name == name)


def test_the_steps_tell_the_story_in_order() -> None:
    names = ["phantom", "plan", "configure", "host", "implant", "predict", "overlays", "report"]
    assert [step.name for step in build_steps(PHANTOM)] == names
    assert [step.name for step in build_steps(REAL)] == names[1:]


def test_training_and_prediction_are_the_commands_of_nnunet() -> None:
    assert line(PHANTOM, "host") == f"nnUNetv2_train 900 2d 0 -tr {HOST} -p {PLANS} -device cpu"
    assert line(REAL, "implant") == f"nnUNetv2_train 4 2d 0 -tr {IMPLANT} -p {PLANS} -device cuda"
    assert line(REAL, "predict").startswith("nnUNetv2_predict -d 4 -i images -o predictions -c 2d -f 0")


def test_the_seed_reaches_phantom_and_search() -> None:
    assert line(PHANTOM, "phantom").endswith("--seed 7")
    assert line(PHANTOM, "configure").endswith("search.seed=7")


def test_the_budget_is_in_the_settings_that_configure_knows() -> None:
    settings = pytest.importorskip("nnunet_iac.nnunet.files.settings", reason="needs nnU-Net")
    assignments = pytest.importorskip("nnunet_iac.nnunet.files.setting_assignments", reason="needs nnU-Net")
    block = assignments.parse_assignments([*SETTINGS, "search.seed=7"])
    assert settings.Settings.from_block(block).host.epochs <= 20
    assert f"--batch-size {BATCH_SIZE}" in line(PHANTOM, "configure")


def test_each_step_has_its_own_log_and_product() -> None:
    steps = build_steps(PHANTOM)
    for kind in ({step.log for step in steps}, {step.makes[0] for step in steps}, {step.name for step in steps}):
        assert len(kind) == len(steps)


def test_nothing_outside_the_folder_is_ever_removed() -> None:
    for demo in (PHANTOM, REAL):
        for path in (path for step in build_steps(demo) for path in step.makes):
            assert not path.is_absolute() and ".." not in path.parts
            assert demo.raw is None or path.parts[0] != "nnUNet_raw"


def test_real_data_are_predicted_on_validation_images_and_shown_with_their_labels() -> None:
    assert REAL.images == Path("images")
    assert REAL.labels == Path("nnUNet_raw/Dataset004_Hippocampus/labelsTr")
    assert PHANTOM.images == Path("nnUNet_raw/Dataset900_Phantom/imagesTs")
