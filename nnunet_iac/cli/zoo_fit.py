"""``nnunet-iac zoo fit``: learn from a zoo which sub-network suits which data set, and say how well that works.

The entry that it writes is for whoever wants to look at the space; ``nnunet-iac retrieve`` fits its own, without what
the zoo knows of the target.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import output_path

if TYPE_CHECKING:
    from nnunet_iac.metaspace.settings import FitSettings

HELP = "fit the meta-space on all data sets of a zoo, after testing it on each data set held out"

_INTEGERS = {"steps": "steps of each fit", "size": "dimensions of the space", "seed": "of weights and draws"}
_WEIGHTS = {
    "performance": "weight of the squared error of predicted Dice",
    "rank": "weight of the rank loss",
    "fid": "weight of the alignment with Fréchet distances",
    "contrastive": "weight of the contrastive loss",
}
_NUMBERS = {
    **_WEIGHTS,
    "sigma": "temperature of the rank loss",
    "beta": "squared distance in the space of the two data sets farthest apart",
    "margin": "of the contrastive loss",
    "learning-rate": "at the start",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to fit and how; ``--zoo`` is declared for all actions of ``nnunet-iac zoo``."""
    parser.add_argument(
        "-c", dest="configurations", action="append", metavar="CONFIGURATION", help="only of these plans configurations"
    )
    for names, kind, metavar in ((_INTEGERS, int, "N"), (_NUMBERS, float, "X")):
        for name, text in names.items():
            parser.add_argument(
                f"--{name}", type=kind, metavar=metavar, help=f"{text} (default: as FitSettings has it)"
            )
    parser.add_argument("--ablation", choices=("contrastive",), help="also test the contrastive loss alone")
    parser.add_argument("--each", action="store_true", help="also a line for each data set held out")
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write the test to this file")


def run(args: argparse.Namespace) -> int:
    """Test on each data set held out, print the table, fit on all, write the entry.

    Raises:
        FileNotFoundError: if the zoo, weights or the folder of ``--json`` is missing.
        ValueError: if the zoo has fewer than three data sets, or its entries do not fit together.
    """
    from nnunet_iac.atomic import write_json
    from nnunet_iac.cli.arguments import check_folder
    from nnunet_iac.metaspace.evaluation import evaluate
    from nnunet_iac.metaspace.fitting import fit
    from nnunet_iac.metaspace.space_entry import to_entry
    from nnunet_iac.metaspace.zoo_tasks import read_tasks
    from nnunet_iac.zoo.store import Zoo

    check_folder("--json", args.json)
    settings = _settings(args)
    zoo = Zoo(args.zoo)
    tasks = read_tasks(zoo, configurations=args.configurations or ())
    print(f"{len(tasks)} tasks of {len({task.dataset for task in tasks})} data sets", flush=True)
    found = evaluate(tasks, settings, ablation=args.ablation is not None, listener=lambda text: print(text, flush=True))
    print(found.markdown(each=args.each))
    if args.json:
        write_json(args.json, found.to_dict())
    about, tensors = to_entry(fit(tasks, settings), report=found.to_dict())
    added = zoo.add(about, tensors, replace=True)
    print(f"{added.what} {added.entry.id}  {added.entry.name}")
    return 0


def _settings(args: argparse.Namespace) -> FitSettings:
    from nnunet_iac.metaspace.settings import FitSettings

    given = {item.name: getattr(args, item.name, None) for item in fields(FitSettings)}
    return FitSettings(**{name: value for name, value in given.items() if value is not None})
