"""Which cases a run trains, validates and searches on, as seeded streams of nnU-Net's batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_iac.nnunet.cell_search import SearchData
from nnunet_iac.nnunet.loaders import open_stream
from nnunet_iac.nnunet.settings import Settings
from nnunet_iac.nnunet.splits import Grouping, find_grouping, split_patients

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
"""Numbers of the batch streams; the search uses the next two."""


def patients_of(trainer: nnUNetTrainer) -> Grouping:
    """Return which cases of the trainer's data set belong to one patient."""
    cases = sorted(trainer.dataset_class.get_identifiers(trainer.preprocessed_dataset_folder))
    return find_grouping(cases, Path(trainer.preprocessed_dataset_folder_base))


def training_streams(trainer: nnUNetTrainer, settings: Settings, host_epochs: int) -> tuple[Any, Any]:
    """Return the training and validation batches of nnU-Net, from the trainer's current epoch on."""
    training, validation = trainer.do_split()
    of_host = min(trainer.current_epoch, host_epochs)
    drawn = of_host * settings.host.iterations + (trainer.current_epoch - of_host) * settings.training.iterations
    seen = trainer.current_epoch * settings.training.validation_iterations
    seed = settings.search.seed
    return (
        open_stream(trainer, training, augment=True, seed=seed, stream=TRAINING_STREAM, start=drawn),
        open_stream(trainer, validation, augment=False, seed=seed, stream=VALIDATION_STREAM, start=seen, share=2),
    )


def search_data(trainer: nnUNetTrainer, settings: Settings) -> SearchData:
    """Split the fold's training cases, never its validation cases, between weights and architecture, by patient.

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
        return open_stream(trainer, cases, augment=augment, seed=search.seed, stream=stream, start=start, share=2)

    return SearchData(weights, architecture, open_search_stream, grouping.source)
