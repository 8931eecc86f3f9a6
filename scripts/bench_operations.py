"""Which operations do searches choose, seed by seed? Searches only, all of them in one trained host.

    python scripts/bench_operations.py -d 501 -c 2d --host-plans nnUNetPlans_clean_seed0 --seeds 0 1 2 3 \\
        --variant short search.epochs=10 --variant warm search.epochs=10 search.warmup_epochs=5 --json operations.json

Needs nnU-Net's three folders and a host trained from ``--host-plans`` (``nnUNetTrainerIACHost`` or the stock trainer).
Every ``--variant NAME KEY=VALUE …`` is an ``nnUNetv2_train -tr nnUNetTrainerIACSearch`` for each seed of the search:
batches, weights of the cells and the alphas' noise are drawn anew, the host stays. What is finished is not repeated.

The question is whether a search leans to operations without weights (pooling and the skip) more than chance does.
Chance is a uniform draw from the candidates for each edge: its mean is printed, and the p-value of the mean over seeds
(one-sample t-test: the scatter is that of the searches, whose edges need not choose independently). The last figure
asks just that: the variance of the number over seeds, divided by what independent edges would have (1 if they choose
independently, more if alike; of few searches, so a rough one).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_arguments import add_run_arguments
from bench_environment import bench_environment
from scipy.stats import ttest_1samp
from transfer_study import SearchOnly

from nnunet_iac.atomic import write_json
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.markdown import table_text
from nnunet_iac.nnunet.files.hosts import find_host, host_candidates, results_folder
from nnunet_iac.nnunet.files.plans import preprocessed_folder
from nnunet_iac.nnunet.studies.study_plans import ensure_derived
from nnunet_iac.nnunet.studies.training_processes import run_trainings
from nnunet_iac.reports.paired_texts import p_text
from nnunet_iac.reports.result import FILE_NAME, read_result

TRAINER = "nnUNetTrainerIACSearch"
FREE = frozenset({"skip_connect", "avg_pool_3x3", "max_pool_3x3"})
"""Operations without weights."""

CHANCE = len(FREE) / (len(OPERATIONS) - 1)
"""Their share among the candidates; ``none`` is never in found cells."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the searches that are not done, print the table; the status is 1 if one failed."""
    args = _parse(argv)
    if args.read:
        print(markdown(json.loads(Path(args.read).read_text(encoding="utf-8"))))
        return 0
    dataset = preprocessed_folder(args.dataset).name
    # Without one each search would train its own.
    find_host(host_candidates(results_folder(), dataset, [args.host_plans], args.configuration, args.fold))
    runs = {(name, seed): _search(args, dataset, name, seed) for name in args.variants for seed in args.seeds}
    environment = bench_environment(args.threads)
    if run_trainings(list(runs.values()), gpus=[None] * args.jobs, environment=environment):
        return 1
    found = [
        {"variant": name, "settings": words, "searches": [_found(runs[name, seed].folder) for seed in args.seeds]}
        for name, words in args.variants.items()
    ]
    record = {"dataset": dataset, "configuration": args.configuration, "fold": args.fold, "host": args.host_plans}
    record |= {"seeds": args.seeds, "variants": found}
    if args.json:
        write_json(Path(args.json), record)
    print("\n" + markdown(record))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", help="id or name")
    parser.add_argument("-c", dest="configuration", default="2d", help="nnU-Net's (default: %(default)s)")
    parser.add_argument("-f", dest="fold", type=int, default=0, help="nnU-Net's (default: %(default)s)")
    parser.add_argument("--host-plans", help="that the host was trained from; its sizes and settings hold")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="of the searches")
    parser.add_argument("--variant", action="append", nargs="+", metavar=("NAME", "KEY=VALUE"), default=[])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--read", metavar="FILE", help="only print the table of this record")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    if args.read:
        return args
    if not (args.dataset and args.host_plans and args.variant):
        parser.error("-d, --host-plans, --variant: expected all three, or --read FILE")
    if len(set(args.seeds)) < 2:
        parser.error(f"--seeds: expected at least 2, to know how searches scatter, got {args.seeds}")
    args.variants = {name: words for name, *words in args.variant}
    if len(args.variants) < len(args.variant) or not all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in args.variants):
        parser.error(f"--variant: expected different names of letters and digits, got {[v[0] for v in args.variant]}")
    return args


def _search(args: argparse.Namespace, dataset: str, name: str, seed: int) -> SearchOnly:
    """Write the plans of a search that are not there yet; return the search."""
    plans = f"{args.host_plans}_operations_{name}_fold{args.fold}_seed{seed}"
    settings = [*args.variants[name], f"search.seed={seed}"]
    ensure_derived(args.dataset, args.host_plans, plans, args.configuration, settings)
    folder = results_folder() / dataset / f"{TRAINER}__{plans}__{args.configuration}" / f"fold_{args.fold}"
    what = [
        "nnUNetv2_train",
        str(dataset_number(dataset)),
        args.configuration,
        str(args.fold),
        "-tr",
        TRAINER,
        "-p",
        plans,
    ]
    return SearchOnly(f"{name}, seed {seed}", [*what, "--c", "-device", args.device], folder)


def _found(folder: Path) -> dict[str, Any]:
    result = read_result(folder / FILE_NAME)
    cells = () if result.genotype is None else result.genotype.cells
    counts = Counter(operation for cell in cells for node in cell for operation, _ in node)
    cost = {key: getattr(result, key) for key in ("seconds", "epochs", "decided_edges", "edges")}
    return {**cost, "operations": dict(counts)}


def lean(free: Sequence[int], edges: int) -> tuple[float, float]:
    """Return the p-value of the mean against chance (two-sided t-test), and how alike edges of a search choose.

    Searches that all have the same number do not scatter; p is then 0, or 1 if that number is the one of chance.

    Args:
        free: edges without weights, of each of at least two searches.
        edges: of the cells of a search.

    Example:
        >>> [round(one, 3) for one in lean([8, 8, 0, 0], 8)]
        [0.821, 10.889]
        >>> [round(one, 3) for one in lean([6, 7, 6, 7], 8)]
        [0.002, 0.17]
    """
    chance, variance = edges * CHANCE, statistics.variance(free)
    if variance == 0:
        return (1.0 if free[0] == chance else 0.0), 0.0
    return float(ttest_1samp(free, chance).pvalue), variance / (chance * (1 - CHANCE))


def markdown(record: Mapping[str, Any]) -> str:
    """Return the table."""
    head = ["search", "edges without weights by seed", "mean", "by chance", "p", "variance, 1: independent edges"]
    rows = []
    for row in record["variants"]:
        searches = row["searches"]
        free = [sum(n for name, n in one["operations"].items() if name in FREE) for one in searches]
        edges = sum(searches[0]["operations"].values())
        p_value, alike = lean(free, edges)
        cells = [row["variant"], f"{', '.join(map(str, free))} of {edges}", f"{statistics.mean(free):.1f}"]
        cells += [f"{edges * CHANCE:.1f}", p_text(p_value), f"{alike:.1f}"]
        cells += [f"{', '.join(str(one['decided_edges']) for one in searches)} of {searches[0]['edges']}"]
        rows.append([*cells, ", ".join(format(one["seconds"], ".0f") for one in searches)])
    return table_text([*head, "edges decided", "seconds"], rows)


if __name__ == "__main__":
    sys.exit(main())
