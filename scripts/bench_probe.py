"""Does the probe tell what full trainings will say? Both on the same trained hosts, data set by data set.

    python scripts/bench_probe.py -d 508 -c 2d --batch-size 4 --patch-size 128 128 --json probe508.json
    python scripts/bench_probe.py --read probe004.json probe508.json

For one data set: trains hosts (``nnUNetTrainerIACHost``, one a seed), goes on from each without and with random cells
for ``training.epochs`` (``bench_dice.py --host trained --arms identity random``; measured on the fold's validation
patients), and asks ``nnunet-iac probe`` about the host of the first seed and fold (measured on part of its training
patients). Where a fold has few patients, ``-f 0 1 2 3 4`` gives the full trainings all of the data set, and
``--probe-seeds`` the probe its own trainings, which it needs several of. The full interval with runs is then over
folds, and their hosts are others than the one that was probed: "agree" and "lean" compare one host with all of them.
The schedule is the same: cells and host train together, at the same rate; the probe's is shorter. What is finished is
not repeated. ``--read`` prints the table of several data sets.

``agree`` is judged with the rule of :func:`nnunet_iac.statistics.recommendation.recommend`, applied to both: ``yes`` if
both are decisive (cells pay, or do not bother) and equal, ``no`` if they are decisive and differ, else ``open``: two
that settle nothing have not agreed on anything. ``lean`` is the probe's difference minus the full one, and whether the
full one lies in the probe's interval with runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bench_dice
from bench_arguments import add_data_arguments, add_run_arguments
from bench_environment import bench_environment

from nnunet_iac.atomic import write_json
from nnunet_iac.markdown import table_text

SCHEDULE = ("training.freeze_host=false", "training.host_rate=1", "training.cells_first=0")
"""What the probe does: see :data:`nnunet_iac.nnunet.probe.probe_plan.SCHEDULE`."""

DECISIVE = {"pays", "do not bother"}
"""Verdicts that can agree or differ."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is 1 if something failed."""
    args = _parse(argv)
    if args.read:
        print(markdown([json.loads(Path(path).read_text(encoding="utf-8")) for path in args.read]))
        return 0
    folder = Path(args.json).resolve().with_suffix("")
    full, probe = folder.with_name(f"{folder.name}_full.json"), folder.with_name(f"{folder.name}_probe")
    steps = ("--budget", f"host.epochs={args.host_epochs}", f"training.epochs={args.epochs}", *SCHEDULE)
    words = [*_common(args, args.folds, args.seeds), "--host", "trained", "--arms", "identity", "random"]
    words += ["--tag", args.tag, *steps]
    words += ["--hosts", args.hosts] if args.hosts else []
    words += ["--patch-size", *map(str, args.patch_size)] if args.patch_size else []
    words += ["--batch-size", str(args.batch_size)] if args.batch_size else []
    if bench_dice.main([*words, "--jobs", str(args.jobs), "--threads", str(args.threads), "--json", str(full)]):
        return 1
    host = f"nnUNetPlans_{args.hosts or args.tag}_seed{args.seeds[0]}"
    command = ["nnunet-iac", "probe", *_common(args, args.folds[:1], args.probe_seeds or args.seeds)]
    command += ["-p", host, "-o", str(probe), "-device", args.device]
    if subprocess.run(command, env=bench_environment(args.threads), check=False).returncode:
        return 1
    record = {
        "full": json.loads(full.read_text(encoding="utf-8")),
        "probe": json.loads((probe / "probe.json").read_text(encoding="utf-8")),
    }
    write_json(Path(args.json), record)
    print(markdown([record]))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, several_folds=True)
    add_run_arguments(parser, jobs=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--probe-seeds", type=int, nargs="+", help="of the probe (default: those of --seeds)")
    parser.add_argument("--host-epochs", type=int, default=15, help="of 20 steps")
    parser.add_argument("--epochs", type=int, default=10, help="of 20 steps, of the full trainings")
    parser.add_argument("--tag", default="probed", help="part of the plans' names; one for each budget")
    parser.add_argument("--hosts", metavar="TAG", help="take the trained hosts of an earlier study")
    parser.add_argument("--json", help="write the figures to this file, and what leads to them beside it")
    parser.add_argument("--read", nargs="+", metavar="FILE", help="only print the table of these files")
    args = parser.parse_args(argv)
    if not (args.read or args.json):
        parser.error("--json: expected a file, the probe's trainings are kept beside it")
    return args


def _common(args: argparse.Namespace, folds: Sequence[int], seeds: Sequence[int]) -> list[str]:
    words = ["-d", args.dataset, "-c", args.configuration, "-f", *map(str, folds)]
    return [*words, "--seeds", *map(str, seeds)]


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, a row for each data set."""
    head = ["data set", "probe: cells minus none, 95 % CI", "CI with runs", "verdict", "minutes"]
    head += ["full: cells minus none, 95 % CI", "by seed", "CI with runs", "verdict", "agree", "lean: probe minus full"]
    rows = []
    for record in records:
        probe, full = record["probe"], full_estimate(record["full"])
        found = probe["arms"].get("random")
        verdicts = (probe["recommendation"]["verdict"], full["verdict"])
        probed = (_interval(found["difference"]), _with_runs(found["difference"])) if found else ("none", "")
        row = [f"{probe['dataset']} {probe['configuration']}", *probed, verdicts[0], f"{probe['seconds'] / 60:.0f}"]
        row += [_interval(full), ", ".join(f"{one:+.2f}" for one in full["of_seeds"]), _with_runs(full), verdicts[1]]
        rows.append([*row, agreement(*verdicts), lean(found["difference"], full) if found else ""])
    return table_text(head, rows)


def full_estimate(full: Mapping[str, Any]) -> dict[str, Any]:
    """Return the estimate and the verdict of the full trainings, by the probe's own rule."""
    from nnunet_iac.statistics.recommendation import FEWEST, Estimate, recommend

    found, seeds = full["against_control"]["random"], full["dice_by_seed"]
    patients = len(full["patients"])
    known = patients >= FEWEST
    of_seeds = tuple(a - b for a, b in zip(seeds["random"], seeds["identity"], strict=True))
    low, high = (found["interval"]["low"], found["interval"]["high"]) if known else (None, None)
    with_runs = found["of_runs"] or {}
    estimate = Estimate(patients, found["difference"], low, high, of_seeds, with_runs.get("low"), with_runs.get("high"))
    return {**asdict(estimate), "verdict": recommend(estimate, margin=found["margin"]).verdict}


def agreement(one: str, other: str) -> str:
    """Compare two verdicts.

    Example:
        >>> agreement("pays", "pays"), agreement("do not bother", "pays"), agreement("not settled", "not settled")
        ('yes', 'no', 'open')
    """
    if not {one, other} <= DECISIVE:
        return "open"
    return "yes" if one == other else "no"


def lean(probe: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """Say how far a probe was from the full trainings.

    Example:
        >>> lean({"difference": -0.45, "runs_low": -0.82, "runs_high": -0.07}, {"difference": -0.08})
        '-0.37, full inside the CI'
    """
    said = f"{probe['difference'] - full['difference']:+.2f}"
    if probe["runs_low"] is None:
        return f"{said}, no CI"
    inside = probe["runs_low"] <= full["difference"] <= probe["runs_high"]
    return f"{said}, full {'inside' if inside else 'outside'} the CI"


def _with_runs(found: Mapping[str, Any]) -> str:
    return "none" if found["runs_low"] is None else f"[{found['runs_low']:+.2f}, {found['runs_high']:+.2f}]"


def _interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['difference']:+.2f}, no interval"
    return f"{found['difference']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


if __name__ == "__main__":
    sys.exit(main())
