"""The trainings of a probe: this package's trainers on other cases, with results in a folder of their own.

A probe is short, and its trainers are no models to keep: nnU-Net's commands do not find them by name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_iac.nnunet.files.plans import Plans
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.splits import Grouping
from nnunet_iac.nnunet.training.host_source import HostSource, save_host_source
from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.training.training_data import patients_of

CASES = "probe_cases"
"""Key of a probe's plans: ``{"training": [...], "held_out": [...]}``."""

LOG = "printed.log"
"""What nnU-Net printed during a training, in the folder of the fold."""

COURSE = 4
"""Epochs that show when the host trains."""

ProbeArm = Literal["identity", "random", "searched"]


class ProbeTrainer(IACTrainer):
    """The implanting trainer on part of a fold's training cases, validated on the others.

    Search, training and validation all ask for the cases here, so the fold's own validation cases are never read.
    """

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the cases that the plans name: to train with, and held out."""
        cases = self.plans_manager.plans[CASES]
        return list(cases["training"]), list(cases["held_out"])

    def _do_i_compile(self) -> bool:
        # Compiling takes longer than these few steps.
        return False

    @classmethod
    def host_course(cls, settings: Settings) -> tuple[float, ...]:
        """See :func:`host_course`; no data set, no network and no folder are needed for it."""
        trainer = cls.__new__(cls)
        trainer.settings = replace(settings, training=replace(settings.training, epochs=COURSE))
        trainer.network = SimpleNamespace(cells=torch.nn.Linear(1, 1), host_parameters=torch.nn.Linear(1, 1).parameters)
        trainer.host_epochs, trainer.num_epochs, trainer.initial_lr, trainer.weight_decay = 0, COURSE, 1.0, 0.0
        rates = []
        for epoch in range(COURSE):
            trainer.current_epoch = epoch
            cells, host = trainer.configure_optimizers()[0].param_groups
            rates.append(0.0 if trainer._host_is_frozen() else host["lr"] / cells["lr"])
        return tuple(rates)


class ProbeIdentity(ProbeTrainer):
    """Continued training of the host: the control."""

    recipe = Recipe(host="trained", cells="identity")


class ProbeRandom(ProbeTrainer):
    """Random cells, other ones for each seed."""

    recipe = Recipe(host="trained", cells="random")


class ProbeSearched(ProbeTrainer):
    """Cells found by a search on the probe's training cases."""

    recipe = Recipe(host="trained", cells="search")


TRAINERS: Mapping[ProbeArm, type[ProbeTrainer]] = MappingProxyType(
    {"identity": ProbeIdentity, "random": ProbeRandom, "searched": ProbeSearched}
)
"""The arms, the control first."""


def host_course(settings: Settings) -> tuple[float, ...]:
    """Return how the host trains beside implanted cells, as the implanting trainers do it with these settings.

    The training is taken for :data:`COURSE` epochs long. Of each of them the host's learning rate as a share of the
    cells', 0 where the host is frozen.

    Example:
        >>> host_course(Settings.from_block({"training": {"freeze_host": True}}))
        (0.0, 0.0, 0.0, 0.0)
    """
    return ProbeSearched.host_course(settings)


@dataclass(frozen=True)
class ProbeTraining:
    """One training of a probe.

    Attributes:
        arm: key of :data:`TRAINERS`.
        seed: of weights, batches and cells.
        plans: with settings, seed and cases; each seed has its own name.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        dataset_json: of the preprocessed data set.
        results: folder that takes the place of ``nnUNet_results``.
    """

    arm: ProbeArm
    seed: int
    plans: Plans
    configuration: str
    fold: int | str
    dataset_json: Mapping[str, Any]
    results: Path

    @property
    def folder(self) -> Path:
        """Where nnU-Net puts this training."""
        model = f"{TRAINERS[self.arm].__name__}__{self.plans['plans_name']}__{self.configuration}"
        return self.results / str(self.plans["dataset_name"]) / model / f"fold_{self.fold}"

    def run(self, host: Path, device: torch.device) -> None:
        """Train and validate, from where an earlier attempt was stopped; nnU-Net's words go to :data:`LOG`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Read back by the trainer as that of an interrupted run: it has no host to look for.
        save_host_source(self.folder, HostSource(str(host), 0, False, f"weights of {host}"))
        with (self.folder / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log), results_in(self.results):
            trainer = make_trainer(
                TRAINERS[self.arm], self.plans, self.configuration, self.fold, self.dataset_json, device
            )
            maybe_load_checkpoint(trainer, True, False)
            trainer.run_training()
            trainer.perform_actual_validation()


def fold_cases(
    plans: Plans, configuration: str, fold: int | str, dataset_json: Mapping[str, Any]
) -> tuple[list[str], Grouping]:
    """Return the training cases that nnU-Net gives a fold, and who is whose patient.

    Where the data set has no split yet, it is made, as by any training.
    """
    with tempfile.TemporaryDirectory() as folder, results_in(Path(folder)), open(os.devnull, "w") as null:
        with redirect_stdout(null):
            trainer = make_trainer(IACTrainer, plans, configuration, fold, dataset_json, torch.device("cpu"))
            trainer.dataset_class = infer_dataset_class(trainer.preprocessed_dataset_folder)
            # Plain names, also where nnU-Net makes the split just now: checkpoints with NumPy's cannot be read.
            return sorted(map(str, trainer.do_split()[0])), patients_of(trainer)


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """Let ``nnUNet_results`` name another folder; nnU-Net asks for it when a trainer is made."""
    before = os.environ.get("nnUNet_results")
    os.environ["nnUNet_results"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["nnUNet_results"]
        else:
            os.environ["nnUNet_results"] = before


def make_trainer(
    kind: type[IACTrainer],
    plans: Plans,
    configuration: str,
    fold: int | str,
    dataset_json: Mapping[str, Any],
    device: torch.device,
    *,
    resume: bool = True,
) -> Any:
    """Make a trainer that nnU-Net's commands do not find by name; ``resume`` is their ``--c``."""
    # nnU-Net takes the key out again, and annotates the fold as a number though it takes "all" too.
    arguments: dict[str, Any] = {"plans": {**plans, "continue_training": resume}, "fold": fold}
    return kind(configuration=configuration, dataset_json=dict(dataset_json), device=device, **arguments)
