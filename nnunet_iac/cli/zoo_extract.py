"""``nnunet-iac zoo extract``: a network of the zoo, or a sub-network of a supernet, as a checkpoint of nnU-Net."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import output_path

if TYPE_CHECKING:
    from nnunet_iac.zoo.configuration import SubnetConfiguration
    from nnunet_iac.zoo.entry import Entry
    from nnunet_iac.zoo.subnetwork import Subnetwork

HELP = "write an entry as a checkpoint of nnU-Net, for -pretrained_weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the entry, the output, the target and which sub-network."""
    parser.add_argument("id", metavar="ID", help="or the start of it")
    parser.add_argument("-o", dest="output", required=True, type=output_path, metavar="FILE", help="checkpoint (.pth)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("-d", dest="dataset", help="check that it can start the training of this data set")
    parser.add_argument("-c", dest="configuration", help="of that data set (default: the entry's)")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="of that data set (default: %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--candidate", type=int, metavar="N", help="of a supernet: its sub-network of this number")
    which.add_argument(
        "--configuration", dest="subnetwork", metavar="JSON", help="of a supernet: the sub-network with these depths"
    )
    parser.add_argument(
        "--plans-file",
        type=output_path,
        metavar="FILE",
        help="write the sub-network's plans too (.json, its name is theirs)",
    )


def run(args: argparse.Namespace) -> int:
    """Write an entry as a checkpoint, after checking it against a target if one is given.

    Raises:
        FileNotFoundError: if the zoo or a folder is missing.
        FileExistsError: if an output exists.
        ValueError: if the entry is damaged, has no such sub-network, or does not fit the target.
    """
    if args.candidate is not None or args.subnetwork is not None:
        return _extract_subnetwork(args)
    from nnunet_iac.nnunet.files.weights import read_weight_target
    from nnunet_iac.nnunet.zoo_entries.zoo_network import check_starts, entry_network, left_out, write_network
    from nnunet_iac.zoo.store import Zoo

    if args.plans_file:
        raise ValueError("--plans-file: expected a sub-network of a supernet; name it with --candidate")
    _check_output(args.output, args.overwrite)
    zoo = Zoo(args.zoo)
    entry = zoo.entry(args.id)
    tensors = zoo.read_weights(entry)
    network = entry_network(entry, tensors)
    if args.dataset:
        target = read_weight_target(args.dataset, args.configuration or entry.configuration, args.plans)
        check_starts(network, entry, target)
    write_network(entry, network, args.output)
    print(f"wrote {args.output}: {entry.name}")
    if cells := left_out(network, tensors):
        print(
            f"host only: {len(cells)} tensors of cells are left out; a search starts from them with transfer.zoo and "
            "nnUNetTrainerIACTransfer"
        )
    print(
        f"train with nnUNetv2_train DATASET {entry.configuration} FOLD -pretrained_weights {args.output} under plans "
        "with the same architecture (nnU-Net starts segmentation layers anew), or fit it to other plans with "
        "nnunet-iac transfer --from"
    )
    return 0


def _extract_subnetwork(args: argparse.Namespace) -> int:
    """Write a sub-network as a checkpoint of nnU-Net whose plans have its architecture."""
    from nnunet_iac.nnunet.files.weights import read_weight_target, write_weights
    from nnunet_iac.nnunet.supernets.supernet_entries import extract_subnetwork, subnetwork_target
    from nnunet_iac.nnunet.zoo_entries.zoo_network import check_starts
    from nnunet_iac.zoo.store import Zoo

    _check_output(args.output, args.overwrite)
    _check_plans_file(args.plans_file, args.overwrite)
    entry, subnetwork = extract_subnetwork(
        Zoo(args.zoo), args.id, candidate=args.candidate, configuration=_configuration(args.subnetwork)
    )
    if args.dataset:
        wanted = read_weight_target(args.dataset, args.configuration or entry.configuration, args.plans)
        check_starts(subnetwork.network, entry, wanted)
    _recalibrate(entry, subnetwork)
    target = subnetwork_target(entry, subnetwork, args.plans_file.stem if args.plans_file else None)
    words = {"zoo_entry": entry.id, "subnetwork": subnetwork.configuration.to_dict(), **entry.provenance}
    write_weights(args.output, subnetwork.network, target, words, plans_file=args.plans_file)
    print(f"wrote {args.output}: a sub-network of {entry.name}, {json.dumps(subnetwork.configuration.to_dict())}")
    _say_how_to_train(args, entry.configuration)
    return 0


def _recalibrate(entry: Entry, subnetwork: Subnetwork) -> None:
    """Recalibrate batch normalisation where the source's data are here; else say what the statistics are."""
    from nnunet_iac.nnunet.supernets.supernet_entries import recalibrate_at_home

    try:
        if layers := recalibrate_at_home(entry, subnetwork.network):
            print(f"{layers} layers of batch normalisation recalibrated on training cases of {entry.dataset}")
    except (ValueError, OSError, NotImplementedError) as error:
        print(
            f"WARNING: its running statistics are the largest network's ({error}); train it before it predicts",
            file=sys.stderr,
        )


def _configuration(text: str | None) -> SubnetConfiguration | None:
    from nnunet_iac.zoo.configuration import SubnetConfiguration

    if text is None:
        return None
    try:
        return SubnetConfiguration.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--configuration: expected JSON such as nnunet-iac zoo show --json has in facts, got {text!r} ({error})"
        ) from error


def _say_how_to_train(args: argparse.Namespace, configuration: str) -> None:
    if args.plans_file:
        name = args.plans_file.stem
        print(
            f"wrote {args.plans_file}: put it into the folder of the preprocessed data set, and train with "
            f"nnUNetv2_train DATASET {configuration} FOLD -p {name} -pretrained_weights {args.output}"
        )
    else:
        print("its plans are in the checkpoint; --plans-file writes them as a file to train under")


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix != ".pth":
        raise ValueError(f"-o: expected a file name that ends in .pth, got {output.name!r}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"-o: expected an existing folder, {output.parent} is none; make it first")
    if output.is_dir():
        raise ValueError(f"-o: expected a file to write, {output} is a folder; choose another name")
    if output.exists() and not overwrite:
        raise FileExistsError(f"-o: expected a new name, {output} exists; choose another or give --overwrite")


def _check_plans_file(path: Path | None, overwrite: bool) -> None:
    if path is None:
        return
    if path.suffix != ".json":
        raise ValueError(f"--plans-file: expected a file name that ends in .json, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--plans-file: expected an existing folder, {path.parent} is none; make it first")
    if path.is_dir():
        raise ValueError(f"--plans-file: expected a file to write, {path} is a folder; choose another name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"--plans-file: expected a new name, {path} exists; choose another or give --overwrite")
