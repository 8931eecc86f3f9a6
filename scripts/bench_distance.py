"""Distances of data sets: time and rank agreement against a plain OTDD on POT, growth with size, index of sources.

    python scripts/bench_distance.py --data ../shared/data --threads 1 --json distance.json
    python scripts/bench_distance.py --only pools --pools 10 100 1000 10000

The yardstick is what one writes with POT's documented functions and nothing else: covariances of labels, their
``bures_wasserstein_distance`` (with POT's own 1e-6 on the diagonal), the cost matrices, and three ``ot.solve`` with
entropy. Our methods get the same features in the same run; ``otdd-debiased`` has the same cost, strength of the entropy
and tolerance, so that its ratio says what comes from the Gram form and the kernel domain, and the rest is the method.
All times start from features; times of a method are sums over pairs. On a machine that others use, ``--clock cpu``
counts the time of this process only; with one thread that is the wall-clock of an idle machine.

- ``reference``: 1,000 x 512 features and 4 labels a side. Goal: ``label-gaussians`` at least 10 times faster.
- ``real``: all pairs of the real data sets (raw folders in ``--data``, slices with a label, embedded by the built-in
  encoder; or ``--features`` files as this script writes them to ``--save``), and of ``--parts`` parts of each
  (those against ``otdd-debiased``, which takes minutes, not hours). Goal: Spearman correlation of at least 0.95.
- ``growth``: seconds as samples, dimensions and labels grow.
- ``pools``: recall, time and memory of the index on synthetic sources of 1 to 6 labels in 64 dimensions. The truth is
  a comparison with every source up to ``--brute`` of them, and the proved answer beyond.
"""

# Lambdas that do several things, or that hold a loop's value.
# mypy: disable-error-code="func-returns-value,misc"
from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import ot
import torch
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from nnunet_iac.markdown import table_text
from nnunet_iac.similarity.distance import METHODS, distance
from nnunet_iac.similarity.encoder import RandomEncoder
from nnunet_iac.similarity.features import embed
from nnunet_iac.similarity.gaussians import Gaussian
from nnunet_iac.similarity.index import SourceIndex
from nnunet_iac.similarity.labelled_features import LabelledFeatures
from nnunet_iac.similarity.mixture import LabelGaussians, label_transport
from nnunet_iac.similarity.sketches import SketchSettings
from nnunet_iac.similarity.transport import TransportOptions

PLAIN = "plain POT"
SECTIONS = ("reference", "real", "growth", "pools")
SLICES = 300
"""About as many slices are embedded of each data set."""

Rows = list[dict[str, Any]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
Moments = tuple[np.ndarray, np.ndarray]
Methods = Mapping[str, Callable[[LabelledFeatures, LabelledFeatures], float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    versions = {"POT": ot.__version__, "numpy": np.__version__, "torch": torch.__version__}
    found: dict[str, Any] = {"threads": args.threads, "clock": args.clock, **versions}
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    with threadpool_limits(args.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "reference" in args.only:
            found["reference"] = _reference(args)
        if "real" in args.only:
            found["real"] = _real(args)
        if "growth" in args.only:
            found["growth"] = _growth(args)
        if "pools" in args.only:
            found["pools"] = [_pool(size, args) for size in args.pools]
            print(_table("Index", found["pools"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with raw data sets")
    parser.add_argument("--features", type=Path, nargs="+", help="feature files instead of raw data sets")
    parser.add_argument("--save", type=Path, help="write the features to this folder")
    parser.add_argument("--parts", type=int, default=3, help="parts of each data set for more pairs")
    parser.add_argument("--samples", type=int, default=1000, help="most samples of a side")
    parser.add_argument("--pools", type=int, nargs="+", default=[10, 100, 1000, 10000], help="numbers of sources")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--brute", type=int, default=1000, help="largest pool compared source by source")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that others use as well")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(argv)


def plain_otdd(source: LabelledFeatures, target: LabelledFeatures, options: TransportOptions) -> float:
    """Return the debiased OTDD, not squared, as written with POT alone."""
    between, *within = (_plain_cost(a, b) for a, b in ((source, target), (source, source), (target, target)))
    strength = options.regularisation * float(between.mean())

    def value(cost: np.ndarray) -> float:
        tolerance = options.tolerance / np.sqrt(cost.shape[1])
        return float(ot.solve(cost, reg=strength, reg_type="KL", max_iter=options.iterations, tol=tolerance).value)

    return float(np.sqrt(max(0.0, value(between) - sum(map(value, within)) / 2)))


def _plain_cost(source: LabelledFeatures, target: LabelledFeatures) -> np.ndarray:
    moments = []
    for side in (source, target):
        groups = [side.features[side.labels == label] for label in np.unique(side.labels)]
        noise = 1e-6 * np.eye(side.features.shape[1])
        moments.append([(g.mean(axis=0), np.cov(g.T, bias=True) + noise) for g in groups])
    labels = _plain_labels(*moments) ** 2
    places = [np.unique(side.labels, return_inverse=True)[1] for side in (source, target)]
    return (ot.dist(source.features, target.features) + labels[np.ix_(*places)]) / 2


def _plain_labels(source: list[Moments], target: list[Moments]) -> np.ndarray:
    """Return POT's distances of label Gaussians, one pair at a time.

    Its batched form takes minutes at 512 dimensions (a three-operand ``einsum``, O(d^4)). Between a side and itself
    each pair is computed once.
    """
    distances = np.zeros((len(source), len(target)))
    same = all(np.array_equal(a[0], b[0]) for a, b in zip(source, target, strict=False))
    for i, j in itertools.product(range(len(source)), range(len(target))):
        if same and j <= i:
            distances[i, j] = distances[j, i]
        else:
            (ms, cs), (mt, ct) = source[i], target[j]
            distances[i, j] = ot.gaussian.bures_wasserstein_distance(ms, mt, cs, ct)
    return distances


def _methods(*names: str) -> Methods:
    options = TransportOptions()

    def ours(name: Any) -> Callable[[LabelledFeatures, LabelledFeatures], float]:
        return lambda source, target: distance(source, target, method=name, options=options).value

    return {name: (lambda s, t: plain_otdd(s, t, options)) if name == PLAIN else ours(name) for name in names}


def _timed(run: Callable[[], Any], args: argparse.Namespace, repeats: int = 1) -> tuple[Any, float]:
    clock, seconds, value = CLOCKS[args.clock], [], None
    for _ in range(repeats):
        started = clock()
        value = run()
        seconds.append(clock() - started)
    return value, median(seconds)


def _mixture(rng: np.random.Generator, samples: int, dimensions: int, labels: int) -> LabelledFeatures:
    """Return samples of random Gaussians whose spectra fall off as those of image features do."""
    per_label = samples // labels
    scales = np.arange(1, dimensions + 1) ** -0.7
    features = [
        rng.standard_normal(dimensions) * scales
        + rng.standard_normal((per_label, dimensions)) * scales * rng.uniform(0.5, 2.0, dimensions)
        for _ in range(labels)
    ]
    return LabelledFeatures(np.concatenate(features), np.repeat(np.arange(labels), per_label))


def _compare(
    title: str, sides: Sequence[LabelledFeatures], methods: Methods, args: argparse.Namespace, repeats: int = 1
) -> Rows:
    """Run all methods on all pairs by turns; report seconds, ratios and Spearman against the yardstick."""
    values: dict[str, list[float]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for source, target in itertools.combinations(sides, 2):
        for name, method in methods.items():
            value, took = _timed(lambda m=method, s=source, t=target: m(s, t), args, repeats)
            values[name].append(value)
            seconds[name] += took
    yardstick = PLAIN if PLAIN in methods else "otdd-debiased"
    rows = [
        {
            "method": name,
            "pairs": len(values[name]),
            "seconds": seconds[name],
            "faster than plain POT": seconds[PLAIN] / seconds[name] if PLAIN in methods else None,
            "faster than otdd-debiased": seconds["otdd-debiased"] / seconds[name],
            "Spearman": float(spearmanr(values[yardstick], values[name]).statistic) if len(sides) > 2 else None,
            "values": values[name],
        }
        for name in methods
    ]
    print(_table(f"{title} (Spearman against {yardstick})", rows), flush=True)
    return rows


def _reference(args: argparse.Namespace) -> Rows:
    rng = np.random.default_rng(0)
    sides = [_mixture(rng, 1000, 512, 4) for _ in range(2)]
    return _compare("1,000 x 512 features, 4 labels a side", sides, _methods(PLAIN, *METHODS), args, args.repeats)


def _real(args: argparse.Namespace) -> dict[str, Rows]:
    sides = dict(_read_features(args.features) if args.features else _embedded(args.data))
    if len(sides) < 3:
        print(f"real: skipped, {len(sides)} data sets in {args.features or args.data}; three or more are needed")
        return {}
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        for name, side in sides.items():
            np.savez(args.save / f"{name}.npz", features=side.features.astype(np.float32), labels=side.labels)
    rng = np.random.default_rng(0)
    whole = [_at_most(side, np.arange(len(side.labels)), args.samples, rng) for side in sides.values()]
    parts = [
        _at_most(side, part, args.samples // args.parts, rng)
        for side in sides.values()
        for part in np.array_split(np.arange(len(side.labels)), args.parts)
    ]
    print("data sets:", ", ".join(f"{name} {side.features.shape}" for name, side in sides.items()))
    return {
        "data sets": _compare("Real data sets", whole, _methods(PLAIN, *METHODS), args),
        "parts": _compare(f"{args.parts} parts of each", parts, _methods(*METHODS), args),
    }


def _at_most(side: LabelledFeatures, rows: np.ndarray, most: int, rng: np.random.Generator) -> LabelledFeatures:
    chosen = rng.permutation(rows)[:most]
    return LabelledFeatures(side.features[chosen], side.labels[chosen])


def _growth(args: argparse.Namespace) -> Rows:
    base = {"samples": 500, "dimensions": 128, "labels": 4}
    steps = {"samples": (500, 1000, 2000), "dimensions": (128, 512, 2048), "labels": (2, 4, 8, 16)}
    rng = np.random.default_rng(0)
    rows = []
    for what, sizes in steps.items():
        for size in sizes:
            case = {**base, what: size}
            sides = [_mixture(rng, **case) for _ in range(2)]
            took = {}
            for name, method in _methods("label-gaussians", "fid", "sliced", "otdd-debiased").items():
                _, took[name] = _timed(lambda m=method, s=sides: m(*s), args, args.repeats)
            rows.append({"grows": what, **case, **took, "ratio": took["otdd-debiased"] / took["label-gaussians"]})
    print(_table("Seconds of one pair (ratio: otdd-debiased / label-gaussians)", rows), flush=True)
    return rows


def _pool(size: int, args: argparse.Namespace) -> dict[str, Any]:
    make = _source_maker(seed=0)
    index = SourceIndex(SketchSettings(dimensions=64))
    sources = [make() for _ in range(size)]
    _, adding = _timed(lambda: [index.add(str(number), source) for number, source in enumerate(sources)], args)
    _ = index.table
    queries = [make() for _ in range(args.queries)]
    index.search(queries[0])
    found = [_timed(lambda q=query: index.search(q, top=10, most=30), args) for query in queries]
    proved = [_timed(lambda q=query: index.search(q, top=10), args) for query in queries]
    kept = [source.labels for source in index.sources]
    some = [_timed(lambda k=k: label_transport(k, queries[0]), args)[1] for k in kept[:50]]
    truth = [[match.key for match in answer.matches] for answer, _ in proved]
    if size <= args.brute:
        by_hand = [np.argsort([label_transport(k, q).distance for k in kept], kind="stable")[:10] for q in queries]
        agree = float(np.mean([[str(i) for i in row] == keys for row, keys in zip(by_hand, truth, strict=True)]))
    hits = [[m.key in keys for m in a.matches] for (a, _), keys in zip(found, truth, strict=True)]
    every = size * median(some)
    row = {
        "sources": size,
        "recall@1": float(np.mean([a.matches[0].key == keys[0] for (a, _), keys in zip(found, truth, strict=True)])),
        "recall@10": float(np.mean([np.mean(row) for row in hits])),
        "seconds": median(took for _, took in found),
        "faster than comparing all": every / median(took for _, took in found),
        "proved": float(np.mean([a.proved for a, _ in found])),
        "compared to prove": max(a.compared for a, _ in proved),
        "seconds to prove": median(took for _, took in proved),
        "proved = brute force": agree if size <= args.brute else None,
        "MB": index.nbytes / 1e6,
        "ms to add one": adding / size * 1e3,
    }
    print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return row


def _source_maker(seed: int) -> Callable[[], LabelGaussians]:
    """Return what draws sources: 8 latent factors move means, spectra and axes of labels together."""
    rng, d, latent = np.random.default_rng(seed), 64, 8
    means, spectra = rng.standard_normal((latent, d)) * 0.3, rng.standard_normal((latent, d)) * 0.3
    turns = rng.standard_normal((latent, d, d)) * 0.3 / np.sqrt(d)

    def make() -> LabelGaussians:
        count, centre = int(rng.integers(1, 7)), rng.standard_normal(latent)
        gaussians = []
        for _ in range(count):
            z = centre + 0.7 * rng.standard_normal(latent)
            scales = np.exp((z / 2) @ spectra) * np.arange(1, d + 1) ** -0.5
            turn = np.tensordot(rng.standard_normal(latent), turns, axes=1)
            axes, _ = np.linalg.qr(np.eye(d) + turn)
            samples = z @ means + rng.standard_normal((int(rng.integers(20, 200)), d)) * scales @ axes
            gaussians.append(Gaussian.from_samples(samples))
        names = tuple(f"label {number}" for number in range(count))
        return LabelGaussians(tuple(gaussians), rng.dirichlet(np.full(count, 5.0)), names)

    return make


def _read_features(files: Sequence[Path]) -> Iterator[tuple[str, LabelledFeatures]]:
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            yield file.stem, LabelledFeatures(arrays["features"], arrays["labels"])


def _embedded(data: Path) -> Iterator[tuple[str, LabelledFeatures]]:
    encoder = RandomEncoder(2)
    for folder in sorted(data.glob("Dataset*")):
        facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        names = {number: name for name, number in facts["labels"].items()}
        slices = list(_slices(folder, facts["file_ending"]))
        yield folder.name, embed(encoder, slices[:: max(1, len(slices) // SLICES)], names).side


def _slices(folder: Path, ending: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the slices with a label of raw cases as ``(1, C, H, W)`` and ``(1, H, W)``."""
    import SimpleITK as sitk

    def read(file: Path) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))

    for label_file in sorted((folder / "labelsTr").glob(f"*{ending}")):
        case = label_file.name.removesuffix(ending)
        label, images = read(label_file), [read(f) for f in sorted((folder / "imagesTr").glob(f"{case}_????{ending}"))]
        colours = images[0].ndim > label.ndim
        image = np.moveaxis(images[0], -1, 0) if colours else np.stack(images)
        stack = (image[:, None], label[None]) if label.ndim == 2 else (image, label)
        for place in np.flatnonzero(stack[1].any(axis=(1, 2))):
            channels = torch.from_numpy(stack[0][:, place].astype(np.float32))
            yield channels[None], torch.from_numpy(stack[1][place].astype(np.int64))[None]


def _table(title: str, rows: Rows) -> str:
    columns = [name for name in rows[0] if name != "values"]

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return f"\n{title}\n" + table_text(columns, [[cell(row[name]) for name in columns] for row in rows])


if __name__ == "__main__":
    sys.exit(main())
