"""``nnunet-iac distance``: how near are source data sets to a target, in the features of one frozen encoder."""

from __future__ import annotations

import argparse
import math
from itertools import product
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import add_device_argument, add_trust_argument, check_folder, device_of, output_path

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.encoders import ImageEncoder
    from nnunet_iac.nnunet.cases.image_samples import PreparedData
    from nnunet_iac.similarity.distance import DistanceResult
    from nnunet_iac.similarity.features import Embedding

HELP = "rank source data sets by their distance to a target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare target, sources, encoder and method."""
    parser.add_argument("-d", dest="target", required=True, metavar="TARGET", help="data set id or name")
    parser.add_argument("-s", dest="sources", nargs="+", required=True, metavar="SOURCE", help="ids or names")
    parser.add_argument("-c", dest="configuration", default="2d", help="default: %(default)s")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans of all (default: %(default)s)")
    parser.add_argument(
        "--encoder",
        default="random",
        help="checkpoint of nnU-Net, timm:NAME, or random, the embedded one (default: %(default)s)",
    )
    parser.add_argument(
        "--method",
        default="label-gaussians",
        choices=("label-gaussians", "otdd-exact", "otdd-entropic", "otdd-debiased", "sliced", "fid"),
        help="transport between Gaussians of the labels, of samples that pays for labels, or without labels "
        "(default: %(default)s)",
    )
    parser.add_argument("--images", type=int, default=128, help="patches of each data set (default: %(default)s)")
    parser.add_argument("--patch-size", type=int, nargs="+", help="one for all (default: the target's)")
    parser.add_argument("--all-pairs", action="store_true", help="distances among all, not to the target only")
    parser.add_argument("--seed", type=int, default=0, help="of the patches (default: %(default)s)")
    add_device_argument(parser)
    add_trust_argument(parser)
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write distances and warnings to this file")
    parser.add_argument("--png", type=output_path, metavar="FILE", help="draw the heat map")


def run(args: argparse.Namespace) -> int:
    """Embed all data sets, compare, print the ranking.

    Raises:
        FileNotFoundError: if a data set or the encoder is missing.
        ValueError: for bad arguments or plans, or a data set without a label region.
    """
    from nnunet_iac.similarity.distance import distance

    check_folder("--json", args.json)
    check_folder("--png", args.png)
    embedded = _embed_all(args)
    target, *sources = embedded
    columns = list(embedded) if args.all_pairs else [target]
    rows = list(embedded) if args.all_pairs else sources
    results = {
        (row, column): distance(embedded[row].side, embedded[column].side, method=args.method)
        for row, column in product(rows, columns)
    }
    ranked = sorted(sources, key=lambda name: results[name, target].value)
    width = max(map(len, ranked))
    print(f"distance to {target} ({args.method}, encoder {args.encoder}, {args.images} patches of each)")
    for place, name in enumerate(ranked, start=1):
        print(f"{place:3d}  {name.ljust(width)}  {results[name, target].value:.4f}")
    for name in sources:
        for text in results[name, target].warnings:
            print(f"WARNING: {name}: {text}")
    _write(args, rows, columns, results, embedded)
    return 0


def _embed_all(args: argparse.Namespace) -> dict[str, Embedding]:
    """Return the embedding of every data set, the target first; everything is looked for before anything is read."""
    from tqdm import tqdm

    from nnunet_iac.nnunet.cases.encoders import load_encoder
    from nnunet_iac.nnunet.cases.image_samples import prepared_data

    if args.images < 1:
        raise ValueError(f"--images: expected at least one patch, got {args.images}")
    first = prepared_data(args.target, args.configuration, args.plans, patch_size=args.patch_size)
    others = [prepared_data(name, args.configuration, args.plans, patch_size=first.patch_size) for name in args.sources]
    names = [data.dataset for data in (first, *others)]
    if len(set(names)) < len(names):
        raise ValueError(f"-d, -s: expected each data set once, got {names}")
    encoder = load_encoder(args.encoder, first.dimensions, device_of(args.device), trust=args.trust)
    return {
        data.dataset: _embed(encoder, data, args.images, args.seed)
        for data in tqdm((first, *others), "embedding", leave=False, disable=None)
    }


def _embed(encoder: ImageEncoder, data: PreparedData, count: int, seed: int) -> Embedding:
    from nnunet_iac.nnunet.cases.image_samples import sample_batches
    from nnunet_iac.similarity.features import embed

    # Responses of full resolution are many times the patch: one volume at a time.
    batches = sample_batches(data, count=count, batch_size=8 if data.dimensions == 2 else 1, seed=seed)
    try:
        return embed(lambda images: [level.cpu() for level in encoder(images)], batches, data.label_names)
    except ValueError as error:
        raise ValueError(f"{data.dataset}: {error}") from error


def _write(
    args: argparse.Namespace,
    rows: list[str],
    columns: list[str],
    results: dict[tuple[str, str], DistanceResult],
    embedded: dict[str, Embedding],
) -> None:
    from nnunet_iac.atomic import write_bytes, write_json
    from nnunet_iac.reports.distance_map import distances_png

    if args.json:
        content = {
            "schema": 1,
            "encoder": args.encoder,
            "method": args.method,
            "seed": args.seed,
            "images": {name: found.images for name, found in embedded.items()},
            "distances": [{"source": s, "target": t, **found.to_dict()} for (s, t), found in results.items()],
        }
        write_json(args.json, content)
    if args.png:
        table = [[results[row, column].value if row != column else math.nan for column in columns] for row in rows]
        write_bytes(args.png, distances_png(table, rows, columns, f"distance of data sets ({args.method})"))
