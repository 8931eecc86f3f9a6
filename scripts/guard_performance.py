"""Does performance rot? Small forms of the benchmarks, judged by ratios of what was measured side by side.

    python scripts/guard_performance.py
    python scripts/guard_performance.py --only "search step" retrieval --json guard.json

Each line is a ratio of two medians (or two memories) of one run, counted in this process's own time, so that a busy
machine and a slow one say the same. Limits are wide: they catch what is lost, not what is noise. One thread, one CPU
core, half a minute of its time. Status 1 if a ratio is beyond its limit.
"""

# Lambdas that do several things, or that hold a loop's value.
# mypy: disable-error-code="misc"
from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_distance
import bench_retrieval
import bench_step
import numpy as np
import torch
from bench_step import Case
from threadpoolctl import threadpool_limits

from nnunet_iac.markdown import table_text

CPU = torch.device("cpu")
SMALL = Case("guard", (32, 32), (16, 32, 64), 2, 2)
"""A search step of a tenth of a second; at this size the speed-up is smaller than on real plans."""


@dataclass(frozen=True)
class Limit:
    """What a ratio may be.

    Attributes:
        what: is compared with what.
        least: smallest that passes; minus infinity for any.
        most: largest that passes; infinity for any.
    """

    what: str
    least: float = -math.inf
    most: float = math.inf

    def holds(self, ratio: float) -> bool:
        """Return whether a ratio passes; one that is not a number does not.

        Example:
            >>> limit = Limit("memory", most=0.8)
            >>> limit.holds(0.8), limit.holds(0.81), limit.holds(float("nan"))
            (True, False, False)
        """
        return self.least <= ratio <= self.most

    def __str__(self) -> str:
        return f"at least {self.least:g}" if math.isinf(self.most) else f"at most {self.most:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    ratio: float
    limit: str
    ok: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, return 1 if a ratio is beyond its limit."""
    args = _arguments(argv)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row for name in args.only for row in judged(GUARDS[name](args.repeats))]
    print(table(rows))
    if args.json:
        record = {"repeats": args.repeats, "torch": torch.__version__, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.ok for row in rows) else 1


def judged(measured: dict[str, float]) -> list[Row]:
    """Return the lines of what was measured.

    Raises:
        ValueError: if something was measured that has no limit.
    """
    known = {limit.what: limit for limit in LIMITS}
    if unknown := sorted(set(measured) - set(known)):
        raise ValueError(f"measured: expected names from {list(known)}, got {unknown}; give them a limit")
    return [Row(what, ratio, str(known[what]), known[what].holds(ratio)) for what, ratio in measured.items()]


def table(rows: Sequence[Row]) -> str:
    """Return the lines as a table."""
    body = [[row.what, f"{row.ratio:.2f}", row.limit, "yes" if row.ok else "NO"] for row in rows]
    return table_text(["what", "ratio", "limit", "ok"], body)


def search_step(repeats: int) -> dict[str, float]:
    """A step of our mixed cells against the published ones, and what pruning to a quarter saves."""
    pruned = bench_step._side(replace(SMALL, active=0.25), CPU)["ours"]
    args = argparse.Namespace(clock="cpu", repeats=repeats)
    seconds = bench_step._medians({**bench_step._side(SMALL, CPU), "pruned": pruned}, args)
    return {STEP: seconds["published"] / seconds["ours"], PRUNED: seconds["pruned"] / seconds["ours"]}


def step_memory(_: int) -> dict[str, float]:
    """Peak memory of a step, each side in a process of its own; it hardly scatters, so once is enough."""
    case = bench_step._case(MEMORY_CASE)
    found = {side: bench_step._memory(case, side, CPU, 1) for side in bench_step.SIDES}
    return {MEMORY: found["ours"] / found["published"]}


def retrieval(repeats: int) -> dict[str, float]:
    """Top 10 of 100,000 embeddings against reading them."""
    words = ["--sizes", "100000", "--clock", "cpu", "--repeats", str(3 * repeats), "--threads", "1"]
    args = bench_retrieval._arguments(words)
    return {RETRIEVAL: bench_retrieval._row(args.sizes[0], args)["ratios"]["ours"]}


def dataset_distance(repeats: int) -> dict[str, float]:
    """Our distance of two data sets against the OTDD written with POT alone."""
    args = bench_distance._arguments(["--clock", "cpu", "--threads", "1"])
    rng = np.random.default_rng(0)
    sides = [bench_distance._mixture(rng, 200, 128, 4) for _ in range(2)]
    methods = bench_distance._methods(bench_distance.PLAIN, "label-gaussians")
    seconds = {
        name: bench_distance._timed(lambda m=m: m(*sides), args, min(repeats, 3))[1] for name, m in methods.items()
    }
    return {DISTANCE: seconds[bench_distance.PLAIN] / seconds["label-gaussians"]}


STEP = "search step: published / ours, time"
PRUNED = "search step: a quarter of the operations / all, time"
MEMORY = "search step: ours / published, memory"
RETRIEVAL = "retrieval: top 10 of 100,000 / reading them, time"
DISTANCE = "data set distance: plain OTDD / ours, time"
MEMORY_CASE = "size 64"

# Measured on 2026-11-22 and 23, one thread of a four-thread machine under a load of 8 to 16, torch 2.15.
LIMITS = (
    Limit(STEP, least=1.3),  # 1.80
    Limit(PRUNED, most=0.9),  # 0.68, 0.72, 0.74
    Limit(MEMORY, most=0.65),  # 0.52
    Limit(RETRIEVAL, most=4.0),  # 1.47, 1.38
    Limit(DISTANCE, least=30.0),  # 124
)

GUARDS: dict[str, Callable[[int], dict[str, float]]] = {
    "search step": search_step,
    "memory": step_memory,
    "retrieval": retrieval,
    "distance": dataset_distance,
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GUARDS, default=list(GUARDS))
    parser.add_argument("--repeats", type=int, default=5, help="of what is timed (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
