"""NaN in a training is named in the step that has it, costs its epoch once, and stops the training the second time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.nnunet.cases import batches
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.training.last_good import RECORD, read_restoration
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.training.training_data import TRAINING_STREAM

TRAINER = "nnUNetTrainerIACRandom"
"""The phases of nnUNetTrainerIAC without its search: epochs 0 and 1 train the host, 2 and 3 host and cells."""


def fold(folders: Folders, plans: str = "tiny") -> Path:
    return folders.results / f"{TRAINER}__{plans}__2d" / "fold_0"


def poison(monkeypatch: pytest.MonkeyPatch, *indices: int) -> list[int]:
    """Let these batches of the training hold NaN in their second sample; return the indices that were drawn."""
    drawn: list[int] = []

    def poisoned(loader: Any, key: tuple[int, ...]) -> dict[str, Any]:
        batch = original(loader, key)
        if key[1] == TRAINING_STREAM:
            drawn.append(key[2])
            if key[2] in indices:
                batch["data"][1, 0, :2] = math.nan
        return batch

    original = batches.make_batch
    monkeypatch.setattr(batches, "make_batch", poisoned)
    return drawn


@pytest.mark.parametrize("epoch", [0, 2, *(pytest.param(e, marks=pytest.mark.slow) for e in (1, 3))])
def test_once_costs_that_epoch_only_and_the_case_is_named(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    drawn = poison(monkeypatch, epoch)

    trainer = train(TRAINER)

    assert drawn == [0, 1, 2, 3, 4], "a batch was drawn again, or not drawn"
    assert all(bool(v.isfinite().all()) for v in final_weights(fold(tiny)).values())
    assert len(trainer.logger.get_value("train_losses", step=None)) == 4
    text = log_of(fold(tiny))
    assert f"in epoch {epoch}, step 1. Source: data: 64 of 1024 values of channel 0 of sample 1 (case 'patient" in text
    assert f"Restored the start of epoch {epoch}; the training goes on with other batches" in text
    assert read_restoration(fold(tiny)) == trainer._restored


def test_it_goes_on_from_the_weights_of_the_epoch_before(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    configure("longer", "training.iterations=2")
    poison(monkeypatch, 3)
    before: list[dict[str, torch.Tensor]] = []
    start = IACTrainer.on_train_epoch_start

    def remember(trainer: IACTrainer) -> None:
        before.append({key: value.clone() for key, value in trainer.cell_network.state_dict().items()})
        start(trainer)

    monkeypatch.setattr(IACTrainer, "on_train_epoch_start", remember)

    train(TRAINER, plans="longer")

    # Epoch 2 has batches 2 and 3; it was begun twice, and its first step had moved the weights.
    assert len(before) == 5 and equal(before[2], before[3]) and not equal(before[1], before[2])


@pytest.mark.parametrize(
    ("name", "call"), [("on_train_epoch_end", 3), ("on_epoch_end", 3)], ids=["in the epoch", "after it"]
)
def test_a_restored_training_killed_and_continued_equals_an_uninterrupted_one(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    poison(monkeypatch, 2)
    train(TRAINER)
    expected = final_weights(fold(tiny))
    with monkeypatch.context() as patch:
        kill_at(patch, IACTrainer, name, call, after=name == "on_epoch_end")
        with pytest.raises(Killed):
            train(TRAINER)

    train(TRAINER, resume=True)

    assert equal(final_weights(fold(tiny)), expected)


def test_again_stops_it_with_both_sources_and_a_remedy_and_the_checkpoint_is_whole(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 1, 4)

    with pytest.raises(FloatingPointError) as caught:
        train(TRAINER)

    said = str(caught.value)
    assert "in epoch 3, step 1. Source: data:" in said and "epoch 1 was restored once already" in said
    assert "repair or remove it, and preprocess again" in said
    checkpoint = read_checkpoint(fold(tiny) / "checkpoint_latest.pth")
    assert checkpoint["current_epoch"] == 3
    assert all(bool(v.isfinite().all()) for v in checkpoint["network_weights"].values())


def test_that_it_was_restored_is_remembered_over_a_kill(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 1, 4)
    with monkeypatch.context() as patch:
        kill_at(patch, IACTrainer, "on_epoch_end", 2, after=True)
        with pytest.raises(Killed):
            train(TRAINER)

    with pytest.raises(FloatingPointError, match="epoch 1 was restored once already"):
        train(TRAINER, resume=True)


def test_a_new_run_does_not_remember_an_old_one(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        poison(patch, 1)
        train(TRAINER)

    train(TRAINER)

    assert not (fold(tiny) / RECORD).exists()


def test_a_weight_that_is_not_a_number_is_named_at_the_end_of_the_epoch(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(TRAINER)
    step = IACTrainer.train_step

    def breaking(self: IACTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        output = step(self, batch)
        self.cell_network.decoder.seg_layers[1].bias.data[0] = math.inf
        return output

    monkeypatch.setattr(IACTrainer, "train_step", breaking)
    with pytest.raises(FloatingPointError, match=r"weights: .*in epoch 0, the first in decoder, segmentation layer 1"):
        trainer.run_training()


def test_without_checkpoints_it_is_restored_as_well(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = poison(monkeypatch, 3)
    trainer = make_trainer(TRAINER)
    trainer.disable_checkpointing = True

    trainer.run_training()

    assert drawn == [0, 1, 2, 3, 4] and trainer.current_epoch == 4


def test_a_damaged_record_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(json.dumps({"schema": 9}))

    with pytest.raises(ValueError, match=r"expected the record of a restored epoch, got a damaged file .*remove it"):
        read_restoration(tmp_path)
