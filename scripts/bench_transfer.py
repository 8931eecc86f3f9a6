"""Warm-started search against a search from scratch: epochs until it is as good as the scratch search's end.

    python scripts/bench_transfer.py -d 4 -c 2d --zoo ZOO --sources nearest --seeds 0 1 2 --json transfer.json

Needs nnU-Net's three folders, a planned and preprocessed data set, and a zoo with search supernets (``nnunet-iac zoo
add --searches FOLDER``; for ``nearest`` features of their data sets too). Every arm is one ``nnUNetv2_train`` on plans
that this script derives: ``scratch`` is ``nnUNetTrainerIAC``, the others are ``nnUNetTrainerIACTransfer``, one for each
source. Arms that are finished are not repeated, an interrupted one goes on where it was.

What is measured. A search's trace has no Dice of its epochs, but the loss (nnU-Net's, soft Dice and cross-entropy) on
the architecture's data: training cases of other patients than those that train the weights. All arms of a seed see the
same batches of it in the same order. It is noisy, so it is averaged over the last ``--window`` epochs that have one::

    value(t)  = mean of the losses of the last `window` epochs up to t
    final     = value at the scratch search's last epoch, of the same seed
    epochs to = 1 + the first epoch t, warm-up counted, with value(t) <= final

The ratio is the scratch search's ``epochs to`` (it too may reach its final value before its end) over the arm's; ``-``
where the arm never gets there. With ``transfer.host=true``, the default, the arm's host starts from the source's too,
so that the ratio is that of host and cells together; ``--transfer transfer.host=false`` compares searches on equal
hosts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_environment import bench_environment

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.training_processes import Training, run_trainings

SCRATCH = "scratch"
BUDGET = (
    "host.epochs=15 host.iterations=20 search.epochs=200 search.warmup_epochs=5 search.iterations=6 "
    "training.epochs=1 training.iterations=1 training.validation_iterations=1"
).split()


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        dataset: full name.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        plans: that all plans are derived from.
        zoo: of the sources.
        sources: ``transfer.source`` of each arm.
        seeds: ``search.seed``.
        budget: settings of all arms, later ones win.
        transfer: settings of the warm-started arms.
        batch_size: replaces the planned one.
        patch_size: replaces the planned one.
        tag: part of the plans' names, one for each budget.
    """

    dataset: str
    configuration: str
    fold: int
    plans: str
    zoo: str
    sources: Sequence[str]
    seeds: Sequence[int]
    budget: Sequence[str]
    transfer: Sequence[str]
    batch_size: int | None
    patch_size: Sequence[int] | None
    tag: str

    @property
    def arms(self) -> list[str]:
        """Names of the arms, the scratch search first."""
        return [SCRATCH, *self.sources]

    def plans_name(self, arm: str, seed: int) -> str:
        """Return the name of an arm's plans."""
        return f"{self.plans}_{self.tag}_{arm}_seed{seed}"

    def settings(self, arm: str, seed: int) -> list[str]:
        """Return an arm's settings."""
        of_all = [*self.budget, f"search.seed={seed}"]
        warm = [f"transfer.zoo={self.zoo}", f'transfer.source="{arm}"', *self.transfer]
        return of_all if arm == SCRATCH else [*of_all, *warm]

    def write_plans(self, arm: str, seed: int) -> None:
        """Derive an arm's plans, unless they are there already.

        Raises:
            SystemExit: if settings are refused, or there are plans of that name with others.
        """
        from nnunet_iac.nnunet.study_plans import ensure_derived

        name, settings = self.plans_name(arm, seed), self.settings(arm, seed)
        try:
            ensure_derived(
                self.dataset,
                self.plans,
                name,
                self.configuration,
                settings,
                batch_size=self.batch_size,
                patch_size=self.patch_size,
            )
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(str(error)) from error

    def training(self, arm: str, seed: int, results: Path, device: str) -> Training:
        """Return an arm's process."""
        plans, trainer = self.plans_name(arm, seed), f"nnUNetTrainerIAC{'' if arm == SCRATCH else 'Transfer'}"
        folder = results / self.dataset / f"{trainer}__{plans}__{self.configuration}" / f"fold_{self.fold}"
        what = ("nnUNetv2_train", str(int(self.dataset[7:10])), self.configuration, str(self.fold))
        return Training(f"{arm}, seed {seed}", [*what, "-tr", trainer, "-p", plans, "--c", "-device", device], folder)


@dataclass(frozen=True)
class Search:
    """What a search did.

    Attributes:
        losses: on the architecture's data, one for each epoch; NaN in the warm-up.
        seconds: wall-clock.
        decided: edges.
        edges: of how many.
    """

    losses: Sequence[float]
    seconds: float
    decided: int
    edges: int


def smoothed(losses: Sequence[float], window: int) -> np.ndarray:
    """Return for each epoch the mean of the last ``window`` losses there were up to it; NaN before the first.

    Example:
        >>> smoothed([float("nan"), 4.0, 2.0, 0.0], window=2).tolist()
        [nan, 4.0, 3.0, 1.0]
    """
    values = np.asarray(losses, dtype=float)
    return np.array([_mean(values[: t + 1], window) for t in range(len(values))])


def epochs_to(losses: Sequence[float], final: float, window: int) -> int | None:
    """Return how many epochs a search needed to get down to ``final``, warm-up counted; None if it never did.

    Example:
        >>> epochs_to([float("nan"), 4.0, 2.0, 0.0], 3.0, window=2), epochs_to([4.0], 3.0, window=2)
        (3, None)
    """
    reached = np.flatnonzero(smoothed(losses, window) <= final)
    return int(reached[0]) + 1 if len(reached) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is 1 if an arm failed."""
    from nnunet_iac.nnunet.hosts import results_folder

    args = _parse(argv)
    study, results = _study(args), results_folder()
    for seed in study.seeds:
        for arm in study.arms:
            study.write_plans(arm, seed)
    runs = {(arm, seed): study.training(arm, seed, results, args.device) for arm in study.arms for seed in study.seeds}
    todo = [run for run in runs.values() if not run.is_done]
    if run_trainings(todo, gpus=[None] * args.jobs, environment=bench_environment(args.threads)):
        return 1
    rows = _rows(study, {key: _read(run.folder) for key, run in runs.items()}, args.window)
    print("\n" + _markdown(rows, study, args.window))
    if args.json:
        record = {"study": asdict(study), "window": args.window, "device": args.device, "threads": args.threads}
        write_json(Path(args.json), {**record, "jobs": args.jobs, "rows": rows})
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", default="4")
    parser.add_argument("-c", dest="configuration", default="2d")
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--zoo", required=True, metavar="DIR", help="folder or URL")
    parser.add_argument("--sources", nargs="+", default=["nearest"], metavar="ID", help="entries' ids, or nearest")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help=f"over {' '.join(BUDGET)}")
    parser.add_argument("--transfer", nargs="+", default=[], metavar="KEY=VALUE", help="such as transfer.host=false")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--patch-size", type=int, nargs="+")
    parser.add_argument("--tag", default="transfer", help="part of the plans' names; one for each budget")
    parser.add_argument("--window", type=int, default=3, help="epochs that a loss is averaged over")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args(argv)
    if args.window < 1:
        parser.error(f"--window: expected at least 1, got {args.window}")
    return args


def _study(args: argparse.Namespace) -> Study:
    from nnunet_iac.nnunet.plans import preprocessed_folder

    return Study(
        dataset=preprocessed_folder(args.dataset).name,
        configuration=args.configuration,
        fold=args.fold,
        plans=args.plans,
        zoo=args.zoo if "://" in args.zoo else str(Path(args.zoo).resolve()),
        sources=args.sources,
        seeds=args.seeds,
        budget=[*BUDGET, *args.budget],
        transfer=args.transfer,
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        tag=args.tag,
    )


def _read(folder: Path) -> Search:
    from nnunet_iac.reports.result import FILE_NAME, read_result
    from nnunet_iac.reports.trace import FILE_NAME as TRACE
    from nnunet_iac.reports.trace import read_trace

    trace, result = read_trace(folder / TRACE), read_result(folder / FILE_NAME)
    losses = [] if trace is None else trace.arch_loss.tolist()
    return Search(losses, result.seconds, result.decided_edges, result.edges)


def _rows(study: Study, searches: Mapping[tuple[str, int], Search], window: int) -> list[dict[str, Any]]:
    """Return one record for each arm and seed."""
    rows = []
    for seed in study.seeds:
        scratch = searches[SCRATCH, seed]
        final = float(smoothed(scratch.losses, window)[-1])
        own = epochs_to(scratch.losses, final, window)
        for arm in study.arms:
            found = searches[arm, seed]
            values, needed = smoothed(found.losses, window), epochs_to(found.losses, final, window)
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "epochs": len(found.losses),
                    "decided_edges": found.decided,
                    "edges": found.edges,
                    "seconds": found.seconds,
                    "first_loss": float(values[np.isfinite(values)][0]),
                    "final_loss": float(values[-1]),
                    "epochs_to_scratch": needed,
                    "ratio": own / needed if own and needed else None,
                }
            )
    return rows


def _markdown(rows: Sequence[Mapping[str, Any]], study: Study, window: int) -> str:
    lines = [
        f"{study.dataset} {study.configuration}, fold {study.fold}. Loss on the architecture's data (training cases), "
        f"mean of {window} epochs; no Dice.\n",
        "| arm | seed | epochs (decided) | seconds | loss at first | loss at last | epochs to scratch's last | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        needed, ratio = row["epochs_to_scratch"], row["ratio"]
        lines.append(
            f"| {row['arm']} | {row['seed']} | {row['epochs']} ({row['decided_edges']}/{row['edges']}) | "
            f"{row['seconds']:.0f} | {row['first_loss']:.4f} | {row['final_loss']:.4f} | "
            f"{'-' if needed is None else needed} | {'-' if ratio is None else f'{ratio:.1f}'} |"
        )
    for arm in study.sources:
        ratios = [row["ratio"] for row in rows if row["arm"] == arm]
        reached = [ratio for ratio in ratios if ratio is not None]
        words = f"{np.median(reached):.1f} times fewer epochs (median)" if reached else "never as good"
        lines.append(f"\n{arm}: in {len(reached)} of {len(ratios)} seeds as good as scratch's end, {words}.")
    return "\n".join(lines)


def _mean(losses: np.ndarray, window: int) -> float:
    known = losses[np.isfinite(losses)][-window:]
    return float(known.mean()) if len(known) else float("nan")


if __name__ == "__main__":
    sys.exit(main())
