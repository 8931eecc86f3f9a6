"""What a probe decides before its first training: the host, the cases, the budget, the plans of every training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.plans import (
    Plans,
    configuration_of,
    derive,
    genotype_of,
    plans_path,
    read_plans,
    settings_of,
)
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.weight_source import sha256_of
from nnunet_iac.nnunet.probe.probe_cases import count_patients, draw_cases
from nnunet_iac.nnunet.probe.probe_trainer import CASES, ProbeArm, ProbeTraining, fold_cases
from nnunet_iac.nnunet.training.host_source import find_host_source

TRAININGS = "trainings"
"""Folder of nnU-Net's results in a probe's folder."""

SCHEDULE = {"freeze_host": False, "host_rate": 1.0, "cells_first": 0.0}
"""Of all arms: everything trains, always, at nnU-Net's rate. What the host does for itself in the arm without cells is
what it does with cells; with a slower or a later host in either, the difference would be that of two schedules."""

HELD_OUT = 20
"""Patients that are held out at most, if nothing else is said: every training predicts all their cases."""


@dataclass(frozen=True)
class Budget:
    """How long a probe trains.

    Attributes:
        epochs: after the implantation; cells and host train together, at the same rate.
        iterations: of each epoch, also of the search.
        search_epochs: of the searched arm.
        batch_size: replaces the planned one if not None.
        share: of the fold's training patients that are held out.
        held_out: patients that are held out at most, whatever the share; the others train. None is no limit, as in
            probes of earlier versions.

    Raises:
        ValueError: naming everything that is out of range.
    """

    epochs: int = 10
    iterations: int = 10
    search_epochs: int = 20
    batch_size: int | None = None
    share: float = 0.3
    held_out: int | None = HELD_OUT

    def __post_init__(self) -> None:
        smallest = {"epochs": 1, "iterations": 1, "search_epochs": 2, "batch_size": 2, "held_out": 1}
        given = asdict(self)
        problems = [
            f"--{name.replace('_', '-')}: expected at least {low}, got {given[name]}"
            for name, low in smallest.items()
            if given[name] is not None and given[name] < low
        ]
        if not 0 < self.share < 1:
            problems.append(f"--share: expected a number between 0 and 1, got {self.share}")
        if problems:
            raise ValueError("; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is recorded; without a limit of patients as earlier versions wrote it."""
        return {key: value for key, value in asdict(self).items() if key != "held_out" or value is not None}


@dataclass(frozen=True)
class Probe:
    """Everything that is decided before the first training.

    Attributes:
        plans: that the host was trained with, or derived from those.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        dataset_json: of the preprocessed data set.
        host: checkpoint.
        budget: see :class:`Budget`.
        training_cases: what the arms train on.
        held_out_cases: cases of other patients, that all arms predict.
        training_patients: how many groups of cases a search can divide.
        held_out_patients: how many patients the estimate has.
        patients: where patients are known from, None if every case counts as one.
        folder: of all results.
    """

    plans: Plans
    configuration: str
    fold: int | str
    dataset_json: Mapping[str, Any]
    host: Path
    budget: Budget
    training_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    training_patients: int
    held_out_patients: int
    patients: str | None
    folder: Path

    def settings(self, seed: int) -> Settings:
        """Return the settings of a seed's trainings: those of the plans, with the probe's budget.

        The host trains as in :data:`SCHEDULE`, whatever the plans say, or the control would be no continued training.
        """
        return Settings.from_block(configuration_of(self._derived(seed), self.configuration)["iac"])

    def training(self, arm: ProbeArm, seed: int) -> ProbeTraining:
        """Return one training."""
        plans, folder = self._derived(seed), self.folder / TRAININGS
        return ProbeTraining(arm, seed, plans, self.configuration, self.fold, self.dataset_json, folder)

    def setup(self) -> dict[str, Any]:
        """Return what all trainings in the folder must share."""
        settings = self.settings(0).training_block()
        del settings["search"]["seed"]
        return {
            "schema": 1,
            "dataset": self.plans["dataset_name"],
            "configuration": self.configuration,
            "fold": self.fold,
            "plans": self.plans["plans_name"],
            "plan": {k: v for k, v in self._planned.items() if k != "iac"},
            "host": {"checkpoint": str(self.host), "sha256": sha256_of(self.host)},
            "budget": self.budget.to_dict(),
            "settings": settings,
            "patients": self.patients,
            "training_cases": list(self.training_cases),
            "held_out_cases": list(self.held_out_cases),
        }

    @property
    def _planned(self) -> dict[str, Any]:
        return configuration_of(self._derived(0), self.configuration)

    def _derived(self, seed: int) -> Plans:
        budget = self.budget
        warmup = configuration_of(self.plans, self.configuration).get("iac", {}).get("search", {}).get("warmup_epochs")
        longest = max(1, budget.search_epochs // 4)
        search = {
            "seed": seed,
            "epochs": budget.search_epochs,
            "iterations": budget.iterations,
            "warmup_epochs": min(longest, Settings().search.warmup_epochs if warmup is None else warmup),
        }
        training = {
            "epochs": budget.epochs,
            "iterations": budget.iterations,
            "validation_iterations": 1,
            **SCHEDULE,
        }
        block = {"search": search, "training": training}
        plans = derive(self.plans, self.configuration, f"probe_seed{seed}", block, budget.batch_size)
        return {**plans, CASES: {"training": list(self.training_cases), "held_out": list(self.held_out_cases)}}


def plan_probe(
    preprocessed: Path,
    plans_name: str,
    configuration: str,
    fold: int | str,
    budget: Budget,
    *,
    folder: Path,
    host: Path | None = None,
) -> Probe:
    """Find the host, then the cases; nothing is trained.

    Args:
        preprocessed: folder of the preprocessed data set.
        plans_name: of the plans the host was trained with, or derived from those.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        budget: see :class:`Budget`.
        folder: of all results.
        host: a checkpoint, if not the finished training of these plans.

    Raises:
        FileNotFoundError: if there is no host, or no plans.
        ValueError: if the plans carry cells or bad settings, or the fold has one patient only.
        NotImplementedError: for the second stage of a cascade.
    """
    plans = read_plans(plans_path(preprocessed, plans_name))
    if genotype_of(plans, configuration) is not None:
        raise ValueError(f"plans: expected a stock host, {plans_name} has cells; give the plans it was derived from")
    if configuration_of(plans, configuration).get("previous_stage") is not None:
        raise NotImplementedError(f"-c: expected a configuration that is no second stage of a cascade: {configuration}")
    settings_of(plans, configuration)  # bad ones are refused before anything is trained
    checkpoint = _find_host(host, plans, configuration, fold)
    dataset_json = read_object(preprocessed / "dataset.json")
    cases, grouping = fold_cases(plans, configuration, fold, dataset_json)
    training, held_out = draw_cases(cases, grouping, share=budget.share, most=budget.held_out)
    return Probe(
        plans=plans,
        configuration=configuration,
        fold=fold,
        dataset_json=dataset_json,
        host=checkpoint,
        budget=budget,
        training_cases=tuple(training),
        held_out_cases=tuple(held_out),
        training_patients=len(grouping.patients(training)),
        held_out_patients=count_patients(held_out, grouping),
        patients=grouping.source,
        folder=folder,
    )


def _find_host(host: Path | None, plans: Plans, configuration: str, fold: int | str) -> Path:
    if host is None:
        found = find_host_source(
            "trained", pretrained=False, plans=plans, configuration=configuration, fold=fold, epochs=1
        )
        return Path(str(found.checkpoint))
    if not host.is_file():
        raise FileNotFoundError(f"--host: expected a checkpoint of nnU-Net, {host} is no file")
    return host.resolve()
