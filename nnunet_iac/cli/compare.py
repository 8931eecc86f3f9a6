"""``nnunet-iac compare``: Dice and HD95 of several models against a control, patient by patient."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import output_path

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.measured_arms import MeasuredArms
    from nnunet_iac.nnunet.cases.predictions import Arm
    from nnunet_iac.reports.comparison import Comparison

HELP = "compare models patient by patient: Dice and HD95, confidence intervals, tests, non-inferiority"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders, their names, the margins, the references and the output."""
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="+",
        help="the control, then the others: fold folders, model folders (all their folds) or folders of masks; "
        "several seeds of one method joined by commas, in the same order for all",
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="one name for each FOLDER (after the folders)")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="loss of Dice that would not matter, in points of 100 (default: %(default)s)",
    )
    parser.add_argument(
        "--margin-hd95",
        type=float,
        default=1.0,
        metavar="MM",
        help="the same for HD95, in mm, or in pixels for images without a spacing (default: %(default)s)",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="reference masks (default: the data set's gt_segmentations)"
    )
    parser.add_argument(
        "--common", action="store_true", help="leave out patients that an arm lacks instead of refusing"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("-np", type=int, default=1, metavar="N", help="processes that measure (default: %(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        type=output_path,
        metavar="FOLDER",
        help="write compare.md, .csv, .png and compare_statistics.csv here",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, compare, print the table; everything is found and checked before the first mask is read.

    Raises:
        ValueError: if arms, classes, patients or masks do not fit.
        FileNotFoundError: if folders, references or ``dataset.json`` are missing.
    """
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.nnunet.cases.predictions import find_arms
    from nnunet_iac.reports.comparison import build_comparison, comparison_markdown

    for option, margin in (("--margin", args.margin), ("--margin-hd95", args.margin_hd95)):
        if not 0 < margin < float("inf"):
            raise ValueError(f"{option}: expected a positive number, got {margin}; it is the loss that does not matter")
    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output: expected a folder, {args.output} is a file; give another name")
    arms = find_arms(args.folders, args.names)
    measured = measure_arms(arms, references=args.reference, common=args.common, processes=args.np)
    comparison = build_comparison(
        measured.scores({arm.name: arm.name for arm in arms}),
        margins={"dice": args.margin, "hd95": args.margin_hd95},
        unit=measured.unit,
        notes=[*_notes(arms, measured), f"Seed of the bootstrap: {args.seed}."],
        seed=args.seed,
    )
    print(comparison_markdown(comparison), end="")
    if args.output is not None:
        _write(comparison, args.output)
        print(f"\nwritten to {args.output}")
    return 0


def _notes(arms: tuple[Arm, ...], measured: MeasuredArms) -> list[str]:
    cohort, sources = measured.cohort, measured.sources
    cases = sum(len(of_patient) for of_patient in cohort.patients.values())
    folders = "; ".join(f"{arm.name} = {', '.join(run.label for run in arm.runs)}" for arm in arms)
    known = f"patients as {cohort.source} says" if cohort.source else "no patient_groups.json: every case is a patient"
    lines = [
        f"Arms: {folders}.",
        f"{cases} cases of {len(cohort.patients)} patients ({known}); references: {sources.references}.",
        f"Classes: {', '.join(sources.labels.classes)}.",
    ]
    if cohort.dropped:
        lines.append(f"Patients left out with --common, because an arm lacks a case of them: {len(cohort.dropped)}.")
    return lines


def _write(comparison: Comparison, folder: Path) -> None:
    from nnunet_iac.atomic import write_bytes, write_text
    from nnunet_iac.reports.comparison import comparison_markdown, statistics_csv, values_csv
    from nnunet_iac.reports.comparison_figure import comparison_png

    drawn = comparison_png(comparison)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "compare.csv", values_csv(comparison))
    write_text(folder / "compare_statistics.csv", statistics_csv(comparison))
    write_bytes(folder / "compare.png", drawn)
    write_text(folder / "compare.md", comparison_markdown(comparison))
