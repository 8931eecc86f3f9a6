"""``nnunet-iac retrieve``: the network of a zoo that suits a data set, as plans and weights to train from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nnunet_iac.cli.arguments import add_device_argument, device_of, fold
from nnunet_iac.cli.fit_arguments import add_fit_arguments, fit_settings
from nnunet_iac.dataset_names import dataset_number

if TYPE_CHECKING:
    from nnunet_iac.nnunet.retrieval.retrieval_request import Request
    from nnunet_iac.nnunet.retrieval.retrieval_target import Target

HELP = "choose a network and its weights from a zoo for a data set (MedNNS), for nnUNetTrainerMedNNS"

SUFFIX = "_retrieved"

ORDERS = ("measured", "meta-space", "predicted-dice", "best-on-average", "largest", "nearest")
"""Those of :mod:`nnunet_iac.metaspace.order_choice`, written out: importing it takes seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the target, the zoo, the protocol, the limits and the meta-space."""
    parser.add_argument("-d", dest="dataset", required=True, help="target data set, id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans to derive from (default: %(default)s)")
    parser.add_argument("-f", dest="fold", type=fold, default=0, help="its training cases only, or all (default: 0)")
    parser.add_argument("--zoo", required=True, metavar="DIR", help="folder, or any URL that fsspec reads")
    parser.add_argument(
        "--protocol",
        choices=("T1", "T5", "T10"),
        default="T5",
        help="T1 takes the first candidate; T5 and T10 train the first 5 or 10 for an epoch (default: %(default)s)",
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        help="order of the candidates; measured: the one that served best when each data set of the zoo was held out, "
        "which takes up to 10 fits; meta-space: as MedNNS (default: measured, with --space meta-space)",
    )
    limits = parser.add_argument_group("limits", "measured on this machine, one patch at a time")
    limits.add_argument(
        "--max-params", type=float, metavar="N", help="parameters; counts in the choice of an order too"
    )
    limits.add_argument("--max-macs", type=float, metavar="N", help="multiply-adds")
    limits.add_argument("--max-latency-ms", type=float, metavar="MS", help="milliseconds of a forward pass")
    limits.add_argument("--max-memory-mb", type=float, metavar="MIB", help="MiB of weights and a forward pass")
    parser.add_argument(
        "--space",
        default="",
        metavar="ID",
        help="a meta-space of the zoo (zoo fit) instead of fitting one, to order candidates by; the target had no part "
        "in its fit",
    )
    add_fit_arguments(parser)
    parser.add_argument("--most", type=int, default=100, help="candidates to measure at most (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=250, help="steps of a candidate's epoch (default: 250)")
    parser.add_argument(
        "--share", type=float, default=0.3, help="training patients that judge candidates (default: 0.3)"
    )
    parser.add_argument("--anyway", action="store_true", help="retrieve even if no data set of the zoo is near")
    parser.add_argument("--patches", type=int, default=128, help="patches of the target to embed (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="seed of patches, weights and short trainings (default: 0)")
    add_device_argument(parser)
    parser.add_argument("-o", dest="output", metavar="NAME", help=f"name of the new plans (default: PLANS{SUFFIX})")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier retrieval of that name")


def run(args: argparse.Namespace) -> int:
    """Look at the target, retrieve, and say how to train.

    Raises:
        FileNotFoundError: if a data set or the zoo is missing.
        FileExistsError: if the plans exist, other than those of a retrieval under this name that was interrupted, and
            ``--overwrite`` was not given.
        TimeoutError: if another process retrieves under this name.
        ValueError: for bad arguments or plans, an empty zoo, a stored space that does not fit, or limits that nothing
            meets.
    """
    from nnunet_iac.metaspace.zoo_tasks import left_without, read_tasks
    from nnunet_iac.nnunet.files.run_state import alone_in
    from nnunet_iac.nnunet.retrieval.retrieval import retrieve
    from nnunet_iac.nnunet.retrieval.retrieval_target import fitting_tasks
    from nnunet_iac.nnunet.retrieval.retrieval_trainings import remove_trainings
    from nnunet_iac.zoo.store import Zoo

    def say(text: str) -> None:
        print(text, flush=True)

    request = _request(args)
    zoo = Zoo(args.zoo)
    tasks = left_without(read_tasks(zoo, skipped=say), args.without)
    target = _target(args)
    with alone_in(target.folder):
        if args.overwrite:
            remove_trainings(target.folder)
        record = retrieve(zoo, fitting_tasks(tasks, target, say), target, request, say)
    number = dataset_number(target.sample.name)
    trainer = "nnUNetTrainer" if record["outlier"] else "nnUNetTrainerMedNNS"
    say(f"wrote {target.plans_path} and {target.folder}")
    if record["outlier"]:
        say("to retrieve all the same, give --anyway and --overwrite")
    say(f"train with nnUNetv2_train {number} {args.configuration} FOLD -p {target.name} -tr {trainer}")
    return 0


def _request(args: argparse.Namespace) -> Request:
    from nnunet_iac.metaspace.chosen_space import SpaceWish
    from nnunet_iac.nnunet.retrieval.retrieval_request import Request
    from nnunet_iac.zoo.costs import Limits

    limits = Limits(args.max_params, args.max_macs, args.max_latency_ms, args.max_memory_mb)
    device = device_of(args.device)
    space = SpaceWish(fit_settings(args), args.space)
    return Request(args.protocol, limits, args.most, args.iterations, args.seed, device, args.anyway, space, args.order)


def _target(args: argparse.Namespace) -> Target:
    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.files.model_folder import RECORD
    from nnunet_iac.nnunet.files.plans import new_plans_path, plans_path, preprocessed_folder, read_plans
    from nnunet_iac.nnunet.retrieval.retrieval_target import retrieval_target
    from nnunet_iac.nnunet.retrieval.retrieved_start import is_retrieved
    from nnunet_iac.nnunet.retrieval.retrieved_trainer import retrieval_folder

    data = prepared_data(args.dataset, args.configuration, args.plans, fold=args.fold)
    name = args.output or f"{args.plans}{SUFFIX}"
    path = (new_plans_path if args.output else plans_path)(preprocessed_folder(args.dataset), name)
    if name == args.plans:
        raise ValueError(f"-o: expected another name than the plans to derive from, got {name!r}")
    folder = retrieval_folder(results_folder(), data.dataset, name, data.configuration)
    if path.exists() and not args.overwrite:
        # The record comes last: plans of a retrieval without one are those of one that was killed.
        if not is_retrieved(read_plans(path)):
            raise FileExistsError(
                f"-o: expected a new name, {path} exists, and no retrieval wrote it; choose another name, or give "
                "--overwrite to replace it"
            )
        if not folder.is_dir() or (folder / RECORD).is_file():
            raise FileExistsError(f"-o: expected a new name, {path} exists; choose another or give --overwrite")
    return retrieval_target(
        data,
        args.fold,
        name=name,
        plans_path=path,
        folder=folder,
        patches=args.patches,
        share=args.share,
        seed=args.seed,
        device=device_of(args.device),
    )
