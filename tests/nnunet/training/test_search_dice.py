"""The Dice of a search's epochs: nnU-Net's own number on the validation cases, and nothing else is changed by it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import Folders
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.nnunet.cases.batches import make_batch
from nnunet_iac.nnunet.training import search_dice
from nnunet_iac.nnunet.training.search_dice import DICE_STREAM, mean_dice
from nnunet_iac.nnunet.training.training_data import search_data
from nnunet_iac.search import search

TRAINER = "nnUNetTrainerIAC"


def trace(fold: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (fold / "search.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def measured(iterations: int, fold: int | str = 0) -> Any:
    """An initialised trainer and its search's Dice."""
    configure("watched", f"search.validation_iterations={iterations}")
    trainer = make_trainer(TRAINER, plans="watched", fold=fold)
    trainer.initialize()
    return trainer, search_data(trainer, trainer.settings).dice


def random_states() -> list[Any]:
    return [str(random.getstate()), str(np.random.get_state()), torch.get_rng_state().tolist()]


def test_a_search_killed_and_continued_is_the_same_with_it_and_repeats_its_numbers(
    tiny: Folders, finished: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("watched", "search.validation_iterations=2")
    plain = finished.results / f"{TRAINER}__tiny__2d" / "fold_0"
    watched = tiny.results / f"{TRAINER}__watched__2d" / "fold_0"
    with monkeypatch.context() as patch:
        kill_at(patch, search, "save_state", 4)  # after the line of the third epoch was written, before its state
        with pytest.raises(Killed):
            train(TRAINER, plans="watched")
    before = trace(watched)

    train(TRAINER, plans="watched", resume=True)

    lines = trace(watched)
    assert len(before) == 3 and lines[:3] == before
    assert [0 <= line.pop("dice") <= 1 for line in lines] == [True] * 4
    assert trace(plain) == lines and equal(final_weights(plain), final_weights(watched))
    assert ", Dice 0." in log_of(watched) and ", Dice " not in log_of(plain)


def test_it_is_the_pseudo_dice_of_nnunet_on_the_validation_cases(tiny: Folders) -> None:
    trainer, dice = measured(3)
    found = dice(trainer.network)

    loader = nnUNetTrainer.get_dataloaders(trainer)[1].data_loader
    trainer.network.eval()
    with torch.no_grad():
        batches = (make_batch(loader, (0, DICE_STREAM, index)) for index in range(3))
        trainer.on_validation_epoch_end([trainer.validation_step(batch) for batch in batches])
    assert found == pytest.approx(trainer.logger.get_value("mean_fg_dice", step=-1)) and found > 0


@pytest.mark.parametrize("training", [True, False])
def test_it_says_the_same_again_and_leaves_all_as_it_was(tiny: Folders, training: bool) -> None:
    trainer, dice = measured(1)
    network = trainer.network.train(training)
    trainer.network, trainer.inference_allowed_mirroring_axes = "compiled", (1,)
    before = random_states()

    assert dice(network) == dice(network) and search_data(trainer, trainer.settings).dice is not None

    assert random_states() == before and [m.training for m in network.modules()].count(not training) == 0
    assert (trainer.network, trainer.inference_allowed_mirroring_axes) == ("compiled", (1,))
    assert all(p.grad is None for p in network.parameters())


def test_ranks_have_batches_of_their_own_and_add_their_voxels(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, dice = measured(1)
    counted: list[Any] = []
    monkeypatch.setattr(search_dice.ranks, "gather", lambda counts: counted.append(counts) or [*counted])
    dice(trainer.network)
    trainer.local_rank = 1

    together = dice(trainer.network)

    assert not np.array_equal(*counted) and together == mean_dice(counted[0] + counted[1])


def test_fold_all_has_no_cases_for_it_and_says_so(tiny: Folders) -> None:
    trainer, dice = measured(2, fold="all")

    assert dice is None
    assert "WARNING: search.validation_iterations=2: fold all trains on every case" in log_of(
        Path(trainer.output_folder)
    )
