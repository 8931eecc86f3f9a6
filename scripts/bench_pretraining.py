"""Early-stopped against full-length pretraining against none: epochs, Dice after the same fine-tuning, several seeds.

    python scripts/bench_pretraining.py -d 501 -c 2d --datasets 508 511 503 --seeds 0 1 2 --json pretraining.json

Needs nnU-Net's three folders and planned and preprocessed data sets. Each seed runs ``nnunet-iac pretrain`` twice, with
its early stop and with ``--full``, and then trains three times with the same steps and batches: from random weights
(``nnUNetTrainerIACHost``, the control) and from both encoders (``nnUNetTrainerPretrainedEncoder``). What is finished is
not repeated, what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_arguments import add_run_arguments
from bench_environment import bench_environment

from nnunet_iac.atomic import write_json
from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.markdown import table_text
from nnunet_iac.nnunet.studies.training_processes import Training, run_trainings

if TYPE_CHECKING:
    from nnunet_iac.reports.comparison import Comparison

NONE, EARLY, FULL = "none", "early", "full"
Run = tuple[str, int]
"""Kind of pretraining and seed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is 1 if a run failed."""
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.files.plans import preprocessed_folder

    args = _parse(argv)
    dataset, results = preprocessed_folder(args.dataset).name, results_folder()
    runs: list[Run] = [(kind, seed) for seed in args.seeds for kind in (NONE, EARLY, FULL)]
    for run in runs:
        _write_plans(args, run)
    with ThreadPoolExecutor(args.jobs) as pool:
        fine = list(pool.map(lambda run: _pretrain(args, run, results / dataset), runs))
    if not all(fine):
        return 1
    trainings = {run: _training(args, run, results / dataset) for run in runs}
    todo = [training for training in trainings.values() if not training.is_done]
    if run_trainings(todo, gpus=[None] * args.jobs, environment=bench_environment(args.threads)):
        return 1
    comparison = _compare({run: training.folder for run, training in trainings.items()}, args)
    records = {run: _record(args, run, results / dataset) for run in runs if run[0] != NONE}
    print("\n" + _markdown(comparison, records, args))
    if args.json:
        write_json(Path(args.json), _content(comparison, records, args))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument("-d", dest="dataset", default="501", help="target")
    parser.add_argument("-c", dest="configuration", default="2d")
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--datasets", nargs="+", default=["508", "511", "503"], help="sources")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30, help="full length of the pretraining")
    parser.add_argument("--iterations", type=int, default=6, help="steps of an epoch of it")
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--watched", type=int, default=32, help="patches of the target")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--patch-size", type=int, nargs="+", default=[96, 96])
    parser.add_argument(
        "--budget",
        nargs="+",
        metavar="KEY=VALUE",
        default="host.epochs=15 host.iterations=20 training.validation_iterations=2 training.augment=false".split(),
        help="of the fine-tuning (default: %(default)s)",
    )
    parser.add_argument("--tag", default="pretraining", help="part of the plans' names; one for each budget")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args(argv)


def _plans(args: argparse.Namespace, run: Run) -> str:
    return f"{args.plans}_{args.tag}_{run[0]}_seed{run[1]}"


def _write_plans(args: argparse.Namespace, run: Run) -> None:
    from nnunet_iac.nnunet.studies.study_plans import ensure_derived

    name, settings = _plans(args, run), [*args.budget, f"search.seed={run[1]}"]
    try:
        ensure_derived(
            args.dataset,
            args.plans,
            name,
            args.configuration,
            settings,
            batch_size=args.batch_size,
            patch_size=args.patch_size,
        )
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


def _folder(args: argparse.Namespace, run: Run, results: Path) -> Path:
    from nnunet_iac.nnunet.pretraining.pretrained_encoder import pretraining_folder

    return pretraining_folder(results.parent, results.name, _plans(args, run), args.configuration)


def _pretrain(args: argparse.Namespace, run: Run, results: Path) -> bool:
    """Pretrain unless it is done; return whether it is done now."""
    kind, seed = run
    folder = _folder(args, run, results)
    if kind == NONE or (folder / "pretraining.json").is_file():
        return True
    words = ["pretrain", "-d", args.dataset, "-c", args.configuration, "-p", _plans(args, run), "-f", str(args.fold)]
    words += ["--datasets", *args.datasets, "--source-plans", args.plans, "--device", args.device, "--c"]
    words += ["--epochs", str(args.epochs), "--iterations", str(args.iterations), "--patience", str(args.patience)]
    words += ["--watched", str(args.watched), "--seed", str(seed), *(["--full"] if kind == FULL else [])]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pretraining.log").open("a", encoding="utf-8") as log:
        status = subprocess.run(
            ["nnunet-iac", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=bench_environment(args.threads),
            check=False,
        ).returncode
    print(f"{'done' if status == 0 else 'FAILED'}: pretraining {kind}, seed {seed}", flush=True)
    return status == 0


def _training(args: argparse.Namespace, run: Run, results: Path) -> Training:
    trainer = "nnUNetTrainerIACHost" if run[0] == NONE else "nnUNetTrainerPretrainedEncoder"
    folder = results / f"{trainer}__{_plans(args, run)}__{args.configuration}" / f"fold_{args.fold}"
    what = ("nnUNetv2_train", str(dataset_number(results.name)), args.configuration, str(args.fold))
    command = [*what, "-tr", trainer, "-p", _plans(args, run), "--c", "-device", args.device]
    return Training(f"fine-tuning after {run[0]}, seed {run[1]}", command, folder)


def _compare(folders: Mapping[Run, Path], args: argparse.Namespace) -> Comparison:
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.nnunet.cases.predictions import Arm, Predictions
    from nnunet_iac.reports.comparison import build_comparison

    kinds = (NONE, EARLY, FULL)
    measured = measure_arms(
        [Arm(kind, tuple(Predictions.at(folders[kind, seed]) for seed in args.seeds)) for kind in kinds]
    )
    scores = measured.scores({kind: kind for kind in kinds})
    return build_comparison(scores, margins={"dice": 0.5, "hd95": 1.0}, unit=measured.unit)


def _record(args: argparse.Namespace, run: Run, results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_folder(args, run, results) / "pretraining.json").read_text(encoding="utf-8"))
    return content


def _markdown(comparison: Comparison, records: Mapping[Run, Mapping[str, Any]], args: argparse.Namespace) -> str:
    from nnunet_iac.reports.paired_texts import difference_text, p_text

    rows, runs = comparison.main_rows("dice"), comparison.scores.run_means["dice"]
    head = ["pretraining", "epochs", "best epoch", "seconds", "Dice by seed", "mean", "minus none, 95 % CI", "p (Holm)"]
    body = []
    for row, dice in zip(rows, runs, strict=True):
        of_arm = [records[row.arm, seed] for seed in args.seeds if row.arm != NONE]
        cost = [", ".join(f"{found[key]:.0f}" for found in of_arm) for key in ("epochs", "best_epoch", "seconds")]
        against = (difference_text(row.result), p_text(row.result.holm)) if row.result else ("", "")
        by_seed = ", ".join(f"{value:.2f}" for value in dice)
        body.append([row.arm, *cost, by_seed, f"{row.values.mean():.2f}", *against])
    about = f"{len(rows[0].values)} patients; each patient's Dice is its mean over seeds."
    return f"{about}\n\n{table_text(head, body)}"


def _content(
    comparison: Comparison, records: Mapping[Run, Mapping[str, Any]], args: argparse.Namespace
) -> dict[str, Any]:
    scores = comparison.scores
    return {
        "arguments": {key: value for key, value in vars(args).items() if key != "json"},
        "dice_by_seed": dict(zip(scores.arms, scores.run_means["dice"], strict=True)),
        "against_none": {row.arm: asdict(row.result) for row in comparison.main_rows("dice") if row.result},
        "pretraining": {f"{kind}, seed {seed}": found for (kind, seed), found in records.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
