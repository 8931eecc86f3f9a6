"""What the meta-space does in worlds whose law is known: the figures in the docstrings of ``nnunet_iac.metaspace``.

    python scripts/measure_planted_worlds.py

First the orders of a held-out data set's own candidates, as ``nnunet-iac zoo fit`` compares them, where each data set
wants a certain width of network and its images show which. Then, in a world of two clusters, whether what a retrieval
offers comes from a relative of the target, for some weights of ``remoteness``. Both worlds are those of the tests
(``tests/metaspace``); eight data sets, all held out in turn, defaults of the fit but for its seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "metaspace"))

from clustered_world import cluster, clustered_tasks
from planted_world import planted_tasks

from nnunet_iac.markdown import table_text
from nnunet_iac.metaspace.evaluation import evaluate
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.order_scores import RankingScores
from nnunet_iac.metaspace.ranking import rank
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace

DATA_SETS, SHOWN = 8, 10


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 0.5, 1, 2, 4], help="of remoteness")
    args = parser.parse_args(argv)
    scores: dict[str, list[RankingScores]] = {}
    for seed in args.seeds:
        for outcome in evaluate(planted_tasks(DATA_SETS, seed), FitSettings(seed=seed)).outcomes:
            scores.setdefault(outcome.method, []).append(outcome.scores)
    rows = []
    for method, found in scores.items():
        regrets = (mean(one.regret[count] for one in found) for count in (1, 5, 10))
        spearman = mean(one.spearman or 0.0 for one in found)
        rows.append([method, *(f"{value:.3f}" for value in (spearman, *regrets))])
    print(table_text(["order by", "Spearman", "regret T1", "T5", "T10"], rows))
    relatives = zip(args.weights, *_relatives(args.seeds, args.weights), strict=True)
    head = ["weight of remoteness", "T1 of a relative", f"share of relatives in T{SHOWN}"]
    print(
        "\n" + table_text(head, [[f"{weight:g}", f"{first:.2f}", f"{share:.2f}"] for weight, first, share in relatives])
    )
    return 0


def _relatives(seeds: Sequence[int], weights: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return for each weight how often the first, and which share of the first ten, comes from the target's cluster."""
    seen: dict[float, list[list[bool]]] = {weight: [] for weight in weights}
    for seed in seeds:
        tasks = clustered_tasks(DATA_SETS, seed)
        for target in tasks:
            others = [task for task in tasks if task is not target]
            space = fit(others, FitSettings(seed=seed))
            for weight in weights:
                weighted = MetaSpace(**{**vars(space), "settings": replace(space.settings, remoteness=weight)})
                offered = rank(weighted, others, target.sample)[:SHOWN]
                seen[weight].append([cluster(one.task) == cluster(target) for one in offered])
    return [mean(one[0] for one in kin) for kin in seen.values()], [mean(map(mean, kin)) for kin in seen.values()]


if __name__ == "__main__":
    sys.exit(main())
