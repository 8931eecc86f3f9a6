"""``nnunet-iac pretrain``: pretrain a plan's encoder and stop when its robustness on the target does not improve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import add_device_argument, device_of, fold, output_path

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.image_samples import PreparedData
    from nnunet_iac.nnunet.pretraining.pretraining_plan import PretrainingPlan, PretrainingResult, Task
    from nnunet_iac.nnunet.pretraining.robustness_scores import TargetWatch

HELP = "pretrain the encoder of a plan on images or other data sets, watched on the target's images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the target, the source, the length and the watch."""
    parser.add_argument("-d", dest="dataset", required=True, help="target data set, id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument(
        "-f", dest="fold", type=fold, default=0, help="whose training images are watched, or all (default: 0)"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="FOLDER", help="labelled images, FOLDER/CLASS/IMAGE")
    source.add_argument("--datasets", nargs="+", metavar="ID", help="preprocessed nnU-Net data sets, with labels")
    parser.add_argument("--source-plans", default="nnUNetPlans", help="plans of --datasets (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="full length (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=50, help="steps of an epoch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, help="default: that of the plans")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="default: %(default)s")
    parser.add_argument("--patience", type=int, default=2, help="epochs without a new best (default: %(default)s)")
    parser.add_argument(
        "--smoothing", type=float, default=0.0, help="of the losses: a factor from 0 to below 1 (default: 0)"
    )
    parser.add_argument("--full", action="store_true", help="train the full length; the best epoch is still kept")
    parser.add_argument("--kind", choices=("ct", "mr", "rgb"), help="of target image (default: as channel_names say)")
    parser.add_argument("--watched", type=int, default=64, help="patches of the target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and patches (default: 0)")
    add_device_argument(parser)
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--c", dest="resume", action="store_true", help="go on where this was stopped, also early (with --full)"
    )
    again.add_argument("--overwrite", action="store_true", help="remove the pretraining in the folder, start anew")
    parser.add_argument(
        "-o",
        dest="output",
        type=output_path,
        metavar="FOLDER",
        help="default: pretraining__<plans>__<configuration> beside the data set's models, where "
        "nnUNetTrainerPretrainedEncoder looks",
    )


def run(args: argparse.Namespace) -> int:
    """Check everything, pretrain, draw the curve and say how to use the checkpoint.

    Raises:
        FileNotFoundError: if a data set, a folder or its images are missing.
        FileExistsError: if the folder has a pretraining, and neither ``--c`` nor ``--overwrite`` was given.
        ValueError: for bad arguments or plans.
        TimeoutError: if another process pretrains in the folder.
        FloatingPointError: if a loss is not finite.
    """
    import torch

    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.nnunet.files.run_state import alone_in, remove_files
    from nnunet_iac.nnunet.files.weights import read_weight_target
    from nnunet_iac.nnunet.pretraining.pretraining import Pretraining
    from nnunet_iac.nnunet.pretraining.pretraining_files import FILES

    device = device_of(args.device)
    data = prepared_data(args.dataset, args.configuration, args.plans, fold=args.fold)
    target = read_weight_target(args.dataset, args.configuration, args.plans)
    batch_size = _batch_size(args.batch_size, data)
    plan, task = _plan(args), _task(args, data, target.inputs, batch_size)
    watch = _watch(args, data, batch_size, device)
    folder = _folder(args, data)
    pretraining = Pretraining(target, task, plan, watch, folder, torch.device(device))
    with alone_in(folder):
        if args.overwrite:
            remove_files(folder, FILES)
        if args.resume:
            went_on = pretraining.resume()
            print(f"going on after epoch {pretraining.epoch}" if went_on else f"nothing to go on with in {folder}")
        print(f"pretraining on {device}: {batch_size} patches a step, watched on {args.watched} of {data.dataset}")
        result = pretraining.run(lambda text: print(text, flush=True))
        _draw(folder, result)
    _say(args, folder, result, plan, task)
    return 0


def _batch_size(wanted: int | None, data: PreparedData) -> int:
    size = data.planned["batch_size"] if wanted is None else wanted
    if size < 1:
        raise ValueError(f"--batch-size: expected at least 1, got {size}")
    return int(size)


def _plan(args: argparse.Namespace) -> PretrainingPlan:
    from nnunet_iac.nnunet.pretraining.pretraining_plan import PretrainingPlan
    from nnunet_iac.robustness.selection import StoppingRule

    return PretrainingPlan(
        args.epochs,
        args.iterations,
        learning_rate=args.learning_rate,
        rule=StoppingRule(args.patience, args.smoothing),
        full=args.full,
        seed=args.seed,
    )


def _task(args: argparse.Namespace, data: PreparedData, channels: int, batch_size: int) -> Task:
    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.nnunet.pretraining.pretraining_datasets import SegmentationSources
    from nnunet_iac.nnunet.pretraining.pretraining_images import ImageFolder

    if args.images is not None:
        return ImageFolder(args.images, data.patch_size, channels, batch_size, args.seed)
    sources = [
        prepared_data(name, data.configuration, args.source_plans, patch_size=data.patch_size) for name in args.datasets
    ]
    if data.dataset in [source.dataset for source in sources]:
        raise ValueError(f"--datasets: expected others than the target, got {data.dataset}; leave it out")
    return SegmentationSources(sources, channels, batch_size, args.seed)


def _watch(args: argparse.Namespace, data: PreparedData, batch_size: int, device: str) -> TargetWatch:
    import torch

    from nnunet_iac.nnunet.pretraining.robustness_scores import WATCHED, ScoringPlan, TargetWatch, image_kind

    kind = args.kind or image_kind(data)
    plan = ScoringPlan(args.watched, batch_size, kind=kind, seed=args.seed, configuration=WATCHED)
    return TargetWatch(data, plan, torch.device(device))


def _folder(args: argparse.Namespace, data: PreparedData) -> Path:
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.pretraining.pretrained_encoder import pretraining_folder
    from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT, STATE

    folder: Path = args.output or pretraining_folder(
        results_folder(), data.dataset, data.plans["plans_name"], data.configuration
    )
    if not (args.resume or args.overwrite) and any((folder / name).exists() for name in (STATE, CHECKPOINT)):
        raise FileExistsError(
            f"-o: {folder} has a pretraining already; go on with --c, start anew with --overwrite, or give another "
            "folder"
        )
    return folder


def _draw(folder: Path, result: PretrainingResult) -> None:
    from nnunet_iac.atomic import write_bytes
    from nnunet_iac.nnunet.pretraining.pretraining_files import PICTURE
    from nnunet_iac.reports.robustness_curve import robustness_png

    write_bytes(folder / PICTURE, robustness_png(result.losses, result.best_epoch))


def _say(args: argparse.Namespace, folder: Path, result: PretrainingResult, plan: PretrainingPlan, task: Task) -> None:
    from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT
    from nnunet_iac.nnunet.pretraining.pretraining_images import some_unreadable

    if task.unreadable:
        print(
            f"WARNING: {len(task.unreadable)} images could not be read and were left out: "
            f"{some_unreadable(task.unreadable)}"
        )
    beats = "below" if result.beats_initialisation else "NOT BELOW"
    print(
        f"{result.epochs} epochs, {plan.epochs - result.epochs} of {plan.epochs} saved; best epoch "
        f"{result.best_epoch}, its loss is {beats} that of random weights"
    )
    words = f"nnUNetv2_train {args.dataset} {args.configuration} FOLD -p {args.plans}"
    trainer = "" if args.output else f", or with {words} -tr nnUNetTrainerPretrainedEncoder"
    print(f"use it with {words} -pretrained_weights {folder / CHECKPOINT}{trainer}")
