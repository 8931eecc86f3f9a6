"""``nnunet-iac probe``: minutes on a trained host tell whether cells are worth a full training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_iac.cli.arguments import fold, output_path
from nnunet_iac.markdown import table_text
from nnunet_iac.nnunet.probe.probe_words import NAMES

if TYPE_CHECKING:
    from nnunet_iac.nnunet.probe.probe_plan import Probe

HELP = "estimate in minutes what cells bring over continued training of a host, and recommend"

EPILOG = (
    "The host is your trained nnU-Net, cells are small blocks that are put into its skip connections. Some patients of "
    "the fold's training cases are held out; short trainings that start from the host, some without and some with "
    "cells, learn from the others and then segment those held out. The answer is one of: cells pay, do not bother, not "
    "settled, too few patients. The host itself is not changed."
)

ENDS = (("low", "high"), ("runs_low", "runs_high"))
"""Of the two intervals: over patients, and over patients and trainings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the host, the budget, the margin and the output."""
    parser.epilog = EPILOG
    parser.add_argument("-d", dest="dataset", required=True, help="data set id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d or 3d_fullres")
    parser.add_argument(
        "-f", dest="fold", required=True, type=fold, help="fold of the host; its validation cases are not used"
    )
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans of the host (default: %(default)s)")
    parser.add_argument(
        "--host", type=Path, metavar="CHECKPOINT", help="the host (default: the finished training of these plans)"
    )
    parser.add_argument("--searched", action="store_true", help="search for cells too; without it they are random")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="numbers from 0, one training with and one without cells for each (default: 0 1 2)",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.3,
        help="share of the training patients that is held out (default: %(default)s)",
    )
    parser.add_argument(
        "--held-out",
        type=int,
        metavar="N",
        help="patients held out at most, the others train: every training predicts all their cases (default: 20)",
    )
    parser.add_argument(
        "--epochs", type=int, default=10, help="length of each training in epochs (default: %(default)s)"
    )
    parser.add_argument(
        "--iterations", type=int, default=10, help="training steps of each epoch (default: %(default)s)"
    )
    parser.add_argument(
        "--search-epochs",
        type=int,
        default=20,
        help="length of the search of --searched in epochs (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, help="replace the planned batch size")
    parser.add_argument(
        "--margin", type=float, default=0.5, help="smallest gain worth having, points of Dice (default: %(default)s)"
    )
    parser.add_argument("-device", choices=("cpu", "cuda", "mps"), help="default: cuda if there is one, else cpu")
    parser.add_argument("-np", type=int, default=1, metavar="N", help="processes that measure (default: %(default)s)")
    parser.add_argument(
        "-o",
        dest="output",
        type=output_path,
        metavar="FOLDER",
        help="of all results (default: probe_<plans>__<configuration>_fold<F> beside the data set's models); "
        "run again to go on after an interruption",
    )


def run(args: argparse.Namespace) -> int:
    """Train the arms, measure, write ``probe.json`` and print table and recommendation; 130 if interrupted.

    Raises:
        FileNotFoundError: if there is no host; nothing was trained then.
        ValueError: if an argument does not fit, or the folder holds another probe.
    """
    from nnunet_iac.atomic import write_json
    from nnunet_iac.nnunet.probe.probe_result import RECORD, probe_record

    _check(args)
    probe = _planned(args)
    _say(_introduction(probe, args))
    try:
        seconds = _trained(args, probe)
    except KeyboardInterrupt:
        print("\nnnunet-iac probe: interrupted; repeat the command to go on", file=sys.stderr)
        return 130
    record = probe_record(probe, args.seeds, seconds, margin=args.margin, processes=args.np)
    probe.folder.mkdir(parents=True, exist_ok=True)
    write_json(probe.folder / RECORD, record)
    print("\n".join(summary(record)))
    print(f"\nwritten to {probe.folder / RECORD}")
    return 0


def summary(record: dict[str, Any]) -> list[str]:
    """Return the table, the recommendation and the limits as lines."""
    lines = []
    if record["arms"]:
        head = ["network", "Dice", "difference [95 % CI over patients]", "CI with other trainings", "by seed"]
        head += [f"HD95 ({record['hd95_unit']})", "difference [95 % CI over patients]", "CI with other trainings"]
        lines += ["", table_text([*head, "minutes"], [_row(arm, found) for arm, found in record["arms"].items()])]
    lines += ["", record["recommendation"]["sentence"]]
    if record["arms"]:
        warned = {arm: found["hd95_warning"] for arm, found in record["arms"].items() if found.get("hd95_warning")}
        lines += [f"WARNING: {NAMES[arm]}: {warning}" for arm, warning in warned.items()]
        full = record["as_measured"]
        lines += ["", "What was measured, at full length:", *(f"  {command}" for command in full["commands"])]
        lines += [f"  ({full['note']})"] if full["note"] else []
    return [*lines, "", *(f"- {limit}" for limit in record["limits"])]


def _row(arm: str, found: dict[str, Any]) -> list[str]:
    dice, hd95, end = f"{found['dice']:.2f}", f"{found['hd95']:.2f}", f"{sum(found['seconds']) / 60:.1f}"
    if "difference" not in found:
        return [NAMES[arm], dice, "compared with", "", "", hd95, "compared with", "", end]
    seeds = ", ".join(f"{one:+.2f}" for one in found["difference"]["of_seeds"])
    return [
        NAMES[arm],
        dice,
        *_difference(found["difference"]),
        seeds,
        hd95,
        *_difference(found["hd95_difference"]),
        end,
    ]


def _difference(found: dict[str, Any]) -> tuple[str, str]:
    over_patients, with_runs = (_interval(found[low], found[high]) for low, high in ENDS)
    return f"{found['difference']:+.2f} {over_patients}", with_runs


def _interval(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.margin < float("inf"):
        raise ValueError(f"--margin: expected a positive number, got {args.margin}; it is the smallest gain worth it")
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise ValueError(f"--seeds: expected different numbers from 0, got {args.seeds}")
    if args.np < 1:
        raise ValueError(f"-np: expected at least one process, got {args.np}")
    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise ValueError(f"-o: expected a folder, {args.output} is a file; give another name")


def _planned(args: argparse.Namespace) -> Probe:
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.files.plans import preprocessed_folder
    from nnunet_iac.nnunet.probe.probe import held_out_limit
    from nnunet_iac.nnunet.probe.probe_plan import Budget, plan_probe

    preprocessed = preprocessed_folder(args.dataset)
    name = f"probe_{args.plans}__{args.configuration}_fold{args.fold}"
    folder = (args.output or results_folder() / preprocessed.name / name).resolve()
    held_out = held_out_limit(folder, args.held_out)
    budget = Budget(args.epochs, args.iterations, args.search_epochs, args.batch_size, args.share, held_out)
    return plan_probe(preprocessed, args.plans, args.configuration, args.fold, budget, folder=folder, host=args.host)


def _trained(args: argparse.Namespace, probe: Probe) -> dict[Any, tuple[float, ...]]:
    """Train, unless there are too few patients to conclude anything from."""
    import torch

    from nnunet_iac.nnunet.probe.probe import run_probe
    from nnunet_iac.nnunet.probe.probe_trainer import TRAINERS
    from nnunet_iac.statistics.recommendation import FEWEST

    if probe.held_out_patients < FEWEST:
        return {}
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    arms = [arm for arm in TRAINERS if arm != "searched" or args.searched]
    return run_probe(probe, arms, args.seeds, device=torch.device(device), say=_say)


def _introduction(probe: Probe, args: argparse.Namespace) -> str:
    from nnunet_iac.statistics.recommendation import FEWEST

    known = f"patients as {probe.patients} says" if probe.patients else "every case counts as a patient"
    train, held_out = len(probe.training_cases), len(probe.held_out_cases)
    arms, steps = 3 if args.searched else 2, probe.budget.epochs * probe.budget.iterations
    trainings = (
        f"\n{arms * len(args.seeds)} short trainings of {steps} steps, each of which then segments the {held_out} "
        "cases held out; the time they need is said after the first one"
    )
    return (
        f"host (the trained network): {probe.host}\n"
        f"{train + held_out} training cases of the fold: {train} train, {held_out} cases of {probe.held_out_patients} "
        f"patients are held out ({known}); its validation cases are not touched"
        f"{trainings if probe.held_out_patients >= FEWEST else ''}"
    )


def _say(text: str) -> None:
    # The trainings redirect standard output; a line of progress never comes from inside one.
    print(text, flush=True)
