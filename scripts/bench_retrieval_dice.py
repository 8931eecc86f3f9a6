"""Leave one data set out: is what the rest of a zoo offers a better start? Dice after equal fine-tuning.

    python scripts/bench_retrieval_dice.py -d 4 501 508 511 -c 2d --zoo ZOO --patch-size 96x96 4=56x40 508=128x128
        511=256x128 --batch-size 4 --jobs 3 --tag loo --json loo.json

Needs nnU-Net's three folders, planned and preprocessed data sets, and a zoo of three data sets or more (``nnunet-iac
zoo build``, with the patch sizes that are given here: distances between data sets depend on them). Each target gets a
zoo of its own, a copy without any entry of the target (and of those named with it in ``--together``), so that nothing
could see one. Then, for each seed:

- ``scratch``: nnU-Net's plan and initialisation (``nnUNetTrainerIACHost``);
- ``T1``, ``T5``, ``T10``: ``nnunet-iac retrieve --protocol``, then ``nnUNetTrainerMedNNS``. T5 and T10 train 5 and 10
  candidates for ``--retrieve-iterations`` steps first, on training cases only; steps and seconds of that are in the
  last table, not in the fine-tuning. A target that ``retrieve`` takes for an outlier starts from scratch by its own
  rule, and the table says ``outlier: default``;
- ``random``: a candidate drawn from all of the zoo's with equal chance;
- ``nearest``: of the data set that is nearest by optimal transport, the candidate with the best Dice there. Both are
  brought over by the same code as a retrieved one and trained alike; nobody asks whether the target is an outlier.

Fine-tuning has the same steps, batch size, patch size, cases and seed in all arms of a target (checked). Networks
differ: a retrieved one has the depths and widths that were retrieved. Arms with the same start (an outlier and scratch,
two arms that chose the same candidate) would train alike, on the CPU bit by bit: they share one training. What is
finished is not repeated, what was interrupted goes on; a zoo that changed needs another ``--tag``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench_arguments import add_run_arguments
from bench_environment import bench_environment, left_to_others
from retrieval_dice_arms import PROTOCOLS, bring, retrieve, retrieved
from retrieval_dice_study import Run, Study, leave_out, patch_sizes, write_plans
from retrieval_dice_tables import NEAREST, RANDOM, SCRATCH, T1, T5, T10, markdown, regrets

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.studies.training_processes import Training, run_trainings


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the tables; the status is 1 if an arm failed."""
    import torch

    from nnunet_iac.nnunet.files.hosts import results_folder

    args = _parse(argv)
    torch.set_num_threads(args.threads)
    study, results, environment = _study(args), results_folder(), bench_environment(args.threads)
    for target in study.targets:
        leave_out(study, target, results)
        for seed in study.seeds:
            write_plans(study, target, seed)
    commanded = [(t, arm, s) for arm in PROTOCOLS for t in study.targets for s in study.seeds if arm in study.arms]
    with ThreadPoolExecutor(args.jobs) as pool:
        fine = list(pool.map(lambda run: retrieve(study, run, results, environment), commanded))
    if not all(fine):
        return 1
    for target in study.targets:
        for seed in study.seeds:
            bring(study, target, seed, results)
    records = {run: retrieved(study, run, results) for run in study.runs if run[1] != SCRATCH}
    trainings = {run: study.training(trained_as(run, records), results) for run in study.runs}
    todo = list({one.folder: one for one in trainings.values() if not one.is_done}.values())
    failed = run_trainings(todo, gpus=[None] * args.jobs, environment=environment)
    if failed or left_to_others(todo, failed):
        return 1
    found = [_measure(study, target, trainings, records, args.margin) for target in study.targets]
    print("\n" + markdown(found, study.arms))
    if args.json:
        about = {"study": asdict(study), "threads": args.threads, "jobs": args.jobs}
        write_json(Path(args.json), {**about, "targets": found})
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument("-d", dest="datasets", nargs="+", help="targets (default: all data sets of the zoo)")
    parser.add_argument("-c", dest="configuration", default="2d")
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--zoo", required=True, metavar="DIR", help="folder or URL")
    parser.add_argument("--together", nargs="+", default=[], metavar="ID", help="data sets that share patients, say")
    arms = (T1, T5, T10, RANDOM, NEAREST)
    parser.add_argument("--arms", nargs="+", choices=arms, default=list(arms), help="besides scratch (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=15, help="of the fine-tuning (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=20, help="steps of each of them (default: %(default)s)")
    parser.add_argument("--retrieve-iterations", type=int, default=20, help="of a candidate (default: %(default)s)")
    parser.add_argument("--patches", type=int, default=128, help="of a target to look at (default: %(default)s)")
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help="such as training.augment=false")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--patch-size", nargs="+", default=[], metavar="SIZE", help="96x96 for all, 4=56x40 for one")
    parser.add_argument("--tag", default="loo", help="part of the plans' names; one for each zoo and budget")
    parser.add_argument("--margin", type=float, default=0.5, help="Dice points that would not matter")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args(argv)


def _study(args: argparse.Namespace) -> Study:
    from nnunet_iac.nnunet.files.plans import preprocessed_folder
    from nnunet_iac.zoo.candidates_entries import SUBNETWORKS
    from nnunet_iac.zoo.entries import Query
    from nnunet_iac.zoo.store import Zoo

    built = [e.dataset for e in Zoo(args.zoo).entries(Query(SUBNETWORKS)) if e.configuration == args.configuration]
    targets = [preprocessed_folder(name).name for name in args.datasets or dict.fromkeys(built)]
    steps = (f"host.epochs={args.epochs}", f"host.iterations={args.iterations}", "training.validation_iterations=1")
    return Study(
        targets=targets,
        together=[preprocessed_folder(name).name for name in args.together],
        arms=[SCRATCH, *args.arms],
        seeds=args.seeds,
        configuration=args.configuration,
        fold=args.fold,
        plans=args.plans,
        zoo=args.zoo if "://" in args.zoo else str(Path(args.zoo).resolve()),
        budget=[*steps, *args.budget],
        batch_size=args.batch_size,
        patch_sizes=patch_sizes(args.patch_size, targets),
        retrieve_iterations=args.retrieve_iterations,
        patches=args.patches,
        device=args.device,
        tag=args.tag,
    )


def trained_as(run: Run, records: Mapping[Run, Mapping[str, Any]]) -> Run:
    """Return the run whose training is an arm's: scratch's for an outlier, the first with the same candidate else.

    Example:
        >>> same, outlier = {"outlier": False, "candidate": "A 2d candidate 0"}, {"outlier": True}
        >>> records = {("D", "T1", 0): same, ("D", "T5", 0): same, ("D", "T1", 1): outlier}
        >>> [trained_as(run, records) for run in records]
        [('D', 'T1', 0), ('D', 'T1', 0), ('D', 'scratch', 1)]
    """
    target, arm, seed = run
    if arm == SCRATCH or records[run]["outlier"]:
        return (target, SCRATCH, seed)
    beside = [(other, found) for other, found in records.items() if (other[0], other[2]) == (target, seed)]
    return next(other for other, found in beside if found.get("candidate") == records[run]["candidate"])


def _measure(
    study: Study,
    target: str,
    trainings: Mapping[Run, Training],
    records: Mapping[Run, Mapping[str, Any]],
    margin: float,
) -> dict[str, Any]:
    """Measure all arms of a target and put together what is known of it."""
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
    from nnunet_iac.reports.comparison import build_comparison

    folders = {arm: [trainings[target, arm, seed].folder for seed in study.seeds] for arm in study.arms}
    measured = measure_arms([Arm(arm, tuple(map(Predictions.at, of_arm))) for arm, of_arm in folders.items()])
    scores = measured.scores({arm: arm for arm in study.arms})
    comparison = build_comparison(scores, margins={"dice": margin, "hd95": 1.0}, unit=measured.unit)
    rows = {row.arm: row for row in comparison.main_rows("dice")}
    dice = {arm: float(row.values.mean()) for arm, row in rows.items()}
    against = {
        arm: row.result and {**asdict(row.result), "of_runs": row.of_runs and asdict(row.of_runs)}
        for arm, row in rows.items()
        if arm != SCRATCH
    }
    return {
        "target": target,
        "left_out": sorted(study.left_out(target)),
        "patients": len(rows[SCRATCH].values),
        "grouping": measured.cohort.source and measured.cohort.source.split(" in ")[0],
        "dice": dice,
        "regret": regrets(dice),
        "dice_by_seed": dict(zip(scores.arms, scores.run_means["dice"], strict=True)),
        "dice_of_patients": {arm: row.values.tolist() for arm, row in rows.items()},
        "against_scratch": against,
        "retrieved": {
            arm: {
                str(seed): {**records[target, arm, seed], "trained_as": trained_as((target, arm, seed), records)[1]}
                for seed in study.seeds
            }
            for arm in study.arms
            if arm != SCRATCH
        },
    }


if __name__ == "__main__":
    sys.exit(main())
