"""What a probe has found, as one JSON record: values of patients, estimates, the recommendation, the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nnunet_iac.nnunet.measured_arms import measure_arms
from nnunet_iac.nnunet.predictions import Arm, Predictions
from nnunet_iac.nnunet.probe_plan import Probe
from nnunet_iac.nnunet.probe_trainer import ProbeArm
from nnunet_iac.statistics.patients import PatientScores, mean_over_classes
from nnunet_iac.statistics.recommendation import estimate, recommend, spread, too_few

RECORD = "probe.json"

LIMITS = (
    "The host saw the held-out cases when it was trained, so all arms start from weights that were fitted to them and "
    "every Dice here is too good. Only the paired difference means something, and it leans against the arm that moves "
    "further away from the host.",
    "The first interval is over the held-out patients: it is about these very trainings. The one with trainings is "
    "over patients and seeds together, and wide with few seeds; that cells pay is said by both or not at all.",
    "A probe is short, {steps} steps here: it says what cells bring within them, not after a full training. Cells that "
    "lose now may only have been stopped too early.",
)
RANDOM = "Random cells stand for searched ones here; --searched searches for some."


def probe_record(
    probe: Probe,
    seeds: Sequence[int],
    seconds: Mapping[ProbeArm, Sequence[float]],
    *,
    margin: float,
    processes: int = 1,
) -> dict[str, Any]:
    """Measure the held-out predictions and return the record, schema 1.

    The recommendation is about the last arm.

    Args:
        probe: what was decided.
        seeds: one run of each arm for each of them.
        seconds: of the trainings by arm, the control first; empty if there are too few patients to train anything.
        margin: the smallest gain worth having, in points of Dice.
        processes: that measure.

    Raises:
        ValueError: if the margin is not positive, or masks do not fit.
        FileNotFoundError: if predictions or references are missing.
    """
    steps = probe.budget.epochs * probe.budget.iterations
    limits = [text.format(steps=steps) for text in (*LIMITS, *(() if "searched" in seconds else (RANDOM,)))]
    record = {**probe.setup(), "seeds": list(seeds), "margin": margin, "folder": str(probe.folder), "limits": limits}
    if not seconds:
        return record | {"arms": {}, "seconds": 0.0, "recommendation": asdict(too_few(probe.held_out_patients))}
    arms = [Arm(arm, tuple(Predictions.at(probe.training(arm, seed).folder) for seed in seeds)) for arm in seconds]
    measured = measure_arms(arms, processes=processes)
    scores = measured.scores({arm.name: arm.name for arm in arms})
    found = {arm: _arm_record(scores, index, seconds[arm], margin) for index, arm in enumerate(seconds)}
    return record | {
        "held_out_patients": {patient: list(cases) for patient, cases in measured.cohort.patients.items()},
        "arms": found,
        "seconds": round(sum(sum(of_arm) for of_arm in seconds.values()), 1),
        "recommendation": found[list(found)[-1]]["recommendation"],
    }


def _arm_record(scores: PatientScores, index: int, seconds: Sequence[float], margin: float) -> dict[str, Any]:
    values = mean_over_classes(scores.values["dice"][index])
    there = np.isfinite(values)
    record: dict[str, Any] = {
        "dice": float(values[there].mean()),
        "dice_of_seeds": list(scores.run_means["dice"][index]),
        "dice_of_patients": {
            patient: float(value) if known else None
            for patient, value, known in zip(scores.patients, values, there, strict=True)
        },
        "seconds": list(seconds),
    }
    if index == 0:
        return record
    found = estimate(scores, index)
    return record | {
        "difference": {**asdict(found), "spread_of_seeds": spread(found.of_seeds)},
        "recommendation": asdict(recommend(found, margin=margin)),
    }
