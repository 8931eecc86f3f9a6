"""``nnunet-iac zoo``: keep trained networks with what they were trained on, and give them out verified."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_iac.cli import zoo_audit, zoo_build, zoo_build_all, zoo_extract, zoo_fit
from nnunet_iac.cli.arguments import add_trust_argument, location, output_path
from nnunet_iac.cli.zoo_words import say_added, warn_about_licences

if TYPE_CHECKING:
    from nnunet_iac.zoo.entry import Description
    from nnunet_iac.zoo.store import Added

HELP = (
    "keep trained networks with scores and provenance: add, list, show, verify, export, import, remove, extract; train "
    "supernets for it: build, build-all, audit; learn which suits a data set: fit"
)

WRITING = ("add", "import", "remove", "build", "build-all", "fit")
"""Actions that need a folder; the others read URLs too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        child = actions.add_parser(name, help=text, description=text)
        where = "folder" if name in WRITING else "folder, or any URL that fsspec reads"
        kind = location if name in WRITING else str
        child.add_argument("--zoo", required=True, type=kind, metavar="DIR", help=where)
        return child

    _declare_add(action("add", "read folds that nnU-Net trained, stock or ours, into a zoo"))
    _declare_list(action("list", "list the entries"))
    show = action("show", "show one entry")
    show.add_argument("id", metavar="ID", help="or the start of it")
    show.add_argument("--json", action="store_true", help="all of it, plans too, as JSON")
    verify = action("verify", "check hashes and look for what killed writers left; status 1 if there is a fault")
    verify.add_argument("--repair", action="store_true", help="delete what killed writers left, nothing else")
    verify.add_argument("--json", action="store_true", help="as JSON")
    export = action("export", "write entries to a folder or an archive")
    export.add_argument("ids", nargs="*", metavar="ID", help="default: all")
    export.add_argument(
        "-o", dest="output", required=True, type=output_path, metavar="PATH", help="folder, .zip or .tar.gz"
    )
    take = action("import", "read entries of another zoo into this one")
    take.add_argument("source", metavar="SOURCE", help="folder, .zip, .tar.gz or URL")
    take.add_argument("ids", nargs="*", metavar="ID", help="default: all")
    take.add_argument("--replace", action="store_true", help="take over scores and facts of entries that are there")
    action("remove", "delete entries").add_argument("ids", nargs="+", metavar="ID", help="or the start of it")
    zoo_extract.add_arguments(action("extract", zoo_extract.HELP))
    zoo_build.add_arguments(action("build", zoo_build.HELP))
    zoo_build_all.add_arguments(action("build-all", zoo_build_all.HELP))
    zoo_audit.add_arguments(action("audit", zoo_audit.HELP))
    zoo_fit.add_arguments(action("fit", zoo_fit.HELP))


def _declare_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a fold, or of a model (all folds)")
    parser.add_argument(
        "--searches",
        action="store_true",
        help="add the searches of cells in these folders, with features of their data sets: nnUNetTrainerIACTransfer",
    )
    parser.add_argument("--licence", metavar="TEXT", help="of the weights, such as CC-BY-4.0")
    parser.add_argument("--name", metavar="TEXT", help="for people (default: as nnU-Net names the folder)")
    add_trust_argument(parser)
    parser.add_argument(
        "--replace", action="store_true", help="if a network is there: take over scores; licence and name if given"
    )


def _declare_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dimensions", type=int, choices=(2, 3), help="only networks in 2D or 3D")
    parser.add_argument("--channels", type=int, metavar="N", help="only networks for so many image channels")
    parser.add_argument("-d", "--dataset", metavar="DATASET", help="only those of a data set, by id or name")
    parser.add_argument("--kind", metavar="KIND", help="only entries of a kind, such as network")
    parser.add_argument("--json", action="store_true", help="as JSON, one object for each entry")


def run(args: argparse.Namespace) -> int:
    """Do what is asked for.

    Raises:
        FileNotFoundError: if the zoo, a folder or a file is missing.
        FileExistsError: if an output exists.
        ValueError: if something is damaged, does not fit or is not there.
    """
    return ACTIONS[args.action](args)


def add(args: argparse.Namespace) -> int:
    """Read folds into the zoo, one after the other; what is wrong with one does not stop the others."""
    from nnunet_iac.nnunet.zoo_entries.search_import import searches_in
    from nnunet_iac.nnunet.zoo_entries.zoo_import import folds_of, read_fold
    from nnunet_iac.zoo.store import Zoo

    def read(fold: Path) -> tuple[Description, dict[str, Any]]:
        if args.searches:
            return _read_search(fold, args)
        found = read_fold(fold, name=args.name, licence=args.licence, trust=args.trust)
        return found.about, dict(found.tensors)

    folds = [fold for folder in args.folders for fold in (searches_in if args.searches else folds_of)(folder)]
    if args.name and len(folds) > 1:
        raise ValueError(f"--name: expected one fold to name so, got {len(folds)}; add them one by one")
    problems, descriptions = [], []
    for fold in folds:
        try:
            about, tensors = read(fold)
            # Made once there is something to put in.
            added = Zoo.create(args.zoo).add(about, tensors, replace=args.replace, keep_name=args.name is None)
        except (ValueError, TypeError, OSError, NotImplementedError) as error:
            problems.append(f"{fold}: {error}")
            continue
        descriptions.append(about)
        say_added(added)
    if args.searches:
        # Several data sets together have no distance.
        _add_features(args, [about for about in descriptions if "datasets" not in about.facts])
    if problems:
        raise ValueError(f"{len(problems)} of {len(folds)} were not added:\n" + "\n".join(problems))
    return 0


def _read_search(fold: Path, args: argparse.Namespace) -> tuple[Description, dict[str, Any]]:
    """Read a search on one data set, or one on several together."""
    from nnunet_iac.nnunet.transfer.multi_entry import is_multi, read_multi_again
    from nnunet_iac.nnunet.zoo_entries.search_import import read_search, read_search_state
    from nnunet_iac.search.search import STATE

    if not is_multi(state := read_search_state(fold / STATE)):
        return read_search(fold, name=args.name, licence=args.licence)
    about, tensors = read_multi_again(fold, state, licence=args.licence)
    return (replace(about, name=args.name) if args.name else about), tensors


def _add_features(args: argparse.Namespace, descriptions: list[Description]) -> None:
    """Add what distances to the searches' data sets need; where the preprocessed cases are elsewhere, say so."""
    from nnunet_iac.nnunet.cases.dataset_features import dataset_features
    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.zoo.licences import with_licence
    from nnunet_iac.zoo.store import Zoo

    for about in {(about.dataset, about.configuration): about for about in descriptions}.values():
        try:
            data = prepared_data(about.dataset, about.configuration, str(about.plans.get("plans_name")))
            described, tensors = dataset_features(data)
            zoo = Zoo(args.zoo)
            added = zoo.add(replace(described, licence=args.licence), tensors)
            say_added(with_licence(zoo, added, args.licence))
        except (ValueError, OSError, NotImplementedError) as error:
            print(
                f"WARNING: no features of {about.dataset} ({error}); transfer.source=nearest skips its searches",
                file=sys.stderr,
            )


def list_entries(args: argparse.Namespace) -> int:
    """Print the entries that fit."""
    from nnunet_iac.zoo.entries import Query
    from nnunet_iac.zoo.listing import entries_table
    from nnunet_iac.zoo.store import Zoo

    zoo = Zoo(args.zoo)
    found = zoo.entries(Query(args.kind, args.dimensions, args.channels, args.dataset))
    if args.json:
        print(json.dumps([entry.to_dict() for entry in found], indent=4))
    elif found:
        print(entries_table(found))
    else:
        is_empty = not zoo.entries()
        print("the zoo is empty: nnunet-iac zoo add FOLDER" if is_empty else "no entry fits; list without filters")
    return 0


def show(args: argparse.Namespace) -> int:
    """Print one entry."""
    from nnunet_iac.zoo.listing import entry_text
    from nnunet_iac.zoo.store import Zoo

    entry = Zoo(args.zoo).entry(args.id)
    print(json.dumps(entry.to_dict(), indent=4) if args.json else entry_text(entry))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Print the faults and what killed writers left; 1 if there is a fault."""
    from nnunet_iac.zoo.listing import verification_text
    from nnunet_iac.zoo.store import Zoo
    from nnunet_iac.zoo.verification import verify as verify_zoo

    found = verify_zoo(Zoo(args.zoo), repair=args.repair)
    print(json.dumps(found.to_dict(), indent=4) if args.json else verification_text(found))
    return 0 if found.is_fine else 1


def export(args: argparse.Namespace) -> int:
    """Write entries to a folder or an archive; what is wrong with one keeps no other out of a folder."""
    from nnunet_iac.zoo.exchange import export_zoo
    from nnunet_iac.zoo.store import Zoo

    written: list[Added] = []

    def tell(added: Added) -> None:
        written.append(added)
        say_added(added)

    try:
        export_zoo(Zoo(args.zoo), args.output, args.ids, listener=tell)
    finally:
        warn_about_licences([one.entry for one in written])
    print(f"wrote {len(written)} entries to {args.output}")
    return 0


def take(args: argparse.Namespace) -> int:
    """Read entries of another zoo; what is wrong with one does not stop the others."""
    from nnunet_iac.zoo.exchange import import_zoo

    if not import_zoo(args.zoo, args.source, args.ids, replace=args.replace, listener=say_added):
        print("nothing to do: the other zoo is empty")
    return 0


def remove(args: argparse.Namespace) -> int:
    """Delete entries."""
    from nnunet_iac.zoo.store import Zoo

    for identity in Zoo(args.zoo).remove(args.ids):
        print(f"removed {identity}")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    **{"add": add, "list": list_entries, "show": show, "verify": verify, "export": export},
    **{"import": take, "remove": remove, "extract": zoo_extract.run, "build": zoo_build.run, "audit": zoo_audit.run},
    **{"build-all": zoo_build_all.run, "fit": zoo_fit.run},
}
"""What each action does."""
