"""`nnUNetTrainerPretrainedEncoder` starts from the encoder of a pretraining, and only a start does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import REPOSITORY
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from prepared_datasets import write_json, write_prepared
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights
from nnunet_iac.nnunet.pretraining.pretrained_encoder import find_pretrained, pretraining_folder
from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT

TRAINER = "nnUNetTrainerPretrainedEncoder"


@pytest.fixture
def pretrained(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A preprocessed data set, plans `tiny` derived from its plans, and a checkpoint pretrained for the latter."""
    monkeypatch.setenv("nnUNet_extTrainer", str(REPOSITORY / "trainers"))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    write_prepared(folders, stock_plans)
    write_json(folders.preprocessed / "dataset_fingerprint.json", {})
    configure("tiny")
    write_pretrained(folders)
    return folders


def write_pretrained(folders: Folders, plans: str = "nnUNetPlans", fold: int = 0, seed: int = 7) -> Path:
    target = read_weight_target(DATASET, "2d", plans)
    path = pretraining_folder(folders.results.parent, DATASET, plans, "2d") / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, build_network(target, seed), target, {"pretraining": {"watch": {"fold": fold}}})
    return path


def fold_folder(folders: Folders) -> Path:
    return folders.results / f"{TRAINER}__tiny__2d" / "fold_0"


def parts(network: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Encoder, and what is no encoder."""
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    encoder = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    return encoder, {k: v for k, v in weights.items() if not k.startswith(("encoder.", "decoder.encoder."))}


def started(name: str = TRAINER, *, resume: bool = False, weights: Path | None = None) -> Any:
    """A trainer as it is when its training begins."""
    trainer = make_trainer(name, resume=resume)
    maybe_load_checkpoint(trainer, resume, False, str(weights) if weights else None)
    if not trainer.was_initialized:
        trainer.initialize()
    return trainer


def expected_encoder(plans: str = "nnUNetPlans", seed: int = 7) -> dict[str, torch.Tensor]:
    return parts(build_network(read_weight_target(DATASET, "2d", plans), seed))[0]


@pytest.mark.parametrize("resume", [False, True], ids=["first", "--c without a checkpoint"])
def test_it_starts_from_the_pretrained_encoder_with_the_seeded_decoder(pretrained: Folders, resume: bool) -> None:
    encoder, rest = parts(started(resume=resume).cell_network)
    host_encoder, host_rest = parts(started("nnUNetTrainerIACHost").cell_network)

    assert equal(encoder, expected_encoder()) and not equal(encoder, host_encoder)
    assert equal(rest, host_rest) and any(".seg_layers." in key for key in rest)


def test_plans_of_their_own_come_before_those_they_were_derived_from(pretrained: Folders) -> None:
    write_pretrained(pretrained, "tiny", seed=8)

    assert equal(parts(started().cell_network)[0], expected_encoder("tiny", seed=8))


def test_weights_given_on_the_command_line_win(pretrained: Folders) -> None:
    target = read_weight_target(DATASET, "2d")
    given = pretrained.base / "given.pth"
    write_weights(given, build_network(target, seed=11), target, {})

    trainer = started(weights=given)

    assert equal(parts(trainer.cell_network)[0], expected_encoder(seed=11))
    trainer.on_train_start()
    assert "starting from -pretrained_weights" in trainer.host_source.message


def test_without_a_pretraining_the_error_says_what_to_run(pretrained: Folders) -> None:
    shutil.rmtree(pretrained.results / "pretraining__nnUNetPlans__2d")

    with pytest.raises(FileNotFoundError, match=r"nnunet-iac pretrain -d Dataset990_Tiny -c 2d -p nnUNetPlans with"):
        started()


def test_an_encoder_of_another_architecture_is_refused(pretrained: Folders) -> None:
    path = pretrained.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 32]
    write_json(path, plans)
    write_pretrained(pretrained)

    with pytest.raises(ValueError, match=r"encoder: expected the architecture of the plans, got another one in .*size"):
        started()


def test_a_damaged_encoder_is_refused(pretrained: Folders) -> None:
    find_pretrained(pretrained.results.parent, json_plans(pretrained), "2d").write_bytes(b"half")

    with pytest.raises(ValueError, match="checkpoint: "):
        started()


def json_plans(folders: Folders) -> dict[str, Any]:
    return dict(json.loads((folders.preprocessed / "nnUNetPlans.json").read_text()))


@pytest.mark.parametrize("fold", [0, 1])
def test_the_log_says_where_the_encoder_is_from_and_whose_images_it_was_watched_on(
    pretrained: Folders, fold: int
) -> None:
    path = write_pretrained(pretrained, fold=fold)

    started()

    log = log_of(fold_folder(pretrained))
    assert f"Encoder: weights of {path}" in log
    assert ("watched on the training images of fold 1; validation images of fold 0 may be among them" in log) == (
        fold == 1
    )


def test_continued_it_is_the_undisturbed_training_and_reads_no_encoder(
    pretrained: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(TRAINER)
    assert trainer.current_epoch == 2, "host.epochs of the tiny budget"
    expected = final_weights(fold_folder(pretrained))
    shutil.rmtree(fold_folder(pretrained))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, type(trainer).__mro__[1], "on_epoch_start", 2)
        train(TRAINER)
    shutil.rmtree(pretrained.results / "pretraining__nnUNetPlans__2d")

    train(TRAINER, resume=True)

    assert equal(final_weights(fold_folder(pretrained)), expected)
    validated = make_trainer(TRAINER)
    maybe_load_checkpoint(validated, False, True)
    assert equal(dict(validated.cell_network.state_dict()), expected), "--val reads no encoder either"
