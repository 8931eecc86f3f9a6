"""Dice of stock, identity, random and searched cells: same training budget, several seeds, paired by patient.

    python scripts/bench_dice.py -d 4 -c 2d --seeds 0 1 2 --json dice.json

Needs nnU-Net's three folders and a planned and preprocessed data set. Every arm is one run of nnU-Net's own
``run_training`` with one of this package's trainers on plans that ``nnunet-iac configure`` wrote; ``stock`` is
nnU-Net's own ``nnUNetTrainer`` with its numbers of epochs and iterations set to the same budget and nothing else
changed. ``short search`` is the pruned search with a budget of a few epochs and longer steps, to be compared with
``full search`` in cost and Dice. Arms that are finished are not repeated; an interrupted arm goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ARMS = {
    "stock": "nnUNetTrainer",
    "identity": "nnUNetTrainerIACIdentity",
    "random": "nnUNetTrainerIACRandom",
    "full search": "nnUNetTrainerIACFullSearch",
    "pruned search": "nnUNetTrainerIAC",
    "short search": "nnUNetTrainerIAC",
}

LONGEST_FIRST = ("full search", "pruned search", "short search", "random", "identity", "stock")
SHORT = "short search"


@dataclass(frozen=True)
class Budget:
    """One budget for all arms: the host's epochs and those after the implantation, all of the same length."""

    host_epochs: int
    epochs: int
    iterations: int
    search_epochs: int
    search_warmup: int
    search_iterations: int
    short_epochs: int
    short_warmup: int
    short_drift: float
    batch_size: int

    def settings(self, seed: int, arm: str) -> list[str]:
        """Return the assignments for ``nnunet-iac configure``."""
        short = [
            f"search.epochs={self.short_epochs}",
            f"search.warmup_epochs={self.short_warmup}",
            f"search.drift={self.short_drift}",
        ]
        return [
            *self._common(seed),
            *(short if arm == SHORT else self._long()),
        ]

    def _long(self) -> list[str]:
        return [f"search.epochs={self.search_epochs}", f"search.warmup_epochs={self.search_warmup}"]

    def _common(self, seed: int) -> list[str]:
        return [
            f"host.epochs={self.host_epochs}",
            f"host.iterations={self.iterations}",
            f"search.iterations={self.search_iterations}",
            f"search.seed={seed}",
            f"training.epochs={self.epochs}",
            f"training.iterations={self.iterations}",
            "training.validation_iterations=2",
        ]


@dataclass(frozen=True)
class Arm:
    """One run."""

    name: str
    seed: int
    folder: Path

    @property
    def summary(self) -> Path:
        """nnU-Net's validation result."""
        return self.folder / "validation" / "summary.json"

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.summary.is_file()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the arms, print the table."""
    args = _parse(argv)
    budget = Budget(
        args.host_epochs,
        args.epochs,
        args.iterations,
        args.search_epochs,
        args.search_warmup,
        args.search_iterations,
        args.short_epochs,
        args.short_warmup,
        args.short_drift,
        args.batch_size,
    )
    if args.worker:
        _work(args.worker, args, budget, args.seeds[0])
        return 0
    for seed in args.seeds:
        for arm in args.arms:
            _configure(args, budget, seed, arm)
    arms = [Arm(name, seed, _folder(args, name, seed)) for name in args.arms for seed in args.seeds]
    # Longest first, so that the last to finish are short.
    order = sorted(arms, key=lambda a: LONGEST_FIRST.index(a.name))
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda arm: _run(arm, args), order))
    failed = [arm for arm in arms if not arm.done]
    for arm in failed:
        print(f"FAILED: {arm.name}, seed {arm.seed}: see {_log(arm)}", file=sys.stderr)
    result = _measure(arms, args, budget)
    print(_table(result))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", default="4")
    parser.add_argument("-c", dest="configuration", default="2d")
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--host-epochs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--search-epochs", type=int, default=200)
    parser.add_argument("--search-warmup", type=int, default=10)
    parser.add_argument("--search-iterations", type=int, default=6)
    parser.add_argument("--short-epochs", type=int, default=12)
    parser.add_argument("--short-warmup", type=int, default=3)
    parser.add_argument("--short-drift", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _configure(args: argparse.Namespace, budget: Budget, seed: int, arm: str) -> None:
    from nnunet_iac.cli.main import main as nnunet_iac

    status = nnunet_iac(
        [
            *("configure", "-d", args.dataset, "-c", args.configuration, "-p", args.plans, "-o", _plans(seed, arm)),
            *("--overwrite", "--batch-size", str(budget.batch_size), "--set", *budget.settings(seed, arm)),
        ]
    )
    if status != 0:
        raise SystemExit(status)


def _plans(seed: int, arm: str) -> str:
    return f"nnUNetPlans_bench{'_short' if arm == SHORT else ''}_seed{seed}"


def _folder(args: argparse.Namespace, name: str, seed: int) -> Path:
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    dataset = maybe_convert_to_dataset_name(args.dataset)
    trainer = "StockWithBudget" if name == "stock" else ARMS[name]
    model = f"{trainer}__{_plans(seed, name)}__{args.configuration}"
    return Path(os.environ["nnUNet_results"]) / dataset / model / f"fold_{args.fold}"


def _log(arm: Arm) -> Path:
    return arm.folder / "bench.log"


def _run(arm: Arm, args: argparse.Namespace) -> None:
    if arm.done:
        return
    arm.folder.mkdir(parents=True, exist_ok=True)
    forwarded = sys.argv[1:] if not args.worker else []
    started = time.perf_counter()
    with _log(arm).open("w", encoding="utf-8") as log:
        subprocess.run(
            [sys.executable, __file__, *forwarded, "--worker", arm.name, "--seeds", str(arm.seed)],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(args.threads), "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2"},
        )
    print(f"{arm.name}, seed {arm.seed}: {time.perf_counter() - started:.0f} s", flush=True)


def _work(name: str, args: argparse.Namespace, budget: Budget, seed: int) -> None:
    """One arm, in a process of its own."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(seed)
    np.random.seed(seed)
    device = torch.device(args.device)
    if name == "stock":
        _work_stock(args, budget, seed, device)
        return
    from nnunetv2.run.run_training import run_training

    from nnunet_iac.cli.trainers import trainers_folder

    os.environ["nnUNet_extTrainer"] = str(trainers_folder())
    run_training(
        args.dataset,
        args.configuration,
        args.fold,
        ARMS[name],
        _plans(seed, name),
        continue_training=True,
        device=device,
    )


def _work_stock(args: argparse.Namespace, budget: Budget, seed: int, device: Any) -> None:
    from nnunetv2.run import run_training as nnunet
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class StockWithBudget(nnUNetTrainer):
        """nnU-Net's trainer; only the numbers that it fixes in code are others."""

        def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: Any = None) -> None:
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs = budget.host_epochs + budget.epochs
            self.num_iterations_per_epoch = budget.iterations
            self.num_val_iterations_per_epoch = 2

    original = nnunet.recursive_find_trainer_class_by_name
    nnunet.recursive_find_trainer_class_by_name = lambda _: StockWithBudget
    try:
        nnunet.run_training(
            args.dataset, args.configuration, args.fold, plans_identifier=_plans(seed, "stock"), device=device
        )
    finally:
        nnunet.recursive_find_trainer_class_by_name = original


def _measure(arms: Sequence[Arm], args: argparse.Namespace, budget: Budget) -> dict[str, Any]:
    """Collect the Dice of every patient and the cost of the searches."""
    patient = _patients(args)
    done = [arm for arm in arms if arm.done]
    dice = {name: {a.seed: _dice_by_patient(a, patient) for a in done if a.name == name} for name in args.arms}
    searched = [name for name in args.arms if name.endswith("search")]
    searches = {name: {a.seed: _search_cost(a) for a in done if a.name == name} for name in searched}
    return {
        "dataset": args.dataset,
        "configuration": args.configuration,
        "fold": args.fold,
        "budget": budget.__dict__,
        "threads": args.threads,
        "jobs": args.jobs,
        "device": args.device,
        "dice": dice,
        "search": searches,
    }


def _patients(args: argparse.Namespace) -> dict[str, str]:
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    from nnunet_iac.nnunet.splits import find_grouping

    folder = Path(os.environ["nnUNet_preprocessed"]) / maybe_convert_to_dataset_name(args.dataset)
    cases = sorted({p.name.split(".")[0] for p in (folder / "gt_segmentations").iterdir()})
    return dict(find_grouping(cases, folder).patient)


def _dice_by_patient(arm: Arm, patient: dict[str, str]) -> dict[str, float]:
    """Mean over a patient's cases of the mean over classes; a class empty in reference and prediction is left out."""
    values: dict[str, list[float]] = {}
    for case in json.loads(arm.summary.read_text(encoding="utf-8"))["metric_per_case"]:
        name = Path(case["reference_file"]).name.split(".")[0]
        values.setdefault(patient[name], []).append(float(np.nanmean([m["Dice"] for m in case["metrics"].values()])))
    return {name: float(np.mean(v)) for name, v in sorted(values.items())}


def _search_cost(arm: Arm) -> dict[str, Any]:
    result = json.loads((arm.folder / "search_result.json").read_text(encoding="utf-8"))
    return {key: result[key] for key in ("status", "epochs", "seconds", "decided_edges", "edges")}


CONTROL = "identity"
PAIRS = (
    ("full search", "random"),
    ("pruned search", "random"),
    ("pruned search", "full search"),
    (SHORT, "full search"),
)
MARGIN = 0.5
"""Dice points that would not matter."""


def _table(result: dict[str, Any]) -> str:
    """Return the tables as Markdown; differences are paired by patient, each patient's Dice is its mean over seeds."""
    lines = [
        f"| arm | Dice by seed | mean | minus {CONTROL}, 95 % CI | Wilcoxon p (Holm) | search epochs | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    others = [name for name, by_seed in result["dice"].items() if by_seed and name != CONTROL]
    against = dict(zip(others, _compare(result["dice"], CONTROL, others), strict=True))
    for name, by_seed in result["dice"].items():
        if not by_seed:
            lines.append(f"| {name} | not finished | | | | | |")
            continue
        means = [100 * float(np.mean(list(v.values()))) for v in by_seed.values()]
        cost = list(result["search"].get(name, {}).values())
        epochs = ", ".join(f"{c['epochs']} ({c['decided_edges']}/{c['edges']} decided)" for c in cost)
        lines.append(
            f"| {name} | {', '.join(f'{m:.2f}' for m in means)} | {np.mean(means):.2f} | {against.get(name, '| ')} | "
            f"{epochs} | {', '.join(format(c['seconds'], '.0f') for c in cost)} |"
        )
    lines += ["", *_ratios(result["search"])]
    lines += ["", "| pair | difference, 95 % CI | Wilcoxon p | worse by less than 0.5 |", "|---|---|---|---|"]
    for name, control in PAIRS:
        if result["dice"].get(name) and result["dice"].get(control):
            lines.append(f"| {name} minus {control} | {_compare(result['dice'], control, [name], pair=True)[0]} |")
    return "\n".join(lines)


def _ratios(searches: dict[str, Any]) -> list[str]:
    """Say how many times cheaper each search was than the full one of the same seed, in wall-clock."""
    full = searches.get("full search", {})
    lines = []
    for name, by_seed in searches.items():
        ratios = [full[s]["seconds"] / by_seed[s]["seconds"] for s in by_seed if s in full]
        if name != "full search" and ratios:
            shown = ", ".join(f"{r:.1f}" for r in ratios)
            lines.append(f"The {name} was {shown} times cheaper than the full one (by seed, wall-clock).")
    return lines


def _compare(dice: dict[str, Any], control: str, others: Sequence[str], pair: bool = False) -> list[str]:
    from nnunet_iac.statistics.paired import compare_with_control

    if not dice.get(control) or not others:
        return ["| "] * len(others)
    seeds = sorted(set.intersection(*(set(dice[name]) for name in (control, *others))))
    patients = sorted(dice[control][seeds[0]])
    values = {n: [100 * np.mean([dice[n][s][p] for s in seeds]) for p in patients] for n in (control, *others)}
    found = compare_with_control(
        values[control], [values[name] for name in others], margin=MARGIN, higher_is_better=True
    )
    cells = []
    for one in found:
        p_value = one.p_value if pair else one.holm
        shown = "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
        cell = f"{one.difference:+.2f} [{one.interval.low:+.2f}, {one.interval.high:+.2f}] | {shown}"
        cells.append(cell + (f" | {'yes' if one.non_inferior else 'no'} ({one.bound:+.2f})" if pair else ""))
    return cells


if __name__ == "__main__":
    sys.exit(main())
