"""``nnunet-iac select``: which of several checkpoints to start from, by their robustness on the target's images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli import score as scoring

if TYPE_CHECKING:
    from nnunet_iac.robustness.hybrid import HybridDecision

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
        help="fold folders of two short trainings, from random weights and from the chosen checkpoint: they decide "
        "whether no pretraining is best",
    )
    scoring.add_scoring_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write losses and choice to this file")


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
    data, plan, scores = scoring.score_all(args)
    chosen = min(given, key=lambda name: (scores[name].loss, given.index(name)))
    print(scoring.heading(data, plan))
    for name, found in sorted(scores.items(), key=lambda item: item[1].loss):
        note = "  <- start from this one" if name == chosen else "  (before pretraining)" * (name == args.untrained)
        print(f"{found.loss:.4f}  {name}{note}{scoring.warning(found)}")
    beats = scores[chosen].loss < scores[args.untrained].loss if args.untrained else None
    decision = None
    if args.probe:
        decision = _settle(args.probe, beats)
        print(_sentence(decision))
    else:
        print(
            "The loss cannot tell whether no pretraining would be better: train from random weights and from the "
            "chosen checkpoint for a few epochs and give both folders with --probe."
        )
    if args.json:
        content = {**scoring.record(data, plan, scores), "chosen": chosen, "beats_initialisation": beats}
        write_json(args.json, {**content, "decision": asdict(decision) if decision else None})
    return 0


def _check_checkpoints(names: list[str]) -> None:
    """Refuse what nobody can start from."""
    for name in names:
        if not Path(name).is_file():
            raise FileNotFoundError(f"CHECKPOINT: expected a checkpoint of nnU-Net, {name} is no file")


def _settle(folders: list[str], beats: bool | None) -> HybridDecision:
    from nnunet_iac.nnunet.measured_arms import measure_arms
    from nnunet_iac.nnunet.predictions import find_arms
    from nnunet_iac.robustness.hybrid import decide, probe_outcome

    names = ["no pretraining", "pretrained"]
    measured = measure_arms(find_arms(folders, names))
    dice = measured.scores({name: name for name in names}).paired("dice") / 100
    return decide(probe_outcome(dice[0].tolist(), dice[1].tolist()), beats_initialisation=beats)


def _sentence(decision: HybridDecision) -> str:
    outcome = decision.outcome
    return (
        f"Start with: {decision.start} (settled by {decision.settled_by}; Dice {outcome.no_pretraining:.3f} without, "
        f"{outcome.pretrained:.3f} with pretraining, standard error of the difference {outcome.standard_error:.3f})"
    )
