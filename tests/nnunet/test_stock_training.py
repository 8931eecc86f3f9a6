"""A host is trained as nnU-Net trains it: the same weights from the same start and batches, bit for bit."""

from __future__ import annotations

import os

import pytest
import torch
from commands import REPOSITORY
from nnunet_folders import Folders
from tiny_dataset import configure, equal, final_weights, make_trainer, train

from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.training.training_data import training_streams

STOCK = "nnUNetTrainerStockBudget"
EPOCHS = 4
"""Host and cells together, as the tiny budget has it."""


@pytest.fixture(autouse=True)
def _stock_trainer(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net finds the benchmark's trainer beside ours."""
    folders = (os.environ["nnUNet_extTrainer"], str(REPOSITORY / "scripts" / "stock"))
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(folders))


def test_the_host_trainer_and_the_control_are_nnunets_training(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = make_trainer(STOCK)
    torch.manual_seed(Settings().search.seed)
    stock.initialize()
    monkeypatch.setattr(stock, "get_dataloaders", lambda: training_streams(stock, _settings(), EPOCHS))
    stock.run_training()
    configure("longer", f"host.epochs={EPOCHS}")
    train("nnUNetTrainerIACHost", plans="longer")
    train("nnUNetTrainerIACIdentity")

    expected = final_weights(tiny.results / f"{STOCK}__tiny__2d" / "fold_0")
    for model in ("nnUNetTrainerIACHost__longer__2d", "nnUNetTrainerIACIdentity__tiny__2d"):
        assert equal(expected, final_weights(tiny.results / model / "fold_0")), model


def test_the_stock_arm_takes_the_steps_of_host_and_cells(tiny: Folders) -> None:
    configure("uneven", "host.epochs=3", "host.iterations=4", "training.epochs=2", "training.iterations=6")

    stock = make_trainer(STOCK, plans="uneven")

    assert (stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch) == (4, 6, 1)


def test_steps_that_are_no_whole_epochs_are_refused(tiny: Folders) -> None:
    configure("odd", "host.epochs=1", "host.iterations=4", "training.epochs=2", "training.iterations=6")

    with pytest.raises(ValueError, match=r"training\.iterations: expected a divisor of the 16 steps"):
        make_trainer(STOCK, plans="odd")


def _settings() -> Settings:
    return Settings.from_block({"training": {"validation_iterations": 1}, "host": {"iterations": 1}})
