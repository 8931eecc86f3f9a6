"""Dice of stock, baselines and cells: same training budget, several seeds, paired by patient.

    python scripts/bench_dice.py -d 4 -c 2d --host trained --seeds 0 1 2 --json dice.json

Needs nnU-Net's three folders and a planned and preprocessed data set. Every arm is one ``nnUNetv2_train`` with one of
this package's trainers on plans that this script derives; arms that are finished are not repeated, an interrupted one
goes on where it was. The plans of one ``--tag`` stay what they are: other settings under it are refused, since they
would be mixed with what is finished.

``--host trained`` is the question of a user with a trained U-Net: each seed trains one host (``nnUNetTrainerIACHost``),
and the arms start from it: ``identity`` gives it no cells (the control), ``random`` implants random cells, the others
search first. ``--host scratch`` trains the host inside each arm (``nnUNetTrainerIAC``); ``stock`` is nnU-Net's own
``nnUNetTrainer`` with the same number of steps, ``attention`` and ``dense`` are the baselines. ``full search`` is the
original: 200 epochs, nothing pruned. ``pruned search`` has the same budget, ``short search`` one of a few epochs.

HD95 has tables of its own, and every pair one by class: cells can gain the one and lose the other.

The table is followed by how many times cheaper the searches were, in wall-clock, and by the pairs that answer
questions: do searched cells differ from random ones, is a cheaper search as good as the full one? A difference is
inside the margin if its interval over patients is and, from two seeds or three folds on, that over patients and
trainings too: the first is about these very networks, and searches of other seeds find others
(nnunet_iac/statistics/verdict.py). With ``-f 0 1 2 3 4`` every seed is trained on each fold, and all patients count;
the folds of a model share the cells of its first search, so one seed compares one search each, trained five times, and
tells nothing of other searches.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench_arguments import add_data_arguments, add_run_arguments
from bench_environment import bench_environment, left_to_others
from dice_study import (
    ATTENTION,
    BUDGET,
    CONTROL,
    DENSE,
    FULL,
    HOST,
    ONLY_FROM_SCRATCH,
    PAIRS,
    PRUNED,
    RANDOM,
    SHORT,
    SHORT_BUDGET,
    STOCK,
    TRAINERS,
    Study,
)
from dice_tables import Result, study_markdown, study_record

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.plans import preprocessed_folder
from nnunet_iac.nnunet.studies.study_plans import ensure_plans
from nnunet_iac.nnunet.studies.training_processes import Training, run_trainings

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.measured_arms import MeasuredArms
    from nnunet_iac.nnunet.cases.predictions import Arm
    from nnunet_iac.reports.comparison import Comparison

MARGIN = 0.5
"""Dice points that would not matter (our choice)."""

HD95_MARGIN = 1.0
"""The same for HD95, in mm, or in pixels for images without a spacing (our choice)."""

PLANS_OPTIONS = "--budget, --short, --batch-size, --patch-size, --host, --hosts"
"""What makes the plans of one ``--tag`` what they are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the tables; the status is 1 if an arm is not done, 2 if its plans are refused."""
    from nnunet_iac.nnunet.files.hosts import results_folder

    args = _parse(argv)
    try:
        study, budget = _prepare(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"bench_dice.py: {error}", file=sys.stderr)
        return 2
    if taken := study.taken_from_hosts(budget):
        print(f"Taken from the plans of the hosts, as --budget does not set it: {' '.join(taken)}")
    names = [*([HOST] if study.trained_host else []), *study.arms]
    results = results_folder()
    cells = list(product(study.seeds, study.folds))
    runs = {(arm, *cell): study.training(arm, *cell, results, args.device) for arm in names for cell in cells}
    environment = bench_environment(args.threads, Path(__file__).resolve().parent / "stock")
    failed: list[Training] = []
    # Hosts first; then the longest first, so that the last to finish are short.
    for wave in ((HOST,), (FULL, PRUNED, SHORT, DENSE, ATTENTION, RANDOM, CONTROL, STOCK)):
        waiting = [runs[(arm, *cell)] for arm in wave if arm in names for cell in cells]
        todo = [run for run in waiting if not run.is_done]
        failed += run_trainings(todo, gpus=[None] * args.jobs, environment=environment)
        if left_to_others(todo, failed):
            return 1
    if failed:
        return 1
    result = _measure(study, results, args.margin)
    print("\n" + study_markdown(result))
    if args.json:
        how = {"threads": args.threads, "jobs": args.jobs, "device": args.device}
        write_json(Path(args.json), study_record(replace(study, budget=budget), result, **how))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, several_folds=True)
    add_run_arguments(parser)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--host", choices=("trained", "scratch"), default="trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arms = [*(arm for arm in TRAINERS if arm != HOST), *ONLY_FROM_SCRATCH]
    only = ", ".join(ONLY_FROM_SCRATCH)
    parser.add_argument("--arms", nargs="+", choices=arms, help=f"default: all; {only} only with --host scratch")
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help=f"over {' '.join(BUDGET)}")
    parser.add_argument("--short", nargs="+", default=[], metavar="KEY=VALUE", help=f"over {' '.join(SHORT_BUDGET)}")
    parser.add_argument("--tag", default="bench", help="part of the plans' names; one for each budget")
    parser.add_argument(
        "--hosts",
        metavar="TAG",
        help="take the trained hosts of an earlier study, and its settings where --budget says nothing",
    )
    parser.add_argument("--margin", type=float, default=MARGIN, help="Dice points that would not matter")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args(argv)
    if args.host == "trained" and (misplaced := ONLY_FROM_SCRATCH.keys() & set(args.arms or [])):
        parser.error(f"--arms {' '.join(sorted(misplaced))}: expected --host scratch with it, got trained")
    if args.hosts and args.host != "trained":
        parser.error(f"--hosts {args.hosts}: expected --host trained with it, got {args.host}")
    if args.batch_size is not None and args.batch_size < 2:
        parser.error(f"--batch-size: expected at least 2, got {args.batch_size}")
    args.arms = args.arms or (arms if args.host == "scratch" else arms[: -len(ONLY_FROM_SCRATCH)])
    return args


def _prepare(args: argparse.Namespace) -> tuple[Study, list[str]]:
    """Write the plans that are not there yet; return what is run, and with what settings."""
    preprocessed = preprocessed_folder(args.dataset)
    study = _study(args, preprocessed.name)
    budget = study.whole_budget(preprocessed)
    ensure_plans(preprocessed, study.derived_plans(preprocessed), study.configuration, PLANS_OPTIONS)
    return study, budget


def _study(args: argparse.Namespace, dataset: str) -> Study:
    return Study(
        dataset=dataset,
        configuration=args.configuration,
        folds=args.folds,
        plans=args.plans,
        trained_host=args.host == "trained",
        seeds=args.seeds,
        arms=args.arms,
        budget=[*BUDGET, *args.budget],
        short=[*SHORT_BUDGET, *args.short],
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        tag=args.tag,
        hosts=None if args.hosts == args.tag else args.hosts,
    )


def _measure(study: Study, results: Path, margin: float) -> Result:
    """Measure the masks of all arms and read how the searches ended."""
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.reports.result import FILE_NAME, read_result

    names = [*([HOST] if study.trained_host else []), *study.arms]
    models = {(name, seed): study.model_folder(name, seed, results) for name in names for seed in study.seeds}
    # The host's own Dice comes first if there is no control.
    arms = [predictions(study, name) for name in sorted(names, key=lambda name: name != CONTROL)]
    measured = measure_arms(arms)
    searching = [arm for arm in (FULL, PRUNED, SHORT) if arm in names]
    return Result(
        table=compare(measured, [arm.name for arm in arms], margin),
        pairs={pair: compare(measured, pair[::-1], margin) for pair in PAIRS if set(names) >= set(pair)},
        searches={
            arm: {
                (seed, fold): read_result(path)
                for seed, fold in product(study.seeds, study.folds)
                # All folds of a model have the cells that its first one found.
                if (path := models[arm, seed] / f"fold_{fold}" / FILE_NAME).is_file()
            }
            for arm in searching
        },
    )


def predictions(study: Study, name: str) -> Arm:
    """Return where an arm's masks lie; not all folds that are there, but those of the study."""
    from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
    from nnunet_iac.nnunet.files.hosts import results_folder

    models = {seed: study.model_folder(name, seed, results_folder()) for seed in study.seeds}
    return Arm(
        name,
        tuple(
            Predictions(model, f"seed {seed}", tuple(model / f"fold_{fold}" / "validation" for fold in study.folds))
            for seed, model in models.items()
        ),
    )


def compare(measured: MeasuredArms, arms: Sequence[str], margin: float) -> Comparison:
    """Compare arms that were measured together, all with the first."""
    from nnunet_iac.reports.comparison import build_comparison

    scores = measured.scores({arm: arm for arm in arms})
    return build_comparison(scores, margins={"dice": margin, "hd95": HD95_MARGIN}, unit=measured.unit)


if __name__ == "__main__":
    sys.exit(main())
