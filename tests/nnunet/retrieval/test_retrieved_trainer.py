"""`nnUNetTrainerMedNNS` starts from what was retrieved, and only a start does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from prepared_datasets import write_json, write_prepared
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.nnunet.files.model_folder import RECORD
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights
from nnunet_iac.nnunet.retrieval.retrieved_trainer import START, RetrievedTrainer, retrieval_folder

TRAINER = "nnUNetTrainerMedNNS"


@pytest.fixture
def retrieved(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Plans of a retrieval with its weights, and plans `tiny` that were derived from them."""
    monkeypatch.setenv("nnUNet_extTrainer", str(REPOSITORY / "trainers"))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    write_prepared(folders, stock_plans)
    write_json(folders.preprocessed / "dataset_fingerprint.json", {})
    configure("tiny")
    write_retrieval(folders)
    return folders


def write_retrieval(folders: Folders, *, seed: int = 7, **changed: Any) -> Path:
    target = read_weight_target(DATASET, "2d")
    folder = retrieval_folder(folders.results.parent, DATASET, "nnUNetPlans", "2d")
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / START, build_network(target, seed), target, {})
    record = {"schema": 1, "outlier": False, "why": "Nearest of 3 sources.", "fold": 0, **changed}
    write_json(folder / RECORD, record)
    return folder


def started(name: str = TRAINER, *, resume: bool = False, weights: Path | None = None) -> Any:
    """A trainer as it is when its training begins."""
    trainer = make_trainer(name, resume=resume)
    maybe_load_checkpoint(trainer, resume, False, str(weights) if weights else None)
    if not trainer.was_initialized:
        trainer.initialize()
    return trainer


def weights_of(trainer: Any) -> dict[str, Any]:
    return {key: value.clone() for key, value in trainer.cell_network.state_dict().items()}


def fold_folder(folders: Folders) -> Path:
    return folders.results / f"{TRAINER}__tiny__2d" / "fold_0"


def test_it_starts_from_all_of_the_retrieved_weights(retrieved: Folders) -> None:
    expected = dict(build_network(read_weight_target(DATASET, "2d"), 7).state_dict())

    assert equal(weights_of(started()), expected) and not equal(weights_of(started("nnUNetTrainerIACHost")), expected)
    assert "Start: Nearest of 3 sources. Weights of" in log_of(fold_folder(retrieved))


def test_an_outlier_starts_as_nnunet_does_and_says_why(retrieved: Folders) -> None:
    (write_retrieval(retrieved, outlier=True, why="No source is near.") / START).unlink()

    assert equal(weights_of(started()), weights_of(started("nnUNetTrainerIACHost")))
    assert "Start: nnU-Net's own initialisation. No source is near." in log_of(fold_folder(retrieved))


def test_a_killed_training_goes_on_from_its_own_weights(retrieved: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    train(TRAINER)
    undisturbed = final_weights(fold_folder(retrieved))
    shutil.rmtree(fold_folder(retrieved))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, RetrievedTrainer, "on_epoch_end", 1, after=True)
        train(TRAINER)
    shutil.rmtree(retrieval_folder(retrieved.results.parent, DATASET, "nnUNetPlans", "2d"))

    train(TRAINER, resume=True)

    assert equal(final_weights(fold_folder(retrieved)), undisturbed)


def test_another_fold_is_told_what_the_choice_has_seen(retrieved: Folders) -> None:
    write_retrieval(retrieved, fold=3)

    started()

    assert "NOTE: retrieved by the training images of fold 3" in log_of(fold_folder(retrieved))


def test_without_a_retrieval_the_error_says_what_to_run(retrieved: Folders) -> None:
    shutil.rmtree(retrieval_folder(retrieved.results.parent, DATASET, "nnUNetPlans", "2d"))

    with pytest.raises(FileNotFoundError, match="run nnunet-iac retrieve -d Dataset990_Tiny -c 2d and train the plans"):
        started()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged file"), ("{}", "damaged file"), ('{"schema": 9, "outlier": 0, "why": "", "fold": 0}', "version 1")],
)
def test_a_damaged_record_is_refused(retrieved: Folders, content: str, message: str) -> None:
    folder = retrieval_folder(retrieved.results.parent, DATASET, "nnUNetPlans", "2d")
    (folder / RECORD).write_text(content)

    with pytest.raises(ValueError, match=message):
        started()


def test_a_start_of_another_architecture_is_refused(retrieved: Folders) -> None:
    path = retrieved.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 32]
    write_json(path, plans)
    write_retrieval(retrieved)

    with pytest.raises(ValueError, match="start: expected the architecture of the plans, got another one"):
        started()
