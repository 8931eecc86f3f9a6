"""``nnunet-iac report``: what a search did and what it brought, as one HTML page and PNG files."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_iac.cli.arguments import output_path

HELP = "show what a search did (alphas, JSD, pruning, genotype, Dice) as one HTML page and PNG files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder to report, the page to write and the fold."""
    parser.add_argument(
        "folder",
        metavar="RESULTS_FOLDER",
        type=Path,
        help="model folder <nnUNet_results>/<Dataset>/<Trainer>__<plans>__<configuration>, or one fold_<k> in it",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=output_path,
        help="the page to write (default: report.html in RESULTS_FOLDER); PNG files go to the folder of the same name",
    )
    parser.add_argument("--fold", metavar="K", help="report one fold of a model folder: 0, 1, … or all")


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from tqdm import tqdm

    from nnunet_iac.reports.report import write_report

    written = write_report(
        args.folder,
        args.output,
        args.fold,
        progress=lambda pictures: tqdm(pictures, desc="drawing", unit="picture", disable=None, leave=False),
    )
    print(f"report: {written.page} ({len(written.pictures)} pictures, also in {written.folder})")
    return 0
