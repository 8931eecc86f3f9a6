"""``nnunet-iac zoo build-all``: ``zoo build`` for data sets x folds on Dask, on this machine or on a cluster.

Each (data set, fold) is one task that runs ``nnunet-iac zoo build --c``. SLURM, LSF, PBS, Kubernetes: start a scheduler
with workers (one thread each) with dask-jobqueue or dask-kubernetes and give its address; see
:mod:`nnunet_iac.zoo.cluster_client`. After any interruption give the same command again: what is in the zoo is not
repeated, what was begun is gone on with.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_iac.cli.arguments import add_device_argument, device_of, fold
from nnunet_iac.cli.zoo_build import add_build_arguments, add_folder_arguments, build_words, prepared_build

if TYPE_CHECKING:
    from distributed import Client

    from nnunet_iac.nnunet.supernets.supernet_tasks import BuildTask
    from nnunet_iac.zoo.cluster import Failure
    from nnunet_iac.zoo.store import Zoo

HELP = "zoo build for several data sets and folds, in parallel on this machine or on a Dask cluster"

EPILOG = (
    "Builds that are in the zoo are not repeated, others go on where they were stopped: give the same command again. "
    "SLURM, LSF, PBS: start workers with dask-jobqueue; Kubernetes: with dask-kubernetes; several machines by hand: "
    "dask scheduler, dask worker ADDRESS --nthreads 1; then give --scheduler. Workers need this package and the same "
    'folders. Needs pip install "nnunet-iac[cluster]".'
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare data sets, folds, the budget of each build, and where builds run."""
    parser.epilog = EPILOG
    parser.add_argument("-d", dest="datasets", nargs="+", required=True, metavar="DATASET", help="ids or names")
    parser.add_argument("-f", dest="folds", nargs="+", type=fold, default=[0], metavar="F", help="folds (default: 0)")
    add_build_arguments(parser)
    add_device_argument(parser)
    add_folder_arguments(parser, "DATASET/supernet__<plans>__<configuration>/fold_<F>")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="N", help="processes here (default: one, or one for each GPU)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="address of a Dask scheduler, such as tcp://host:8786")
    where.add_argument("--scheduler-file", type=Path, metavar="FILE", help="file that the Dask scheduler wrote")
    parser.add_argument("--retries", type=int, default=2, help="of each build that fails (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Check everything, run what is not in the zoo yet, and say what failed.

    Raises:
        ValueError: for whatever is wrong with the arguments, all of it together; nothing was started then.
        TimeoutError: if another process works in a folder that is to be started anew.
    """
    from nnunet_iac.nnunet.supernets.supernet_entries import writable_zoo

    tasks = _checked(args)
    zoo = writable_zoo(args.zoo)
    left = [task for task in tasks if not task.entries_in(zoo)]
    for task in tasks:
        if task not in left:
            print(f"done before: {task.name}", flush=True)
            task.add_licence(zoo)
    if args.overwrite:
        for task in left:
            task.start_anew()
    try:
        failures = _run(args, left, zoo) if left else []
    except KeyboardInterrupt:
        again = ", but without --overwrite" if args.overwrite else ""
        print(f"stopped; nothing is lost: to go on give the same command again{again}", file=sys.stderr)
        return INTERRUPTED
    print(f"{len(tasks) - len(failures)} of {len(tasks)} builds are in {args.zoo}", flush=True)
    if failures:
        lines = [f"  {one.command.name}: {one.reason}; see {one.command.log}" for one in failures]
        print("\n".join([f"{len(failures)} FAILED; give the same command to try again:", *lines]), file=sys.stderr)
    return 1 if failures else 0


def _run(args: argparse.Namespace, tasks: Sequence[BuildTask], zoo: Zoo) -> list[Failure]:
    from nnunet_iac.zoo.cluster import run_commands

    by_name = {task.name: task for task in tasks}
    workers, environments = _workers(args, len(tasks))
    with _client(args, workers) as client:
        return run_commands(
            client,
            [task.command for task in tasks],
            retries=args.retries,
            environments=environments,
            finish=lambda command: by_name[command.name].collect(zoo),
        )


def _client(args: argparse.Namespace, workers: int) -> AbstractContextManager[Client]:
    from nnunet_iac.zoo.cluster_client import local_client, remote_client

    if _is_remote(args):
        return remote_client(args.scheduler, args.scheduler_file)
    return local_client(workers, retries=args.retries)


def _is_remote(args: argparse.Namespace) -> bool:
    return args.scheduler is not None or args.scheduler_file is not None


def _workers(args: argparse.Namespace, tasks: int) -> tuple[int, list[dict[str, str]]]:
    """Return how many workers to start here, and what to change in the environment of each."""
    known = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    if _is_remote(args):
        return 0, [known]
    from nnunet_iac.zoo.cluster_client import local_environments

    gpus = _gpus() if device_of(args.device) == "cuda" else []
    workers = min(tasks, args.workers or max(1, len(gpus)))
    return workers, [{**known, **one} for one in local_environments(workers, gpus)]


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(i) for i in range(torch.cuda.device_count())] if visible is None else visible.split(",")


# --- what is checked before anything starts -------------------------------------------------------------------------


def _checked(args: argparse.Namespace) -> list[BuildTask]:
    """Return the tasks, each once.

    Raises:
        ValueError: naming all problems.
    """
    from nnunet_iac.zoo.store import Zoo

    problems = [text for check in _checks(args) for text in _problem(check)]
    folder = Zoo(args.zoo).place.folder
    zoo_problems = _problem(lambda: _check_zoo(args.zoo)) if folder is None or folder.exists() else []
    known = None if zoo_problems or folder is None or not folder.exists() else Zoo(folder)
    tasks: dict[Path, BuildTask] = {}
    faults: dict[str, list[str]] = {}
    builds = list(product(args.datasets, args.folds))
    for dataset, number in _shown(builds):
        try:
            task = _task(args, dataset, number, known)
            tasks[task.folder] = task
        except (ValueError, TypeError, OSError, NotImplementedError) as error:
            faults.setdefault(str(error), []).append(f"-d {dataset} -f {number}")
    # What is wrong with all of them is said once.
    words = [text if len(of) == len(builds) else f"{', '.join(of)}: {text}" for text, of in faults.items()]
    problems += [*zoo_problems, *words]
    if problems:
        raise ValueError(f"{len(problems)} problem(s), nothing was started:\n" + "\n".join(problems))
    return list(tasks.values())


def _task(args: argparse.Namespace, dataset: str, number: int | str, zoo: Zoo | None) -> BuildTask:
    """Return the task of one build after all the checks that ``zoo build`` would make.

    Raises:
        ValueError: as ``zoo build`` does, or if what an earlier run left is of another build.
        OSError: as ``zoo build`` does.
        NotImplementedError: as ``zoo build`` does.
    """
    from nnunet_iac.nnunet.files.plans import preprocessed_folder
    from nnunet_iac.nnunet.supernets.supernet_entries import build_folder
    from nnunet_iac.nnunet.supernets.supernet_tasks import build_task, check_state

    folder = args.output
    if folder is not None:
        name = preprocessed_folder(dataset).name
        folder = build_folder(folder, name, args.plans, args.configuration, number)
    # The CPU checks as well as the device, which may be one of another machine.
    one: dict[str, Any] = {"dataset": dataset, "fold": number, "output": folder, "host": None, "device": "cpu"}
    build = prepared_build(argparse.Namespace(**{**vars(args), **one, "resume": True}))
    name = build.data.training.dataset
    task = build_task(build, ["-d", name, "-f", str(number), *build_words(args)], args.licence)
    if not args.overwrite and not (zoo and task.entries_in(zoo)):
        check_state(build)
    return task


def _checks(args: argparse.Namespace) -> Iterator[Callable[[], object]]:
    from nnunet_iac.zoo.cluster_client import check_count, distributed, remote_client

    def connect() -> None:
        with remote_client(args.scheduler, args.scheduler_file):
            pass

    yield lambda: check_count("--retries", args.retries, 0)
    if _is_remote(args):
        yield connect
        return
    yield distributed
    yield lambda: device_of(args.device)
    if args.workers is not None:
        yield lambda: check_count("--workers", args.workers, 1)


def _problem(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (ValueError, OSError) as error:
        return [str(error)]
    return []


def _check_zoo(zoo: str) -> None:
    from nnunet_iac.nnunet.supernets.supernet_entries import writable_zoo

    writable_zoo(zoo)


def _shown(builds: list[tuple[str, int | str]]) -> Iterator[tuple[str, int | str]]:
    from tqdm import tqdm

    yield from tqdm(builds, desc="checking", leave=False, disable=None)
