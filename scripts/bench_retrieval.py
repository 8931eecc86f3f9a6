"""Top k of very many embeddings: time against reading them once, growth with their number.

    python scripts/bench_retrieval.py --threads 1 --json retrieval.json
    python scripts/bench_retrieval.py --sizes 720000 --repeats 31 --clock cpu

Unit vectors in 128 dimensions, as the meta-space has them. In each round, by turns: reading (the sum over the array;
both numpy's and torch's are timed and the faster one counts), our search, what ``nnunet-iac retrieve`` does with
candidates that are embedded (it makes the index, searches it once and makes the candidates that it found), and for
comparison a product by BLAS with ``numpy.argpartition``, and torch's product with ``topk``. Times are medians over the
rounds, ratios are ratios of medians. On a machine that others use, ``--clock cpu`` counts the time of this process
only; with one thread that is the wall-clock of an idle machine. Our search runs on one thread whatever ``--threads``
says; reading does not.

Goal: top 10 of 720,000 within 2 times the time of reading.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from nnunet_iac.markdown import table_text
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.ranking import Ranking
from nnunet_iac.metaspace.retrieval import RetrievalIndex
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Candidates, DatasetSample, Task
from nnunet_iac.metaspace.topology import TOPOLOGY
from nnunet_iac.zoo.configuration import SubnetConfiguration

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIZES = (1_000, 10_000, 100_000, 720_000, 1_000_000)
READING = ("numpy sum", "torch sum")
RETRIEVE = "as retrieve does"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    versions = {"numpy": np.__version__, "torch": torch.__version__}
    about = {"threads": args.threads, "clock": args.clock, "repeats": args.repeats, "top": args.top, **versions}
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    with threadpool_limits(args.threads):
        rows = [_row(size, args) for size in args.sizes]
    print(_table(rows))
    if args.json:
        args.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of embeddings")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that others use as well")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(argv)


def _row(size: int, args: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((size, args.dimensions), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    query, k = embeddings[size // 2] + rng.standard_normal(args.dimensions, dtype=np.float32) / 10, min(args.top, size)
    index, tensor, vector = RetrievalIndex(embeddings), torch.from_numpy(embeddings), torch.from_numpy(query)
    space, task = _meta_space(args.dimensions), _task(size)
    truth = np.lexsort((np.arange(size), -(embeddings.astype(np.float64) @ query.astype(np.float64))))[:k]
    if index.top(query, k).places.tolist() != truth.tolist():
        raise ValueError(f"top {k} of {size}: expected the answer of brute force, got another")
    if [one.index for one in Ranking(space, [task], [embeddings], query)[:k]] != truth.tolist():
        raise ValueError(f"retrieve's first {k} of {size}: expected the answer of brute force, got another")
    seconds = _medians(
        {
            "numpy sum": lambda: embeddings.sum(),
            "torch sum": lambda: tensor.sum(),
            "ours": lambda: index.top(query, k),
            RETRIEVE: lambda: Ranking(space, [task], [embeddings], query)[:k],
            "BLAS, argpartition": lambda: np.argpartition(embeddings @ query, size - k)[size - k :],
            "torch, topk": lambda: torch.topk(tensor @ vector, k),
        },
        args,
    )
    reading = min(seconds[name] for name in READING)
    ratios = {name: value / reading for name, value in seconds.items() if name not in READING}
    return {"embeddings": size, "megabytes": embeddings.nbytes / 1e6, "seconds": seconds, "ratios": ratios}


def _task(size: int) -> Task:
    """A task of so many candidates; what they are does not matter to the search."""
    one, rows = SubnetConfiguration((1, 1), (1,), (1.0, 1.0)), np.zeros((size, 1))
    models = Candidates(np.zeros((size, TOPOLOGY)), rows, np.linspace(0, 1, size), np.ones(size), (one,) * size)
    return Task("all", DatasetSample("all", np.eye(2), "random"), models)


@cache
def _meta_space(dimensions: int) -> MetaSpace:
    """A meta-space whose predictor has seen nothing: it is asked for the found candidates only."""
    tasks = [replace(_task(4), name=name, sample=DatasetSample(name, np.eye(2), "random")) for name in "ab"]
    return fit(tasks, FitSettings(steps=1, size=dimensions))


def _medians(steps: dict[str, Callable[[], Any]], args: argparse.Namespace) -> dict[str, float]:
    """Run the steps by turns and return the median seconds of each; the first round warms up.

    What takes microseconds runs many times in a row, so that a clock can see it.
    """
    clock = CLOCKS[args.clock]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    times = dict.fromkeys(steps, 1)
    for repeat in range(args.repeats + 1):
        for name, step in steps.items():
            started = clock()
            for _ in range(times[name]):
                step()
            took = (clock() - started) / times[name]
            if repeat:
                seconds[name].append(took)
            else:
                times[name] = max(1, min(1000, int(5e-3 / max(took, 1e-9))))
    return {name: median(values) for name, values in seconds.items()}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(rows[0]["ratios"])
    head = ["embeddings", "MB", "reading, ms", "ours, ms", f"{RETRIEVE}, ms", *(f"{name} / reading" for name in names)]
    body = []
    for row in rows:
        reading = min(row["seconds"][name] for name in READING)
        cells = [f"{row['embeddings']:,}", f"{row['megabytes']:.1f}", f"{1e3 * reading:.3f}"]
        cells += [f"{1e3 * row['seconds'][name]:.3f}" for name in ("ours", RETRIEVE)]
        cells += [*(f"{row['ratios'][name]:.2f}" for name in names)]
        body.append(cells)
    return table_text(head, body)


if __name__ == "__main__":
    sys.exit(main())
