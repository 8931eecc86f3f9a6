"""A short training of one retrieved candidate on part of a fold's training cases, judged on the others.

The protocols T5 and T10 of MedNNS train the first candidates for an epoch each and keep the best. Here the fold's own
validation cases are not touched: patients of its training cases are held out, the same for all candidates. A candidate
whose training diverges is left out; its weights may be of images of quite another kind.

After so few steps many a candidate segments nothing yet. Where none reaches :data:`LEARNED`, or several tie, the Dice
cannot tell them, and the order of the retrieval stays: the first of them is taken. That is our choice;
the held-out loss of nnU-Net, the other way, was not measured, and it too rewards whoever says "background" first.
Measured once (Dataset004, an early zoo): of ten candidates eight had a Dice of exactly 0 and one 5.96 points; that one,
of 0.2 M parameters, was 17 points behind after the whole training.

The held-out cases are predicted without mirroring, a quarter of the passes in 2D, an eighth in 3D: with it a candidate
of Dataset502 (judged on one case of 140x161x146) was trained in 35 seconds and judged in 322, without it three others
took 67 to 102. That is our choice: the final model mirrors, and whether candidates have the same order then was not
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.cases.masks import measure_all
from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
from nnunet_iac.nnunet.cases.references import Cohort, find_sources, reference_masks
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.plans import Plans, derive
from nnunet_iac.nnunet.files.splits import Grouping
from nnunet_iac.nnunet.files.weights import WeightTarget
from nnunet_iac.nnunet.probe.probe_trainer import CASES, LOG, ProbeTrainer, make_trainer, results_in
from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.training_data import patients_of
from nnunet_iac.search.turns import finish
from nnunet_iac.statistics.patients import patient_scores

RESULT = "candidate.json"
"""In the folder of a training: it is trained, and this is how good it is."""

SCHEMA = 2
"""Of :data:`RESULT`. Those of schema 1 were judged with mirroring and are judged anew, but neither trained anew nor, if
the training diverged, tried again."""

LEARNED = 10.0
"""Dice in points from which a candidate has learned to segment; below it, the Dice is chance (our choice)."""


class CandidateTrainer(ProbeTrainer):
    """nnU-Net's training for ``host.epochs`` on the cases that the plans name."""

    recipe = Recipe(host="train", cells="none")
    restores = False  # one that diverges is left out

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict and measure the held-out cases; see the module's text."""
        self.inference_allowed_mirroring_axes = None
        super().perform_actual_validation(save_probabilities)

    def finish_streams(self) -> None:
        """End the processes that make batches, after a training that did not come to its end."""
        finish(self.dataloader_train, self.dataloader_val)


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

        Raises:
            FloatingPointError: if the training diverges; it did so already if it is not the first time.
        """
        path = self.folder / RESULT
        if path.is_file():
            known = read_object(path)
            if known.get("schema") == SCHEMA or known.get("dice") is None:
                return _dice_of(known)
        record: dict[str, Any] = {"schema": SCHEMA, "cases": list(self.held_out_cases)}
        try:
            record["dice"] = self._measure(self._train(device))
        except FloatingPointError as error:
            record |= {"dice": None, "failed": str(error)}
        write_json(path, record)
        return _dice_of(record)

    def _train(self, device: torch.device) -> Grouping:
        """Train and predict; return who is whose patient."""
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
                trainer.remember_start()
            try:
                trainer.run_training()
            except FloatingPointError:
                trainer.finish_streams()
                raise
            trainer.perform_actual_validation()
            return patients_of(trainer)

    def _measure(self, grouping: Grouping) -> float:
        """Return the mean Dice of the held-out patients; unlike for a comparison, one is enough."""
        run = Predictions.at(self.folder)
        sources = find_sources([Arm(self.name, (run,))])
        cohort = Cohort(grouping.patients(self.held_out_cases), grouping.source, ())
        masks, references = run.masks(sources.labels.ending), reference_masks(cohort, sources)
        measured = measure_all([(masks[case], references[case]) for case in references], sources.labels)
        agreements = {case: one.agreements for case, one in zip(references, measured, strict=True)}
        scores = patient_scores({self.name: [agreements]}, cohort.patients, list(sources.labels.classes))
        return float(scores.run_means["dice"][0][0])

    @property
    def _plans(self) -> Plans:
        settings: Mapping[str, Mapping[str, Any]] = {
            "host": {"epochs": 1, "iterations": self.iterations},
            "search": {"seed": self.seed},
            "training": {"validation_iterations": 1},
        }
        plans = derive(self.target.plans, self.target.configuration, self.name, settings)
        # Where nnU-Net made the split in this very process, names are NumPy's, and no checkpoint with them can be read.
        cases = {"training": list(map(str, self.training_cases)), "held_out": list(map(str, self.held_out_cases))}
        return {**plans, CASES: cases}


@dataclass(frozen=True)
class Judgement:
    """What the short trainings say.

    Attributes:
        best: place of the best candidate.
        dice: of each candidate by place, in points.
        failed: what went wrong with those whose training diverged, by place.
        undecided: why the Dice did not choose, in words; empty if it did, or nothing was trained.
    """

    best: int
    dice: Mapping[int, float]
    failed: Mapping[int, str]
    undecided: str = ""


def best_candidate(
    trainings: Mapping[int, CandidateTraining], device: torch.device, say: Callable[[str], None]
) -> Judgement:
    """Train all candidates and judge them.

    The best is the first of those with the highest Dice; if that is below :data:`LEARNED`, the first of all whose
    training stayed finite.

    Args:
        trainings: by place in the retrieval, in its order.
        device: where to train.
        say: is told of each candidate whose training diverges, which is left out, and if the Dice cannot choose.

    Raises:
        FloatingPointError: if all trainings diverge.
    """
    dice: dict[int, float] = {}
    failed: dict[int, str] = {}
    for place, training in trainings.items():
        try:
            dice[place] = training.dice(device)
        except FloatingPointError as error:
            failed[place] = str(error)
            say(f"left out: {training.name} diverged in its epoch: {error}")
    if not dice:
        raise FloatingPointError(
            f"candidates: expected one at least whose training stays finite, all {len(trainings)} diverged (the first: "
            f"{next(iter(failed.values()))}); look for NaN in the images, or take the first untrained: --protocol T1"
        )
    steps = next(iter(trainings.values())).iterations
    judgement = Judgement(min(_equals(dice)), dice, failed, _undecided(dice, steps))
    if judgement.undecided:
        say(judgement.undecided)
    return judgement


def _equals(dice: Mapping[int, float]) -> list[int]:
    """Return the places between which the Dice does not choose."""
    best = max(dice.values())
    return [place for place, value in dice.items() if value == best or best < LEARNED]


def _undecided(dice: Mapping[int, float], steps: int) -> str:
    best, count = max(dice.values()), len(_equals(dice))
    if best < LEARNED:
        return (
            f"after {steps} steps no candidate has learned to segment (the best Dice is {best:.2f}, {LEARNED:.0f} "
            "would be a start), so their order stays and the first is taken; more --iterations "
            "(retrieval.iterations) would tell them"
        )
    return f"{count} candidates tie at a Dice of {best:.2f}, so the first of them is taken" if count > 1 else ""


def _dice_of(record: Mapping[str, Any]) -> float:
    if record["dice"] is None:
        raise FloatingPointError(str(record["failed"]))
    return float(record["dice"])
