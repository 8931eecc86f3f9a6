"""``nnunet-iac zoo build --multi``: search for cells on several data sets together, put the supernet into a zoo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import device_of
from nnunet_iac.cli.zoo_words import say_added

if TYPE_CHECKING:
    from nnunet_iac.nnunet.files.settings import Settings
    from nnunet_iac.nnunet.transfer.multi_data import MultiData

SHARED = ("configuration", "plans", "patch_size", "batch_size", "iterations", "seed", "licence")
"""Options of a build that count with ``--multi`` too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what counts with ``--multi`` only."""
    group = parser.add_argument_group("searching on several data sets")
    group.add_argument(
        "--multi",
        action="store_true",
        help="search for cells on all data sets of -d together, each with a head, and the architecture of the first: "
        f"of the options above, -f, {', '.join(map(_option, SHARED[2:]))} count",
    )
    group.add_argument("--epochs", type=int, help="budget of the search (default: search.epochs, 200)")
    group.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="settings of cells and search, such as search.perturbation=random; nnunet-iac configure --list shows all",
    )


def refuse_options(args: argparse.Namespace, actions: Sequence[argparse.Action]) -> None:
    """Refuse options of a build that do not count with ``--multi``, where they differ from their defaults.

    Raises:
        ValueError: naming all of them.
    """
    known = [action for action in actions if action.dest not in SHARED]
    given = [action.option_strings[0] for action in known if getattr(args, action.dest) != action.default]
    given += ["--host"] if args.host is not None else []
    if given:
        raise ValueError(
            f"--multi: expected options of a search, got {', '.join(given)}, which do not count there; leave them out "
            "(the share of the patients that train the architecture is --set search.fraction=)"
        )


def check_single(args: argparse.Namespace) -> None:
    """Check that without ``--multi`` there is one data set, and no option of a search.

    Raises:
        ValueError: if not.
    """
    if len(args.datasets) > 1:
        raise ValueError(
            f"-d: expected one data set, got {', '.join(args.datasets)}; search on them together with --multi, or "
            "build one after the other with nnunet-iac zoo build-all"
        )
    given = [name for name, value in (("--epochs", args.epochs), ("--set", args.settings)) if value]
    if given:
        raise ValueError(f"{', '.join(given)}: expected only with --multi; see --full-epochs and the other options")


def run(args: argparse.Namespace) -> int:
    """Check everything, search, and write the entry.

    Raises:
        FileNotFoundError: if a data set or its cases are missing.
        FileExistsError: if the folder has a search, and neither ``--c`` nor ``--overwrite`` was given.
        ValueError: for bad arguments, settings or plans, data sets that do not go together, or a zoo that cannot
            be used.
        TimeoutError: if another process works in the folder.
        FloatingPointError: if the search diverges.
    """
    import torch

    from nnunet_iac.cli.zoo_build import check_vacant
    from nnunet_iac.nnunet.files.run_state import alone_in, remove_files, remove_leftovers
    from nnunet_iac.nnunet.supernets.supernet_entries import writable_zoo
    from nnunet_iac.nnunet.transfer.multi_entry import describe_multi, read_multi
    from nnunet_iac.nnunet.transfer.multi_search import FILES, search_together
    from nnunet_iac.search.search import STATE
    from nnunet_iac.zoo.licences import with_licence

    device = torch.device(device_of(args.device))
    settings = _settings(args)
    data = _data(args, settings)
    folder = _folder(args, data)
    check_vacant(args, folder, (STATE,))
    describe_multi(data, licence=args.licence)
    zoo = writable_zoo(args.zoo)
    with alone_in(folder):
        if args.overwrite:
            remove_files(folder, FILES)
        remove_leftovers(folder, FILES)
        _introduce(data, settings, str(device))
        search_together(data, settings, folder, device=device, resume=args.resume, log=_say)
        added = zoo.add(*read_multi(data, folder, licence=args.licence))
        added = with_licence(zoo, added, args.licence)
    say_added(added)
    print(
        "a search on another data set starts from it with nnUNetTrainerIACTransfer and nnunet-iac configure --set "
        f"transfer.zoo={args.zoo} transfer.source=multi"
    )
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
    from nnunet_iac.nnunet.transfer.multi_search import multi_settings

    return multi_settings(
        args.datasets[0],
        args.configuration,
        args.plans,
        parse_assignments(args.settings),
        epochs=args.epochs,
        iterations=args.iterations,
        seed=args.seed,
    )


def _data(args: argparse.Namespace, settings: Settings) -> MultiData:
    from nnunet_iac.nnunet.transfer.multi_data import multi_data

    return multi_data(
        args.datasets,
        args.configuration,
        args.plans,
        fold=args.fold,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        fraction=settings.search.fraction,
    )


def _folder(args: argparse.Namespace, data: MultiData) -> Path:
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.transfer.multi_entry import multi_folder

    if args.output is not None:
        return Path(args.output)
    return multi_folder(results_folder(), data.datasets, args.plans, args.configuration, args.fold)


def _introduce(data: MultiData, settings: Settings, device: str) -> None:
    search = settings.search
    print(
        f"search on {len(data.parts)} data sets by turns on {device}, with the network of {data.datasets[0]}: "
        f"{search.epochs} epochs of {search.iterations} steps at most"
    )
    for part in data.parts:
        print(
            f"  {part.training.dataset}: {len(part.training.cases)} cases train the weights, "
            f"{len(part.selection.cases)} the architecture; {part.target.outputs} outputs"
        )
        if part.patients is None:
            print(
                f"WARNING: patients of {part.training.dataset} are unknown (no patient_groups.json): the cases are "
                "split one by one"
            )


def _say(text: str) -> None:
    print(text, flush=True)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
