"""``nnunet-iac select``: which of several checkpoints to start from, by their robustness on the target's images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli import score as scoring
from nnunet_iac.cli.arguments import output_path

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.predictions import Arm
    from nnunet_iac.robustness.hybrid import HybridDecision
    from nnunet_iac.robustness.score import Score

HELP = "rank checkpoints by robustness on a data set and name the one to start from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the checkpoints, the target, how to score, and the short downstream probe's results."""
    parser.add_argument("encoders", nargs="+", metavar="CHECKPOINT", help="checkpoints of nnU-Net (.pth)")
    parser.add_argument(
        "--untrained",
        metavar="CHECKPOINT",
        help="the network before pretraining; it is scored too, never chosen by its loss alone",
    )
    parser.add_argument(
        "--probe",
        nargs=2,
        metavar=("UNTRAINED_FOLDER", "PRETRAINED_FOLDER"),
        help="fold folders of two short trainings, from random weights and from the chosen checkpoint: the Dice of "
        "their validation cases decides whether no pretraining is best (so it is no test of the choice)",
    )
    scoring.add_scoring_arguments(parser)
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write losses and choice to this file")


def run(args: argparse.Namespace) -> int:
    """Score, rank and choose.

    Raises:
        FileNotFoundError: if the data set, a checkpoint or a folder is missing.
        ValueError: for bad arguments, plans or checkpoints.
    """
    from dataclasses import asdict

    from nnunet_iac.atomic import write_json

    given = list(args.encoders)
    args.encoders = [*given, *([args.untrained] if args.untrained else [])]
    _check_checkpoints(args.encoders)
    arms = _probe_arms(args.probe) if args.probe else None
    data, plan, scores = scoring.score_all(args)
    chosen = min(given, key=lambda name: (scores[name].loss, given.index(name)))
    beats = scores[chosen].loss < scores[args.untrained].loss if args.untrained else None
    print("\n".join([scoring.heading(data, plan), *_ranking(scores, chosen, args.untrained)]))
    decision = _settle(arms, beats) if arms else None
    print(_sentence(decision, chosen) if decision else _ADVICE)
    if args.json:
        content = {**scoring.record(data, plan, scores), "chosen": chosen, "beats_initialisation": beats}
        write_json(args.json, {**content, "decision": asdict(decision) if decision else None})
    return 0


_SETTLED = {
    "probe": "settled by probe",
    "losses": "the probe cannot tell, the losses do",
    "default": "the probe cannot tell, and without --untrained neither can the losses",
}

_ADVICE = (
    "The loss cannot tell whether no pretraining would be better: train from random weights and from the most robust "
    "checkpoint for a few epochs and give both folders with --probe."
)


def _check_checkpoints(names: list[str]) -> None:
    """Refuse what nobody can start from."""
    for name in names:
        if not Path(name).is_file():
            raise FileNotFoundError(f"CHECKPOINT: expected a checkpoint of nnU-Net, {name} is no file")


def _ranking(scores: dict[str, Score], chosen: str, untrained: str | None) -> list[str]:
    notes = {chosen: "  <- most robust checkpoint", untrained: "  (before pretraining)"}
    ranked = sorted(scores.items(), key=lambda item: item[1].loss)
    return [f"{found.loss:.4f}  {name}{notes.get(name, '')}{scoring.warning(found)}" for name, found in ranked]


def _probe_arms(folders: list[str]) -> tuple[Arm, ...]:
    from nnunet_iac.nnunet.cases.predictions import find_arms

    return find_arms(folders, ["no pretraining", "pretrained"])


def _settle(arms: tuple[Arm, ...], beats: bool | None) -> HybridDecision:
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.robustness.hybrid import decide, probe_outcome

    dice = measure_arms(arms).scores({arm.name: arm.name for arm in arms}).paired("dice") / 100
    return decide(probe_outcome(dice[0].tolist(), dice[1].tolist()), beats_initialisation=beats)


def _sentence(decision: HybridDecision, chosen: str) -> str:
    outcome = decision.outcome
    start = chosen if decision.start == "pretrained" else decision.start
    return (
        f"Start with: {start} ({_SETTLED[decision.settled_by]}; Dice of {outcome.measurements} patients "
        f"{outcome.no_pretraining:.3f} without, {outcome.pretrained:.3f} with pretraining, standard error of the "
        f"difference {outcome.standard_error:.3f})"
    )
