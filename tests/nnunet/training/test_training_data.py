"""The batches of a training without augmentation are those of nnU-Net's own validation loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tiny_dataset import Killed, configure, kill_at, make_trainer, train

from nnunet_iac.nnunet.cases.batches import make_batch
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.training.training_data import TRAINING_STREAM, VALIDATION_STREAM

STEPS = {"nnUNetTrainerIAC": 4, "nnUNetTrainerIACHost": 2, "nnUNetTrainerAttentionSkips": 4}
"""Training steps of both phases (or of the host alone) at the tiny budget."""

Recorded = list[dict[str, Any]]


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two batches have the same images, targets and cases."""
    images = first["data"].shape == second["data"].shape and torch.equal(first["data"], second["data"])
    targets = all(torch.equal(a, b) for a, b in zip(first["target"], second["target"], strict=True))
    return images and targets and list(first["keys"]) == list(second["keys"])


def validation_loader(trainer: nnUNetTrainer, *, of_training_cases: bool) -> Any:
    """The loader that nnU-Net itself builds for validation, of the training cases if they are wanted."""
    training, validation = trainer.do_split()
    with pytest.MonkeyPatch.context() as patch:
        if of_training_cases:
            patch.setattr(trainer, "do_split", lambda: (validation, training))
        return nnUNetTrainer.get_dataloaders(trainer)[1].data_loader


def record_batches(patch: pytest.MonkeyPatch) -> Recorded:
    """Note what every training step sees."""
    recorded: Recorded = []
    original = IACTrainer.train_step

    def noting(self: IACTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        recorded.append(batch)
        return original(self, batch)

    patch.setattr(IACTrainer, "train_step", noting)
    return recorded


def final_mirroring(folders: Folders, trainer: str, plans: str) -> Any:
    """The axes along which nnU-Net's predictor would mirror."""
    path: Path = folders.results / f"{trainer}__{plans}__2d" / "fold_0" / "checkpoint_final.pth"
    return torch.load(path, weights_only=False)["inference_allowed_mirroring_axes"]


@pytest.mark.parametrize("trainer", STEPS)
def test_without_augmentation_every_step_of_both_phases_sees_the_validation_transform_of_the_training_cases(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    configure("plain", "training.augment=false")  # the search is augmented all the same
    recorded = record_batches(monkeypatch)

    trained = train(trainer, plans="plain")

    assert len(recorded) == STEPS[trainer] and trained.inference_allowed_mirroring_axes is None
    loader = validation_loader(trained, of_training_cases=True)
    for index, batch in enumerate(recorded):
        assert same(batch, make_batch(loader, (0, TRAINING_STREAM, index)))
    assert final_mirroring(tiny, trainer, "plain") is None


def test_with_augmentation_no_step_does_and_prediction_mirrors(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = record_batches(monkeypatch)

    trained = train("nnUNetTrainerIACIdentity")

    loader = validation_loader(trained, of_training_cases=True)
    expected = [make_batch(loader, (0, TRAINING_STREAM, index)) for index in range(len(recorded))]
    assert recorded and not any(same(*pair) for pair in zip(recorded, expected, strict=True))
    assert final_mirroring(tiny, "nnUNetTrainerIACIdentity", "tiny") == (0, 1)


@pytest.mark.parametrize("augment", ["true", "false"])
def test_validation_is_never_augmented(tiny: Folders, augment: str) -> None:
    configure("chosen", f"training.augment={augment}")
    trainer = make_trainer("nnUNetTrainerIAC", plans="chosen")
    trainer.initialize()

    batch = next(trainer.get_dataloaders()[1])

    loader = validation_loader(trainer, of_training_cases=False)
    assert same(batch, make_batch(loader, (0, VALIDATION_STREAM, 0)))


def test_a_run_killed_in_its_search_goes_on_without_augmentation(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("plain", "training.augment=false")
    recorded = record_batches(monkeypatch)
    with monkeypatch.context() as patch:
        kill_at(patch, IACTrainer, "_make_genotype", 1, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC", plans="plain")

    trained = train("nnUNetTrainerIAC", plans="plain", resume=True)

    loader = validation_loader(trained, of_training_cases=True)
    expected = [make_batch(loader, (0, TRAINING_STREAM, index)) for index in range(STEPS["nnUNetTrainerIAC"])]
    assert len(recorded) == len(expected) and all(same(*pair) for pair in zip(recorded, expected, strict=True))
    assert final_mirroring(tiny, "nnUNetTrainerIAC", "plain") is None
