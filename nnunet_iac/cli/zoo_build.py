"""``nnunet-iac zoo build``: train a supernet on a data set, measure sub-networks of it, write both into a zoo.

With ``--multi`` it is a search for cells on several data sets together: see :mod:`nnunet_iac.cli.zoo_build_multi`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli import zoo_build_multi
from nnunet_iac.cli.arguments import add_device_argument, device_of, fold, output_path
from nnunet_iac.cli.zoo_words import say_added

if TYPE_CHECKING:
    from nnunet_iac.nnunet.supernets.supernet_build import BuildPlan, SupernetBuild
    from nnunet_iac.nnunet.supernets.supernet_data import SupernetData
    from nnunet_iac.nnunet.supernets.supernet_host import SupernetHost
    from nnunet_iac.zoo.store import Added

HELP = (
    "train a supernet on a data set, measure its sub-networks with inherited weights, put both into the zoo; with "
    "--multi search for cells on several data sets together instead, for transfer.source=multi"
)


SHARE = 0.2
"""Of the patients, to measure a supernet without a host on: our choice."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the data set, the budget, what is measured and where it works."""
    parser.add_argument(
        "-d", dest="datasets", nargs="+", required=True, metavar="DATASET", help="id or name; several with --multi"
    )
    parser.add_argument("-f", dest="fold", type=fold, default=0, help="its training cases are used (default: 0)")
    parser.add_argument("--host", type=Path, metavar="CHECKPOINT", help="start from this trained network of the plans")
    add_build_arguments(parser)
    zoo_build_multi.add_arguments(parser)
    add_device_argument(parser)
    add_folder_arguments(parser, "supernet__<plans>__<configuration>/fold_<F>")


def add_build_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Declare what builds of several data sets and folds have in common, but for the device; return what was."""
    add = parser.add_argument
    return [
        add("-c", dest="configuration", required=True, help="configuration, such as 2d"),
        add("-p", dest="plans", default="nnUNetPlans", help="plans (default: %(default)s)"),
        *_declare_budget(parser),
        add("--candidates", type=int, default=100, help="sub-networks to measure (default: %(default)s)"),
        add("--measured", type=int, default=64, help="patches to measure each on (default: %(default)s)"),
        add("--features", type=int, default=128, help="patches to describe the data (default: %(default)s)"),
        add("--licence", metavar="TEXT", help="of the weights, such as CC-BY-4.0; also of entries without one"),
    ]


def build_words(args: argparse.Namespace) -> list[str]:
    """Return words that :func:`add_build_arguments` and the device's argument read back into these values."""
    parser = argparse.ArgumentParser(add_help=False)
    names = {action.dest: action.option_strings[0] for action in add_build_arguments(parser)}
    words = []
    for name, option in {**names, "device": "--device"}.items():
        value = getattr(args, name)
        if isinstance(value, list):
            words += [option, *map(str, value)]
        elif value is not None:
            words.append(f"{option}={value}")
    return words


def add_folder_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare where a run keeps its state, and what to do with one that is there."""
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--c", dest="resume", action="store_true", help="go on where this was stopped")
    again.add_argument("--overwrite", action="store_true", help="remove the run in the folder, start anew")
    parser.add_argument(
        "-o",
        dest="output",
        type=output_path,
        metavar="FOLDER",
        help=f"of states (default: {default} beside the models)",
    )


def _declare_budget(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    add, known = parser.add_argument, "(default: %(default)s)"
    return [
        add("--patch-size", type=int, nargs="+", help="default: that of the plans"),
        add("--batch-size", type=int, help="default: that of the plans"),
        add("--full-epochs", type=int, default=100, help=f"epochs of the largest network {known}"),
        add("--depth-epochs", type=int, default=10, help=f"epochs with elastic depth {known}"),
        add("--width-epochs", type=int, default=40, help=f"epochs with elastic width too {known}"),
        add("--iterations", type=int, default=250, help=f"steps of an epoch {known}"),
        add(
            "--random-networks",
            type=int,
            default=2,
            help=f"networks of a step beside largest and smallest {known}",
        ),
        add("--learning-rate", type=float, default=1e-2, help=f"learning rate of full epochs {known}"),
        add("--shrinking-learning-rate", type=float, default=1e-3, help=f"learning rate of the other epochs {known}"),
        add("--distillation", type=float, default=1.0, help=f"weight of soft targets {known}"),
        add(
            "--share",
            type=float,
            help=f"share of the patients to measure on (default: {SHARE}; not with --host: its validation cases)",
        ),
        add("--multiple", type=int, default=8, help=f"channel counts are multiples of this {known}"),
        add("--seed", type=int, default=0, help=f"seed of weights, batches, patches {known}"),
    ]


def run(args: argparse.Namespace) -> int:
    """Check everything, train, measure, and write three entries; with ``--multi``, search and write one.

    Raises:
        FileNotFoundError: if a data set, its cases or the host are missing.
        FileExistsError: if the folder has a build, and neither ``--c`` nor ``--overwrite`` was given.
        ValueError: for bad arguments or plans, or a zoo that cannot be used.
        TimeoutError: if another process works in the folder.
        FloatingPointError: if the training diverges.
    """
    if args.multi:
        zoo_build_multi.refuse_options(args, [*add_build_arguments(argparse.ArgumentParser(add_help=False))])
        return zoo_build_multi.run(args)
    zoo_build_multi.check_single(args)
    args.dataset = args.datasets[0]
    from nnunet_iac.nnunet.files.run_state import alone_in, remove_files, remove_leftovers
    from nnunet_iac.nnunet.supernets.supernet_build import FILES
    from nnunet_iac.nnunet.supernets.supernet_entries import writable_zoo, write_entries

    build = prepared_build(args)
    zoo = writable_zoo(args.zoo)
    with alone_in(build.folder):
        if args.overwrite:
            remove_files(build.folder, FILES)
        remove_leftovers(build.folder, FILES)
        if args.resume:
            went_on = build.resume()
            print(f"going on after epoch {build.run.epoch}" if went_on else f"nothing to go on with in {build.folder}")
        _introduce(build)
        build.train(_say)
        measured, features = build.measure(_say), build.describe_data()
        added = write_entries(zoo, build, measured, features, licence=args.licence)
    _conclude(added, measured.dice.tolist(), build.dice_before)
    return 0


def prepared_build(args: argparse.Namespace) -> SupernetBuild:
    """Check the arguments of a build and return it; nothing is written.

    Raises:
        FileNotFoundError: if a data set, its cases or the host are missing.
        FileExistsError: if the folder has a build, and neither ``--c`` nor ``--overwrite`` was given.
        ValueError: for bad arguments or plans.
    """
    import torch

    from nnunet_iac.nnunet.supernets.supernet_build import BEFORE, CANDIDATES, FEATURES, STATE, SupernetBuild
    from nnunet_iac.nnunet.supernets.supernet_entries import describe
    from nnunet_iac.zoo.candidates_entries import SUPERNET

    device = torch.device(device_of(args.device))
    data, plan, folder = _data(args), _plan(args), _folder(args)
    check_vacant(args, folder, (STATE, CANDIDATES, FEATURES, BEFORE))
    build = SupernetBuild(data, plan, folder, device, _host(args, data))
    describe(build, SUPERNET, args.licence)
    return build


def check_vacant(args: argparse.Namespace, folder: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder with the files of a run, unless it is to be gone on with or removed.

    Raises:
        FileExistsError: naming the folder.
    """
    if not (args.resume or args.overwrite) and any((folder / name).exists() for name in names):
        raise FileExistsError(
            f"-o: {folder} has a run already; go on with --c, start anew with --overwrite, or give another folder"
        )


def _data(args: argparse.Namespace) -> SupernetData:
    from nnunet_iac.nnunet.supernets.supernet_data import supernet_data

    # A host has seen the fold's training cases; with all cases in them there are no others.
    on_validation = args.host is not None and args.fold != "all"
    if on_validation and args.share is not None:
        raise ValueError(
            f"--share: expected none with --host, whose validation cases are measured on, got {args.share}; "
            "leave it out"
        )
    return supernet_data(
        args.dataset,
        args.configuration,
        args.plans,
        fold=args.fold,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        share=None if on_validation else SHARE if args.share is None else args.share,
    )


def _plan(args: argparse.Namespace) -> BuildPlan:
    from nnunet_iac.nnunet.supernets.supernet_build import BuildPlan
    from nnunet_iac.zoo.shrinking import SupernetPlan

    if args.seed < 0:
        raise ValueError(f"--seed: expected a number from 0, got {args.seed}")
    names = (
        *("full_epochs", "depth_epochs", "width_epochs", "random_networks"),
        *("learning_rate", "shrinking_learning_rate", "distillation", "seed"),
    )
    training = SupernetPlan(**{name: getattr(args, name) for name in names})
    return BuildPlan(training, args.iterations, args.multiple, args.candidates, args.measured, args.features)


def _host(args: argparse.Namespace, data: SupernetData) -> SupernetHost | None:
    from nnunet_iac.nnunet.supernets.supernet_host import supernet_host

    return None if args.host is None else supernet_host(args.host, data.training.dataset, args.fold)


def _folder(args: argparse.Namespace) -> Path:
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.files.plans import preprocessed_folder
    from nnunet_iac.nnunet.supernets.supernet_entries import build_folder

    if args.output is not None:
        return Path(args.output)
    name = preprocessed_folder(args.dataset).name
    return build_folder(results_folder(), name, args.plans, args.configuration, args.fold)


def _say(text: str) -> None:
    print(text, flush=True)


def _introduce(build: SupernetBuild) -> None:
    data, space = build.data, build.supernet.space
    print(
        f"supernet of {data.training.dataset} {data.training.configuration} on {build.device}: {space.count} "
        f"sub-networks of {build.supernet.parameter_count(space.smallest)} to "
        f"{build.supernet.parameter_count(space.largest)} parameters; trained on {len(data.training.cases)} cases of "
        f"fold {data.training.fold}, measured on {len(data.selection.cases)} others of it"
    )
    if data.patients is None:
        print(
            "WARNING: patients are unknown (no patient_groups.json): the cases are split one by one. If a patient has "
            "several, networks are measured on patients that trained them."
        )
    if build.host is not None and data.share is not None:
        print(
            "WARNING: the host was trained on the cases that sub-networks are measured on (-f all leaves no others): "
            "networks that keep most of it, the largest first, look too good against the others"
        )


def _conclude(added: list[Added], dice: list[float], before: float | None) -> None:
    from nnunet_iac.nnunet.supernets.supernet_build import doubts

    for one in added:
        say_added(one, with_kind=True)
    print(
        f"Dice on held-out patches: largest {dice[0]:.4f}, smallest {dice[1]:.4f}, best {max(dice):.4f} (candidate "
        f"{dice.index(max(dice))} of {len(dice)}); whether this ranking holds for networks that are trained alone, "
        f"nnunet-iac zoo audit {added[1].entry.id} tells"
    )
    for doubt in doubts(dice, before):
        print(f"WARNING: {doubt}")
