"""Arguments that the benchmarks share: whose data, and how many runs at a time."""

from __future__ import annotations

import argparse


def add_data_arguments(parser: argparse.ArgumentParser, dataset: str = "4", *, several_folds: bool = False) -> None:
    """Declare data set, configuration, fold (or folds), and what replaces the planned sizes."""
    parser.add_argument("-d", dest="dataset", default=dataset, help="id or name (default: %(default)s)")
    parser.add_argument("-c", dest="configuration", default="2d", help="nnU-Net's (default: %(default)s)")
    if several_folds:
        parser.add_argument("-f", dest="folds", type=int, nargs="+", default=[0], help="nnU-Net's (default: 0)")
    else:
        parser.add_argument("-f", dest="fold", type=int, default=0, help="nnU-Net's (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help="default: that of the plans")
    parser.add_argument("--patch-size", type=int, nargs="+", help="default: that of the plans")


def add_run_arguments(parser: argparse.ArgumentParser, jobs: int = 3) -> None:
    """Declare how the runs of a study are run."""
    parser.add_argument("--jobs", type=int, default=jobs, help="runs at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="of each run (default: %(default)s)")


def add_study_arguments(parser: argparse.ArgumentParser, tag: str, budget: str) -> None:
    """Declare what a study of several ``bench_dice.py`` shares: seeds, settings, the names of plans and of the record.

    Args:
        parser: of the study.
        tag: default part of the plans' names; the record is called after it.
        budget: what ``--budget`` is over or of, for its help.
    """
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help=budget)
    parser.add_argument("--tag", default=tag, help="part of the plans' names; one for each budget")
    parser.add_argument("--json", default=f"{tag}s.json", help="write the figures to this file, and beside it")
