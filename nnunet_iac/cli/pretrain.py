"""``nnunet-iac pretrain``: pretrain a plan's encoder and stop when its robustness on the target does not improve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_iac.nnunet.image_samples import PreparedData
    from nnunet_iac.nnunet.pretraining import PretrainingPlan, Task

HELP = "pretrain the encoder of a plan on images or other data sets, watched on the target's images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the target, the source, the length and the watch."""
    parser.add_argument("-d", dest="dataset", required=True, help="target data set, id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("-f", dest="fold", type=int, default=0, help="whose training images are watched (default: 0)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="FOLDER", help="labelled images, FOLDER/CLASS/IMAGE")
    source.add_argument("--datasets", nargs="+", metavar="ID", help="preprocessed nnU-Net data sets")
    parser.add_argument("--source-plans", default="nnUNetPlans", help="plans of --datasets (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="full length (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=50, help="steps of an epoch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help="default: that of the plans")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="default: %(default)s")
    parser.add_argument("--patience", type=int, default=2, help="epochs without a new best (default: %(default)s)")
    parser.add_argument("--smoothing", type=float, default=0.0, help="of the losses, 0 to below 1 (default: 0)")
    parser.add_argument("--full", action="store_true", help="train the full length; the best epoch is still kept")
    parser.add_argument("--kind", choices=("ct", "mr", "rgb"), help="of target image (default: as channel_names say)")
    parser.add_argument("--watched", type=int, default=64, help="patches of the target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cuda")
    parser.add_argument("--c", dest="resume", action="store_true", help="go on where this was stopped")
    parser.add_argument("-o", "--output", type=Path, help="default: where nnUNetTrainerPretrainedEncoder looks")


def run(args: argparse.Namespace) -> int:
    """Check everything, pretrain, draw the curve and say how to use the checkpoint.

    Raises:
        FileNotFoundError: if a data set, a folder or its images are missing.
        FileExistsError: if the folder has a pretraining and ``--c`` was not given.
        ValueError: for bad arguments or plans.
        FloatingPointError: if a loss is not finite.
    """
    import torch

    from nnunet_iac.nnunet.image_samples import prepared_data
    from nnunet_iac.nnunet.pretraining import CHECKPOINT, STATE, Pretraining
    from nnunet_iac.nnunet.robustness_scores import WATCHED, ScoringPlan, image_kind, target_images, watch_of
    from nnunet_iac.nnunet.weights import read_weight_target

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a machine with CUDA, found none; give --device cpu")
    data = prepared_data(args.dataset, args.configuration, args.plans, fold=args.fold)
    target = read_weight_target(args.dataset, args.configuration, args.plans)
    plan, task = _plan(args), _task(args, data, target.inputs)
    folder = args.output or _default_folder(data)
    if (folder / STATE).exists() and not args.resume:
        raise FileExistsError(f"-o: {folder} has a pretraining already; go on with --c, or give another folder")
    scoring = ScoringPlan(args.watched, kind=args.kind or image_kind(data), seed=args.seed, configuration=WATCHED)
    watch = watch_of(target_images(data, scoring), scoring, torch.device(args.device))
    pretraining = Pretraining(target, task, plan, watch, folder, torch.device(args.device))
    if args.resume and pretraining.resume():
        print(f"going on after epoch {pretraining.epoch}")
    result = pretraining.run()
    _draw(folder, result.losses, result.best_epoch)
    _report_unreadable(task)
    saved = plan.epochs - result.epochs
    beats = "below" if result.beats_initialisation else "NOT BELOW"
    print(
        f"{result.epochs} epochs, {saved} of {plan.epochs} saved; best epoch {result.best_epoch}, its loss is {beats} "
        f"that of random weights.\nwrote {folder / CHECKPOINT}\nuse it with nnUNetv2_train … "
        "-pretrained_weights, or with -tr nnUNetTrainerPretrainedEncoder"
    )
    return 0


def _plan(args: argparse.Namespace) -> PretrainingPlan:
    from nnunet_iac.nnunet.pretraining import PretrainingPlan
    from nnunet_iac.robustness.selection import StoppingRule

    rule = None if args.full else StoppingRule(args.patience, args.smoothing)
    return PretrainingPlan(args.epochs, args.iterations, learning_rate=args.learning_rate, rule=rule, seed=args.seed)


def _task(args: argparse.Namespace, data: PreparedData, channels: int) -> Task:
    from nnunet_iac.nnunet.image_samples import prepared_data
    from nnunet_iac.nnunet.plans import configuration_of
    from nnunet_iac.nnunet.pretraining_datasets import SegmentationSources
    from nnunet_iac.nnunet.pretraining_images import ImageFolder

    planned = configuration_of(data.plans, data.configuration)["batch_size"]
    batch = planned if args.batch_size is None else args.batch_size
    if batch < 2:
        raise ValueError(f"--batch-size: expected at least 2, got {batch}")
    if args.images is not None:
        return ImageFolder(args.images, data.patch_size, channels, batch, args.seed)
    sources = [
        prepared_data(name, data.configuration, args.source_plans, patch_size=data.patch_size) for name in args.datasets
    ]
    if data.dataset in [source.dataset for source in sources]:
        raise ValueError(f"--datasets: expected others than the target, got {data.dataset}")
    return SegmentationSources(sources, channels, batch, args.seed)


def _default_folder(data: PreparedData) -> Path:
    from nnunet_iac.nnunet.hosts import results_folder
    from nnunet_iac.nnunet.pretrained_encoder import pretraining_folder

    return pretraining_folder(results_folder(), data.dataset, data.plans["plans_name"], data.configuration)


def _draw(folder: Path, losses: tuple[float, ...], best: int) -> None:
    from nnunet_iac.atomic import write_bytes
    from nnunet_iac.reports.robustness_curve import robustness_png

    write_bytes(folder / "pretraining.png", robustness_png(losses, best))


def _report_unreadable(task: Any) -> None:
    if task.unreadable:
        print(f"WARNING: {len(task.unreadable)} images could not be read and were left out: {task.some()}")
