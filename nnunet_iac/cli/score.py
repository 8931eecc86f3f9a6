"""``nnunet-iac score``: how robust are encoders on a data set's own images; lower is more robust.

By default as a pretraining is watched: deepest level, unpooled
(:data:`nnunet_iac.nnunet.pretraining.robustness_scores.WATCHED`).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnunet_iac.cli.arguments import add_device_argument, add_trust_argument, check_folder, device_of, fold, output_path

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.image_samples import PreparedData
    from nnunet_iac.nnunet.pretraining.robustness_scores import ScoringPlan
    from nnunet_iac.robustness.score import Score

HELP = "score encoders on a data set's training images: contrastive robustness loss, lower is more robust"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the encoders, the target and how to score."""
    parser.add_argument(
        "encoders",
        nargs="+",
        metavar="ENCODER",
        help="checkpoints of nnU-Net (.pth), timm:NAME, or random (the embedded fixed random encoder)",
    )
    add_scoring_arguments(parser)
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write the losses to this file")


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the target and how to score it, for the commands that score."""
    parser.add_argument("-d", dest="dataset", required=True, help="target data set, id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("-f", dest="fold", type=fold, default=0, help="its training cases only, or all (default: 0)")
    parser.add_argument("--images", type=int, default=64, help="patches (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help="of the forward passes (default: that of the plans)")
    parser.add_argument("--kind", choices=("ct", "mr", "rgb"), help="of image (default: as channel_names say)")
    parser.add_argument("--distance", choices=("cosine", "l2", "pearson"), default="cosine", help="of features")
    parser.add_argument("--margin", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument("--level", type=int, default=-1, help="of the encoder, -1 the deepest (default: %(default)s)")
    parser.add_argument(
        "--pooled",
        action="store_true",
        help="compare means of feature maps over space, as the paper's code does (with --level -2); behind nnU-Net's "
        "instance normalisation these hardly differ between images, and the loss is about the margin",
    )
    parser.add_argument("--seed", type=int, default=0, help="of patches and perturbations (default: %(default)s)")
    add_trust_argument(parser)
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Score and print, most robust first.

    Raises:
        FileNotFoundError: if the data set or an encoder is missing.
        ValueError: for bad arguments, plans or checkpoints.
    """
    from nnunet_iac.atomic import write_json

    data, plan, scores = score_all(args)
    width = max(map(len, scores))
    print(heading(data, plan))
    for name, score in sorted(scores.items(), key=lambda item: item[1].loss):
        print(f"{name.ljust(width)}  {score.loss:.4f}{warning(score)}")
    if args.json:
        write_json(args.json, record(data, plan, scores))
    return 0


def score_all(args: argparse.Namespace) -> tuple[PreparedData, ScoringPlan, dict[str, Score]]:
    """Load everything, then score: the target, how it was done, and the score of each encoder.

    Raises:
        FileNotFoundError: if the data set, an encoder or the folder of ``--json`` is missing.
        ValueError: for bad arguments, plans or checkpoints.
    """
    from nnunet_iac.nnunet.cases.encoders import load_encoder
    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.nnunet.pretraining.robustness_scores import ScoringPlan, image_kind, score_encoders
    from nnunet_iac.robustness.score import ScoringConfiguration

    if len(set(args.encoders)) < len(args.encoders):
        raise ValueError(f"ENCODER: expected different ones, got {args.encoders}")
    check_folder("--json", args.json)
    device = device_of(args.device)
    data = prepared_data(args.dataset, args.configuration, args.plans, fold=args.fold)
    plan = ScoringPlan(
        images=args.images,
        batch_size=data.planned["batch_size"] if args.batch_size is None else args.batch_size,
        kind=args.kind or image_kind(data),
        seed=args.seed,
        configuration=ScoringConfiguration(args.distance, args.margin, args.pooled, args.level),
    )
    encoders = [load_encoder(name, data.dimensions, device, trust=args.trust) for name in args.encoders]
    return data, plan, score_encoders(encoders, data, plan)


def heading(data: PreparedData, plan: ScoringPlan) -> str:
    """Return what the losses are of."""
    patches = f"{plan.images} patches of {len(data.cases)} cases of {data.dataset}"
    return f"loss, lower is more robust; {patches}, kind {plan.kind}"


def warning(score: Score) -> str:
    """Return what a reader must know of a score."""
    return f"  WARNING: {score.undefined} of {score.images} features have no direction" if score.undefined else ""


def record(data: PreparedData, plan: ScoringPlan, scores: dict[str, Score]) -> dict[str, Any]:
    """Return everything as JSON has it."""
    from dataclasses import asdict

    place = {"dataset": data.dataset, "configuration": data.configuration, "fold": data.fold}
    return {
        "schema": 1,
        "target": {**place, "cases": list(data.cases)},
        "scoring": asdict(plan),
        "losses": {name: asdict(score) for name, score in scores.items()},
    }
