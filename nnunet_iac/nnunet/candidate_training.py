"""A short training of one retrieved candidate on part of a fold's training cases, judged on the others.

The protocols T5 and T10 of MedNNS train the nearest candidates for an epoch each and keep the best. Here the fold's own
validation cases are not touched: patients of its training cases are held out, the same for all candidates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.hosts import read_checkpoint
from nnunet_iac.nnunet.measured_arms import measure_arms
from nnunet_iac.nnunet.plans import Plans, derive
from nnunet_iac.nnunet.predictions import Arm, Predictions
from nnunet_iac.nnunet.probe_trainer import CASES, LOG, ProbeTrainer, make_trainer, results_in
from nnunet_iac.nnunet.recipe import Recipe
from nnunet_iac.nnunet.weights import WeightTarget

RESULT = "candidate.json"
"""In the folder of a training: it is trained, and this is how good it is."""


class CandidateTrainer(ProbeTrainer):
    """nnU-Net's training for ``host.epochs`` on the cases that the plans name."""

    recipe = Recipe(host="train", cells="none")


@dataclass(frozen=True)
class CandidateTraining:
    """One candidate's training.

    Attributes:
        name: of the candidate, a part of file names.
        target: its plans, derived from the target's.
        start: checkpoint with its weights.
        fold: nnU-Net's.
        training_cases: to train on.
        held_out_cases: to be judged on.
        iterations: of its one epoch.
        seed: of the batches.
        results: folder that takes the place of ``nnUNet_results``.
    """

    name: str
    target: WeightTarget
    start: Path
    fold: int | str
    training_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    iterations: int
    seed: int
    results: Path

    @property
    def folder(self) -> Path:
        """Where nnU-Net puts the training."""
        model = f"{CandidateTrainer.__name__}__{self.name}__{self.target.configuration}"
        return self.results / str(self.target.plans["dataset_name"]) / model / f"fold_{self.fold}"

    def dice(self, device: torch.device) -> float:
        """Train, predict the held-out cases, and return their mean Dice in points; a finished one is only read.

        Mean over patients of the mean over classes, classes that a patient does not have left out.
        """
        record = self.folder / RESULT
        if record.is_file():
            return float(json.loads(record.read_text(encoding="utf-8"))["dice"])
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log), results_in(self.results):
            begun = any((self.folder / f"checkpoint_{name}.pth").is_file() for name in ("latest", "final"))
            target = self.target
            trainer = make_trainer(
                CandidateTrainer,
                self._plans,
                target.configuration,
                self.fold,
                target.dataset,
                device,
                resume=begun,
            )
            if begun:
                maybe_load_checkpoint(trainer, True, False)
            else:
                # nnU-Net's -pretrained_weights would leave the segmentation layers out; the final training does not.
                trainer.initialize()
                trainer.cell_network.load_state_dict(read_checkpoint(self.start, device)["network_weights"])
                trainer.know_start()
            trainer.run_training()
            trainer.perform_actual_validation()
        dice = self._measure()
        write_json(record, {"schema": 1, "dice": dice, "cases": list(self.held_out_cases)})
        return dice

    def _measure(self) -> float:
        measured = measure_arms([Arm(self.name, (Predictions.at(self.folder),))])
        scores = measured.scores({self.name: self.name})
        return float(scores.run_means["dice"][0][0])

    @property
    def _plans(self) -> Plans:
        settings: Mapping[str, Mapping[str, Any]] = {
            "host": {"epochs": 1, "iterations": self.iterations},
            "search": {"seed": self.seed},
            "training": {"validation_iterations": 1},
        }
        plans = derive(self.target.plans, self.target.configuration, self.name, settings)
        return {**plans, CASES: {"training": list(self.training_cases), "held_out": list(self.held_out_cases)}}


def best_candidate(trainings: Mapping[int, CandidateTraining], device: torch.device) -> tuple[int, dict[int, float]]:
    """Train all candidates and return the place of the best and the Dice of each; of equal ones, the nearer.

    Args:
        trainings: by place in the retrieval, the nearest first.
        device: where to train.
    """
    found = {place: training.dice(device) for place, training in trainings.items()}
    return max(found, key=lambda place: (found[place], -place)), found
