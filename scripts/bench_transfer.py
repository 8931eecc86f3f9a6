"""Warm-started search against a search from scratch: epochs until it is as good as the scratch search's end.

    python scripts/bench_transfer.py -d 4 -c 2d --zoo ZOO --sources nearest nearest:host --seeds 0 1 2 --json FILE

Needs nnU-Net's three folders, a planned and preprocessed data set, and a zoo with search supernets (``nnunet-iac zoo
add --searches FOLDER``; for ``nearest`` features of their data sets too). Every arm is one ``nnUNetv2_train`` on plans
that this script derives, which ends with the search. Arms that are finished are not repeated, an interrupted one goes
on where it was.

- ``scratch`` is host and search of ``nnUNetTrainerIAC``.
- a source (``nearest``, ``multi``, an entry's id, any number of them) is ``nnUNetTrainerIACTransfer``: host, cells and
  logits start from it. ``--transfer transfer.host=false`` leaves the host out.
- ``<source>:host`` is the same trainer with the source's host alone; cells and logits are the scratch search's. What a
  source does better than its ``:host`` is what its cells and logits bring.

``--budget search.host=joint host.epochs=1 host.iterations=1`` trains host and cells together from the first epoch, as
supernets are trained: after one step of nnU-Net that moves it hardly, the host is the source's, or a fresh one. By
default the host is trained first, from the source's or a fresh one, and then frozen.

What is measured. After each epoch nnU-Net's pseudo Dice of the network as the search has it, on
``search.validation_iterations`` batches of the fold's validation cases, which the search never sees: the same batches
after every epoch and in all arms of a seed. It is averaged over the last ``--window`` epochs (fewer at first)::

    value(t)  = mean of the Dice of the last `window` epochs up to t
    final     = value at the scratch search's last epoch, of the same seed
    epochs to = 1 + the first epoch t, warm-up counted, with value(t) >= final

Two ratios, both over the arm's ``epochs to``: the scratch search's own ``epochs to`` (it too may reach its final value
before its end), and all epochs that the scratch search ran. ``-`` where the arm never gets there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from bench_arguments import add_data_arguments, add_run_arguments
from bench_environment import bench_environment
from transfer_study import BUDGET, TRAINERS, Study
from transfer_table import Search, curves_of, draw, markdown, rows_of

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.studies.training_processes import run_trainings


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is 1 if an arm failed."""
    from nnunet_iac.nnunet.files.hosts import results_folder

    args = _parse(argv)
    study, results = _study(args), results_folder()
    for seed in study.seeds:
        for arm in study.arms:
            study.write_plans(arm, seed)
    runs = {(arm, seed): study.training(arm, seed, results, args.device) for seed in study.seeds for arm in study.arms}
    todo = [run for run in runs.values() if not run.is_done]
    if run_trainings(todo, gpus=[None] * args.jobs, environment=bench_environment(args.threads, TRAINERS)):
        return 1
    rows = rows_of(study, {key: _read(run.folder) for key, run in runs.items()}, args.window)
    print("\n" + markdown(rows, study, args.window))
    if args.json:
        record = {"study": asdict(study), "window": args.window, "device": args.device, "threads": args.threads}
        write_json(Path(args.json), {**record, "jobs": args.jobs, "rows": rows})
    if args.png:
        draw(curves_of(rows), study, Path(args.png))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--zoo", required=True, metavar="DIR", help="folder or URL")
    sources = "entries' ids, nearest or multi; each also with :host for its host alone"
    parser.add_argument("--sources", nargs="+", default=["nearest", "nearest:host"], metavar="SOURCE", help=sources)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help=f"over {' '.join(BUDGET)}")
    parser.add_argument("--transfer", nargs="+", default=[], metavar="KEY=VALUE", help="such as transfer.host=false")
    parser.add_argument("--tag", default="transfer", help="part of the plans' names; one for each budget")
    parser.add_argument("--window", type=int, default=3, help="epochs that a Dice is averaged over")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--png", metavar="FILE", help="draw Dice over epochs into this file")
    args = parser.parse_args(argv)
    if args.window < 1:
        parser.error(f"--window: expected at least 1, got {args.window}")
    if len(set(args.sources)) < len(args.sources):
        parser.error(f"--sources: expected each once, got {args.sources}")
    return args


def _study(args: argparse.Namespace) -> Study:
    from nnunet_iac.nnunet.files.plans import preprocessed_folder

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
    """Return what a finished search did.

    Raises:
        SystemExit: if its epochs have no Dice.
    """
    from nnunet_iac.reports.result import FILE_NAME, read_result
    from nnunet_iac.reports.trace import FILE_NAME as TRACE
    from nnunet_iac.reports.trace import read_trace

    trace, result = read_trace(folder / TRACE), read_result(folder / FILE_NAME)
    if trace is None or not np.isfinite(trace.dice).any():
        raise SystemExit(
            f"{folder / TRACE}: expected the Dice of its epochs, found none; search with "
            "search.validation_iterations above 0, under another --tag"
        )
    return Search(trace.dice.tolist(), result.seconds, result.decided_edges, result.edges)


if __name__ == "__main__":
    sys.exit(main())
