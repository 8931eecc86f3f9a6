"""``nnunet-iac doctor``: what is wrong with the installation, and the commands that mend it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

HELP = "check versions, folders, discovery and device, and print the fix for what is wrong"
DATASETS = ("ACDC", "BraTS", "KiTS", "AMOS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--datasets``."""
    parser.add_argument(
        "--datasets",
        nargs="?",
        const="all",
        type=_dataset,
        metavar="NAME",
        help=f"instead of checking, print the commands for a data set of the papers ({', '.join(DATASETS)}; "
        "without a name: all), from the download to the prediction",
    )


def run(args: argparse.Namespace) -> int:
    """Print the findings, or the commands for the data sets; return 1 if something is wrong."""
    if args.datasets is not None:
        return _print_datasets(DATASETS if args.datasets == "all" else (args.datasets,))
    from nnunet_iac.cli.trainers import trainers_folder
    from nnunet_iac.nnunet.doctor.finding import Machine
    from nnunet_iac.nnunet.doctor.installation import check_installation

    trainers: Path | None = None
    try:
        trainers = trainers_folder()
    except FileNotFoundError:
        pass  # the check of nnUNet_extTrainer says it, with the fix
    wrong = 0
    for finding in check_installation(Machine.current(trainers)):
        print(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.name}: {finding.detail}", flush=True)
        if finding.fix:
            print(f"       {'advice' if finding.ok else 'fix'}: {finding.fix}", flush=True)
        wrong += not finding.ok
    print(f"\n{wrong} of the checks found something wrong" if wrong else "\neverything is in order")
    return 1 if wrong else 0


def _dataset(text: str) -> str:
    names = {name.lower(): name for name in (*DATASETS, "all")}
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(names.values())}, got {text!r}")
    return names[text.lower()]


def _print_datasets(names: Iterable[str]) -> int:
    from nnunet_iac.nnunet.doctor.paper_datasets import PAPER_DATASETS, describe

    print("\n\n".join(describe(PAPER_DATASETS[name]) for name in names))
    return 0
