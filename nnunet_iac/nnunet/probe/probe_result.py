"""What a probe has found, as one JSON record: values of patients, estimates, the recommendation, the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nnunet_iac.nnunet.cases.measured_arms import measure_arms
from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
from nnunet_iac.nnunet.probe.probe_commands import IMPLANTING, AsMeasured, as_measured
from nnunet_iac.nnunet.probe.probe_plan import Probe
from nnunet_iac.nnunet.probe.probe_trainer import ProbeArm
from nnunet_iac.statistics.patients import PatientScores, mean_over_classes
from nnunet_iac.statistics.recommendation import boundary_warning, estimate, recommend, spread, too_few

RECORD = "probe.json"

LIMITS = (
    "The host saw the held-out cases when it was trained, so all networks here start from weights that were fitted to "
    "them and every Dice is too good. Only the difference means something, and it leans against the network that moves "
    "further away from the host.",
    "The first interval is over the held-out patients: it is about these very trainings. The one with other trainings "
    "is over patients and trainings together, and wide with few of them. The two verdicts are given only where both "
    "agree.",
    'A probe is short: "pays" and "do not bother" are about {steps} steps of training, not about a full one. Short '
    "trainings lean against cells: on Dataset004_Hippocampus a probe said -0.45 points, full trainings of the same "
    "host -0.08.",
)
DIFFERENT = (
    "The default is another schedule: with the plans {plans} as they are, -tr {trainer} trains cells so that "
    "{difference}. Here cells and host trained together from the first step on, at the same rate; the verdict is about "
    "that, and the commands do it."
)
RANDOM = (
    "Random cells stand for searched ones here; --searched searches for some, and so does -tr nnUNetTrainerIACImplant."
)


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
    arm: ProbeArm = "searched" if "searched" in seconds else "random"
    full = as_measured(probe, arm)
    record = {
        **probe.setup(),
        "seeds": list(seeds),
        "margin": margin,
        "folder": str(probe.folder),
        "as_measured": full.to_dict(),
        "limits": _limits(probe, arm, full),
    }
    if not seconds:
        return record | {"arms": {}, "seconds": 0.0, "recommendation": asdict(too_few(probe.held_out_patients))}
    arms = [Arm(arm, tuple(Predictions.at(probe.training(arm, seed).folder) for seed in seeds)) for arm in seconds]
    measured = measure_arms(arms, processes=processes)
    scores = measured.scores({arm.name: arm.name for arm in arms})
    found = {arm: _arm_record(scores, index, seconds[arm], margin, measured.unit) for index, arm in enumerate(seconds)}
    return record | {
        "held_out_patients": {patient: list(cases) for patient, cases in measured.cohort.patients.items()},
        "arms": found,
        "seconds": round(sum(sum(of_arm) for of_arm in seconds.values()), 1),
        "recommendation": found[list(found)[-1]]["recommendation"],
        "hd95_unit": measured.unit,
    }


def _limits(probe: Probe, arm: ProbeArm, full: AsMeasured) -> list[str]:
    limits = [text.format(steps=probe.budget.epochs * probe.budget.iterations) for text in LIMITS]
    if full.difference is not None:
        names = {"plans": probe.plans["plans_name"], "trainer": IMPLANTING[arm]}
        limits.append(DIFFERENT.format(difference=full.difference, **names))
    return [*limits, *(() if arm == "searched" else (RANDOM,))]


def _arm_record(
    scores: PatientScores, index: int, seconds: Sequence[float], margin: float, unit: str
) -> dict[str, Any]:
    values = mean_over_classes(scores.values["dice"][index])
    there = np.isfinite(values)
    record: dict[str, Any] = {
        "dice": float(values[there].mean()),
        "hd95": float(scores.paired("hd95")[index].mean()),
        "dice_of_seeds": list(scores.run_means["dice"][index]),
        "dice_of_patients": {
            patient: float(value) if known else None
            for patient, value, known in zip(scores.patients, values, there, strict=True)
        },
        "seconds": list(seconds),
    }
    if index == 0:
        return record
    found, hd95 = estimate(scores, index), estimate(scores, index, metric="hd95")
    return record | {
        "difference": {**asdict(found), "spread_of_seeds": spread(found.of_seeds)},
        "hd95_difference": asdict(hd95),
        "hd95_warning": boundary_warning(hd95, unit=unit),
        "recommendation": asdict(recommend(found, margin=margin)),
    }
