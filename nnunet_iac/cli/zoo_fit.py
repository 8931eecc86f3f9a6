"""``nnunet-iac zoo fit``: learn from a zoo which sub-network suits which data set, and say how well that works.

The entry that it writes is what ``nnunet-iac retrieve --space ID`` takes, for targets that had no part in the fit.
Without ``--space`` a retrieval fits its own, without what the zoo knows of the target.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from nnunet_iac.cli.arguments import one_line, output_path
from nnunet_iac.cli.fit_arguments import add_fit_arguments, fit_settings

HELP = "fit the meta-space on all data sets of a zoo, after testing it on each data set held out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to fit and how; ``--zoo`` is declared for all actions of ``nnunet-iac zoo``."""
    parser.add_argument(
        "-c", dest="configurations", action="append", metavar="CONFIGURATION", help="only of these plans configurations"
    )
    add_fit_arguments(parser, seed=("--seed", "--fit-seed"))
    parser.add_argument("--ablation", choices=("contrastive",), help="also test the contrastive loss alone")
    parser.add_argument("--each", action="store_true", help="also a line for each data set held out")
    parser.add_argument("--licence", type=one_line, metavar="TEXT", help="of the entry, such as CC-BY-4.0")
    parser.add_argument("--json", type=output_path, metavar="FILE", help="write the test to this file")


def run(args: argparse.Namespace) -> int:
    """Test on each data set held out, print the tables, fit on all, write the entry.

    Raises:
        OSError: if the zoo cannot be written to; nothing was computed then.
        FileNotFoundError: if the zoo, weights or the folder of ``--json`` is missing.
        ValueError: if the zoo has fewer than three data sets, its entries do not fit together, or it is not in a
            folder.
    """
    from nnunet_iac.atomic import write_json
    from nnunet_iac.cli.arguments import check_folder
    from nnunet_iac.metaspace.evaluation import evaluate
    from nnunet_iac.metaspace.fitting import fit
    from nnunet_iac.metaspace.order_choice import with_choice
    from nnunet_iac.metaspace.retrieval_evaluation import evaluate_retrieval
    from nnunet_iac.metaspace.space_entry import to_entry
    from nnunet_iac.metaspace.zoo_tasks import left_without, read_tasks
    from nnunet_iac.zoo.store import Zoo
    from nnunet_iac.zoo.writable import check_writable

    check_folder("--json", args.json)
    settings = fit_settings(args)
    zoo = Zoo(args.zoo)
    check_writable(zoo)
    tasks = left_without(read_tasks(zoo, configurations=args.configurations or ()), args.without)
    print(f"{len(tasks)} tasks of {len({task.dataset for task in tasks})} data sets", flush=True)
    found = evaluate(tasks, settings, ablation=args.ablation is not None, listener=_say)
    offered = with_choice(evaluate_retrieval(tasks, settings, listener=_say), tasks, settings, listener=_say)
    print("The held-out data set's own networks in order:", found.markdown(each=args.each), sep="\n\n")
    print(
        "\nWhat the other data sets offer it, in order, as nnunet-iac retrieve does:",
        offered.markdown(each=args.each),
        sep="\n\n",
    )
    report = {**found.to_dict(), "retrieval": offered.to_dict()}
    if args.json:
        write_json(args.json, report)
    about, tensors = to_entry(fit(tasks, settings), report=report)
    added = zoo.add(replace(about, licence=args.licence), tensors, replace=True)
    print(f"{added.what} {added.entry.id}  {added.entry.name}")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
