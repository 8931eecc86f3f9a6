"""Which cases a run trains, validates and searches on, as seeded streams of nnU-Net's batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_iac.nnunet.cases.loaders import open_stream
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.splits import Grouping, find_grouping, split_patients
from nnunet_iac.nnunet.training.cell_search import SearchData
from nnunet_iac.nnunet.training.search_dice import SearchDice

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
"""Numbers of the batch streams; the search uses the next two, its Dice the one after them."""


def patients_of(trainer: nnUNetTrainer) -> Grouping:
    """Return which cases of the trainer's data set belong to one patient."""
    cases = sorted(trainer.dataset_class.get_identifiers(trainer.preprocessed_dataset_folder))
    return find_grouping(cases, Path(trainer.preprocessed_dataset_folder_base))


def training_streams(
    trainer: nnUNetTrainer, settings: Settings, host_epochs: int, *, skipped: int = 0
) -> tuple[Any, Any]:
    """Return the training and validation batches of nnU-Net, from the trainer's current epoch on.

    Both phases, host and cells, draw from the one training stream. With ``training.augment`` false its batches go
    through nnU-Net's validation transforms, patches are read in the size that the network sees, and nnU-Net is told to
    predict without mirroring (as its ``nnUNetTrainerNoDA`` does).

    Args:
        trainer: knows epoch, cases and loaders.
        settings: say how many batches an epoch has.
        host_epochs: first epochs, of the host.
        skipped: training batches that were drawn besides those of the finished epochs.
    """
    training, validation = trainer.do_split()
    of_host = min(trainer.current_epoch, host_epochs)
    of_cells = trainer.current_epoch - of_host
    drawn = of_host * settings.host.iterations + of_cells * settings.training.iterations + skipped
    seen = trainer.current_epoch * settings.training.validation_iterations
    return (
        _open(trainer, settings, training, augment=settings.training.augment, stream=TRAINING_STREAM, start=drawn),
        _open(trainer, settings, validation, augment=False, stream=VALIDATION_STREAM, start=seen, share=2),
    )


def search_data(trainer: nnUNetTrainer, settings: Settings) -> SearchData:
    """Split the fold's training cases, never its validation cases, between weights and architecture, by patient.

    With ``search.validation_iterations`` the validation cases tell the Dice of each epoch, and nothing else. Fold
    ``all`` has none that are not trained on: a warning says so, and its search has no Dice.

    Raises:
        ValueError: if there is only one patient.
    """
    grouping = patients_of(trainer)
    if grouping.source is None:
        trainer.print_to_log_file(
            "WARNING: patients are unknown (no patient_groups.json): the data of the search are split by case. If a "
            "patient has several cases, the architecture is fitted to patients that trained the weights too."
        )
    search = settings.search
    weights, architecture = split_patients(trainer.do_split()[0], grouping, fraction=search.fraction, seed=search.seed)

    def open_search_stream(cases: list[str], stream: int, start: int, augment: bool) -> Any:
        return _open(trainer, settings, cases, augment=augment, stream=stream, start=start, share=2)

    dice = _search_dice(trainer, settings)
    return SearchData(weights, architecture, open_search_stream, grouping.source, dice=dice)


def _search_dice(trainer: nnUNetTrainer, settings: Settings) -> SearchDice | None:
    iterations = settings.search.validation_iterations
    if iterations == 0:
        return None
    if trainer.fold == "all":
        trainer.print_to_log_file(
            f"WARNING: search.validation_iterations={iterations}: fold all trains on every case, so that no Dice of "
            "its search is measured; search in fold 0, say, to see one"
        )
        return None
    return SearchDice(trainer, trainer.do_split()[1], iterations=iterations, seed=settings.search.seed)


def _open(trainer: nnUNetTrainer, settings: Settings, cases: list[str], **options: Any) -> Any:
    stream = open_stream(trainer, cases, seed=settings.search.seed, **options)
    if not settings.training.augment:
        # Building a loader lets nnU-Net predict with mirroring, but these weights never saw a mirrored image.
        trainer.inference_allowed_mirroring_axes = None
    return stream
