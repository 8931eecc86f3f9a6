"""``nnunet-iac zoo audit``: does a supernet rank its sub-networks as they rank when each is trained alone?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_iac.cli.arguments import add_device_argument, device_of
from nnunet_iac.cli.zoo_build import add_folder_arguments, check_vacant

if TYPE_CHECKING:
    from nnunet_iac.nnunet.supernets.supernet_data import SupernetData
    from nnunet_iac.zoo.candidates_entries import Candidates

HELP = "train some candidates of a supernet alone and report how far its ranking of them is right"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the candidates, the budget of each training and where it works."""
    parser.add_argument("id", metavar="ENTRY", help="candidates of a supernet, or the supernet; or the start of its id")
    parser.add_argument("--networks", type=int, default=10, help="to train alone (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=50, help="of each (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=50, help="steps of an epoch (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of choice, weights and batches (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the record as JSON; the folder has it anyway")
    add_device_argument(parser)
    add_folder_arguments(parser, "supernet_audit__<plans>__<configuration>/<entry>")


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, write ``audit.json`` and print what follows from it.

    Raises:
        FileNotFoundError: if zoo, data set or its cases are missing.
        FileExistsError: if the folder has an audit, and neither ``--c`` nor ``--overwrite`` was given.
        ValueError: for bad arguments, or data that are not those of the entry.
        TimeoutError: if another process works in the folder.
        FloatingPointError: if a training diverges.
    """
    import torch

    from nnunet_iac.atomic import write_json
    from nnunet_iac.nnunet.files.run_state import alone_in, remove_files, remove_leftovers
    from nnunet_iac.nnunet.supernets.supernet_audit import FILES, RESULT, STATE, AuditPlan, SupernetAudit
    from nnunet_iac.nnunet.supernets.supernet_measure import PatchMeasure
    from nnunet_iac.zoo.candidates_entries import find_candidates
    from nnunet_iac.zoo.store import Zoo

    plan = AuditPlan(args.networks, args.epochs, args.iterations, args.learning_rate, args.seed)
    device = torch.device(device_of(args.device))
    candidates = find_candidates(Zoo(args.zoo), args.id)
    data, folder, known = _data(candidates), _folder(args, candidates), candidates.measured
    measure = PatchMeasure(data, int(known["patches"]), int(known["seed"]), device)
    audit = SupernetAudit(candidates, data, plan, measure, folder)
    check_vacant(args, folder, (STATE,))
    with alone_in(folder):
        if args.overwrite:
            remove_files(folder, FILES)
        remove_leftovers(folder, FILES)
        record = audit.run(lambda text: print(text, file=sys.stderr, flush=True))
        write_json(folder / RESULT, record)
    print(json.dumps(record, indent=4) if args.json else "\n".join(summary(record)))
    return 0


def summary(record: dict[str, Any]) -> list[str]:
    """Return the record in words."""
    fidelity, size = record["fidelity"], record["size_as_estimate"]
    plan = record["plan"]
    return [
        f"{fidelity['networks']} sub-networks trained alone, {plan['epochs']} x {plan['iterations']} steps each",
        f"Spearman of estimated and stand-alone Dice: {_correlation(fidelity['spearman'])}",
        f"Kendall:                                    {_correlation(fidelity['kendall'])}",
        f"Spearman of size and stand-alone Dice:      {_correlation(size['spearman'])}",
        f"regret of picking by the estimate: {100 * fidelity['regret']:.2f} points of Dice; by size "
        f"{100 * size['regret']:.2f}, at random {100 * fidelity['random_regret']:.2f}",
        fidelity["verdict"],
    ]


def _correlation(record: dict[str, float | None]) -> str:
    if record["value"] is None:
        return "undefined"
    return f"{record['value']:.3f} (95 % bootstrap interval {record['low']:.3f} to {record['high']:.3f})"


def _data(candidates: Candidates) -> SupernetData:
    from nnunet_iac.nnunet.files.plans import configuration_of
    from nnunet_iac.nnunet.supernets.supernet_data import supernet_data
    from nnunet_iac.nnunet.supernets.supernet_entries import check_same_data

    known, entry = candidates.data, candidates.entry
    data = supernet_data(
        known["dataset"],
        known["configuration"],
        known["plans"],
        fold=known["fold"],
        patch_size=known["patch_size"],
        batch_size=known["batch_size"],
        share=known["share"],
    )
    check_same_data(candidates, data.identity)
    if configuration_of(dict(entry.plans), entry.configuration)["architecture"] != data.target.architecture:
        raise ValueError(
            f"entry {entry.id}: expected the architecture that its supernet was built for in {known['plans']} of "
            f"{known['dataset']}, got another one; restore the plans, or build the supernet again"
        )
    return data


def _folder(args: argparse.Namespace, candidates: Candidates) -> Path:
    from nnunet_iac.nnunet.files.hosts import results_folder

    if args.output is not None:
        return Path(args.output)
    known = candidates.data  # those of the data set here, as was checked
    names = [str(known[name]) for name in ("dataset", "plans", "configuration")]
    if strange := [name for name in names if name != Path(name).name or name.startswith(".")]:
        raise ValueError(f"entry {candidates.entry.id}: expected plain names of data set and plans, got {strange}")
    return results_folder() / names[0] / f"supernet_audit__{names[1]}__{names[2]}" / candidates.entry.id
