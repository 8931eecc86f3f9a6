"""`nnunet-iac pretrain` from end to end on tiny data: both kinds of sources, go on, start anew, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import DATASET, Folders
from PIL import Image
from prepared_datasets import CASES, REGIONS, write_json, write_prepared

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.run_state import LOCK, alone_in
from nnunet_iac.nnunet.files.weights import PROVENANCE
from nnunet_iac.nnunet.pretraining.pretraining import Pretraining
from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT, CURVE, PICTURE, RESULT, STATE

OTHER = "Dataset991_Other"
FILES = sorted([CHECKPOINT, CURVE, LOCK, PICTURE, RESULT, STATE])
SHORT = "--epochs 2 --iterations 1 --watched 2 --full --device cpu".split()


@pytest.fixture
def data(folders: Folders, stock_plans: dict[str, Any]) -> Folders:
    """A target with one channel and a split, and a source with three."""
    write_prepared(folders, stock_plans)
    write_json(folders.preprocessed / "splits_final.json", [{"train": CASES[:4], "val": CASES[4:]}])
    write_prepared(folders, stock_plans, OTHER, channels=("R", "G", "B"), cases=CASES[:3])
    return folders


def pretrain(*words: str, source: tuple[str, ...] = ("--datasets", "991")) -> int:
    return main(["pretrain", "-d", "990", "-c", "2d", *source, *SHORT, *words])


def default_folder(data: Folders) -> Path:
    return data.results / "pretraining__nnUNetPlans__2d"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / CHECKPOINT)["network_weights"])


def same(first: Path, second: Path) -> bool:
    pairs = weights(first), weights(second)
    curves = [(folder / CURVE).read_text() for folder in (first, second)]
    return all(torch.equal(value, pairs[1][key]) for key, value in pairs[0].items()) and curves[0] == curves[1]


def write_images(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    for number, name in enumerate(("a", "b")):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(draw.integers(0, 99 + 99 * number, (20, 20, 3)).astype(np.uint8)).save(
                folder / name / f"{index}.png"
            )
    return folder


def test_it_writes_everything_where_the_trainer_looks_and_says_how_to_go_on(
    data: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain() == 0

    out, folder = capsys.readouterr().out, default_folder(data)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    record = json.loads((folder / RESULT).read_text())
    assert record["epochs"] == 2 and record["task"]["datasets"] == {OTHER: 3}
    assert record["watch"]["cases"] == 4 and record["watch"]["fold"] == 0 and record["watch"]["kind"] == "mr"
    assert read_checkpoint(folder / CHECKPOINT)[PROVENANCE]["pretraining"]["epoch"] == record["best_epoch"]
    assert "epoch 0 (random weights): robustness loss" in out and "2 epochs, 0 of 2 saved; best epoch" in out
    assert f"nnUNetv2_train 990 2d FOLD -p nnUNetPlans -pretrained_weights {folder / CHECKPOINT}" in out
    assert "-tr nnUNetTrainerPretrainedEncoder" in out and "WARNING" not in out


def test_validation_cases_of_the_fold_do_not_matter(data: Folders, stock_plans: dict[str, Any], tmp_path: Path) -> None:
    assert pretrain("-o", str(tmp_path / "first")) == 0
    write_prepared(data, stock_plans, values=dict.fromkeys(CASES[4:], 1e6))
    assert pretrain("-o", str(tmp_path / "second")) == 0

    assert same(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_images_of_a_folder_are_a_source_for_any_plan(
    folders: Folders,
    stock_plans: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    configuration: str,
) -> None:
    write_prepared(folders, stock_plans, channels=("FLAIR", "T1"), labels=REGIONS, configuration=configuration)
    images = write_images(tmp_path / "images")
    (images / "a" / "broken.png").write_bytes(b"no image")
    words = ["-d", "990", "-c", configuration, "--images", str(images), *SHORT, "-o", str(tmp_path / "out")]

    assert main(["pretrain", *words]) == 0

    out = capsys.readouterr().out
    assert "WARNING: 1 images could not be read and were left out: a/broken.png (cannot identify" in out
    assert "-tr nnUNetTrainerPretrainedEncoder" not in out, "that trainer does not look there"
    record = json.loads((tmp_path / "out" / RESULT).read_text())
    assert list(record["unreadable"]) == ["a/broken.png"] and record["task"]["images"] == "images"
    assert str(tmp_path) not in str(read_checkpoint(tmp_path / "out" / CHECKPOINT)[PROVENANCE])


def test_a_region_based_target_and_source_work(folders: Folders, stock_plans: dict[str, Any]) -> None:
    write_prepared(folders, stock_plans, labels=REGIONS)
    write_prepared(folders, stock_plans, OTHER, labels=REGIONS)

    assert pretrain() == 0
    assert weights(default_folder(folders))["decoder.seg_layers.1.weight"].shape[0] == 2, "two regions"


@pytest.mark.parametrize("source", ["--datasets", "--images"])
def test_stopped_and_continued_it_is_the_undisturbed_run(
    data: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    given = (source, "991" if source == "--datasets" else str(write_images(tmp_path / "images")))
    assert pretrain("-o", str(tmp_path / "undisturbed"), source=given) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "_train_epoch", _interrupted(Pretraining._train_epoch, epoch=2))
        assert pretrain("-o", str(tmp_path / "killed"), source=given) == 130
    capsys.readouterr()

    assert pretrain("-o", str(tmp_path / "killed"), "--c", source=given) == 0

    assert "going on after epoch 1" in capsys.readouterr().out and same(tmp_path / "undisturbed", tmp_path / "killed")


def _interrupted(train_epoch: Any, epoch: int) -> Any:
    def train(run: Pretraining) -> float:
        if run.epoch + 1 == epoch:
            raise KeyboardInterrupt
        return float(train_epoch(run))

    return train


def test_going_on_where_nothing_is_starts(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("--c") == 0
    assert "nothing to go on with in" in capsys.readouterr().out


def test_two_processes_do_not_pretrain_in_one_folder(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(default_folder(data)):
        assert pretrain("--overwrite") == 2

    assert "expected a folder that no other process works in" in capsys.readouterr().err
    assert not (default_folder(data) / STATE).exists() and pretrain("--overwrite") == 0


def test_a_pretraining_is_not_overwritten_unless_that_is_wanted(
    data: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain() == 0
    before = {path.name: path.read_bytes() for path in default_folder(data).iterdir()}
    assert pretrain("--seed", "1") == 2
    assert "has a pretraining already; go on with --c, start anew with --overwrite" in capsys.readouterr().err
    assert pretrain("--seed", "1", "--c") == 2
    assert "plan.seed is 0 there, 1 here" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in default_folder(data).iterdir()} == before

    assert pretrain("--seed", "1", "--overwrite") == 0

    assert (default_folder(data) / CURVE).read_bytes() != before[CURVE]


def test_going_on_with_other_arguments_is_refused(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain() == 0

    for argument, given, message in (
        ("--batch-size", "3", "task.batch_size is 2 there, 3 here"),
        ("--watched", "7", "watch.images is 2 there, 7 here"),
        ("--kind", "ct", "watch.kind is 'mr' there, 'ct' here"),
        ("--iterations", "3", "plan.iterations is 1 there, 3 here"),
        ("-f", "all", "watch.fold is 0 there, 'all' here"),
    ):
        assert pretrain("--c", argument, given) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        (("--datasets", "990", "991"), (), "--datasets: expected others than the target, got Dataset990_Tiny"),
        (("--datasets", "991", "991"), (), "--datasets: expected at least one, each once"),
        (("--datasets", "993"), (), "-d: Could not find a dataset with the ID 993"),
        (("--datasets", "991"), ("--source-plans", "none"), "plans in that folder: ['nnUNetPlans']"),
        (("--images", "nowhere"), (), "--images: expected a folder, found none at nowhere"),
        (("--datasets", "991"), ("-c", "3d"), "Dataset990_Tiny: configuration: expected one of"),
        (("--datasets", "991"), ("-f", "1"), "-f: expected a fold from 0 to 0, got 1"),
        (("--datasets", "991"), ("--batch-size", "0"), "--batch-size: expected at least 1, got 0"),
        (("--datasets", "991"), ("--epochs", "0"), "expected positive numbers and a seed from 0, got 0"),
        (("--datasets", "991"), ("--patience", "0"), "patience: expected a positive number of checks, got 0"),
        (("--datasets", "991"), ("--watched", "1"), "an image is compared with another one"),
        (("--datasets", "991"), ("--learning-rate", "1e30", "--iterations", "2"), "expected finite numbers, got"),
    ],
)
def test_a_mistake_is_one_message(
    data: Folders, capsys: pytest.CaptureFixture[str], source: tuple[str, ...], more: tuple[str, ...], message: str
) -> None:
    assert pretrain(*more, source=source) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac pretrain: ") and message in error and "Traceback" not in error
    assert {path.name for path in default_folder(data).glob("*")} <= {LOCK}, "nothing was written"


def test_a_target_without_training_cases_is_an_error(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(data.preprocessed / "splits_final.json", [{"train": [], "val": CASES}])

    assert pretrain() == 2
    assert "fold 0: expected training cases, found none" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("--device", "cuda") == 2
    assert "--device: expected one of this machine, ['cpu'" in capsys.readouterr().err


def test_nothing_that_lists_models_takes_the_folder_for_one(data: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain() == 0
    capsys.readouterr()

    assert main(["report", str(default_folder(data))]) == 2
    assert main(["compare", str(default_folder(data)), str(default_folder(data))]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert DATASET in str(default_folder(data))
