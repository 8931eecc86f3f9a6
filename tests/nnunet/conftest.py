"""The tiny data set, preprocessed once, and one finished training of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import REPOSITORY
from nnunet_folders import DATASET, Folders
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from tiny_dataset import configure, plan, train, write_raw


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw and preprocessed tiny data set; `tiny` are its plans with a tiny budget. Read only."""
    base = tmp_path_factory.mktemp("preprocessed")
    write_raw(base / "raw" / DATASET)
    (base / "results").mkdir()
    plan(base)
    with pytest.MonkeyPatch.context() as patch:
        enter(base, patch)
        configure("tiny")
    return base


@pytest.fixture
def tiny(preprocessed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A copy of the tiny data set for this test alone."""
    base = tmp_path / "nnunet"
    shutil.copytree(preprocessed, base)
    enter(base, monkeypatch)
    return Folders(base)


@pytest.fixture(scope="session")
def finished(preprocessed: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Fold 0 of `nnUNetTrainerIAC` on the tiny data set, uninterrupted. Read only."""
    base = tmp_path_factory.mktemp("finished") / "nnunet"
    shutil.copytree(preprocessed, base)
    with pytest.MonkeyPatch.context() as patch:
        enter(base, patch)
        train("nnUNetTrainerIAC")
    return Folders(base)


@pytest.fixture
def continued(finished: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A copy of the finished training for this test alone."""
    base = tmp_path / "nnunet"
    shutil.copytree(finished.base, base)
    enter(base, monkeypatch)
    return Folders(base)


def enter(base: Path, patch: pytest.MonkeyPatch) -> None:
    """Let nnU-Net's variables name this folder; progress.png takes longer than a tiny epoch."""
    for name, value in Folders(base).variables.items():
        patch.setenv(name, value)
    patch.setenv("nnUNet_extTrainer", str(REPOSITORY / "trainers"))
    patch.setenv("nnUNet_n_proc_DA", "0")
    patch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
