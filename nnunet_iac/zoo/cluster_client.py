"""Where a zoo's tasks run: a Dask cluster of this machine, or any other by the address of its scheduler.

SLURM, LSF, PBS and others: start a cluster with dask-jobqueue (``SLURMCluster(...).scale(jobs=8)``), Kubernetes: with
dask-kubernetes (``KubeCluster(...)``), several GPUs of a machine: with dask-cuda, by hand: ``dask scheduler`` and
``dask worker ADDRESS --nthreads 1``; then give the scheduler's address. Workers need this package, one thread each
(a task is a process of its own), the same folders under the same paths, and ``OMP_NUM_THREADS`` as it suits their
machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from nnunet_iac.json_files import read_json
from nnunet_iac.zoo.cluster_worker import dask_setup

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 15
"""Seconds that a scheduler may take to answer."""

DEATHS = 3
"""Workers of a cluster of this machine that may die under a task before the task is blamed, at least."""


def distributed() -> ModuleType:
    """Return the library.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ValueError(
            f'cluster: expected dask.distributed, it cannot be imported ({error}); pip install "nnunet-iac[cluster]"'
        ) from error
    return distributed


def check_count(argument: str, value: int, least: int) -> None:
    """Check a number.

    Raises:
        ValueError: if it is below ``least``.
    """
    if value < least:
        raise ValueError(f"{argument}: expected at least {least}, got {value}")


def local_environments(workers: int, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return what to change in the environments of workers on this machine.

    They share its cores (unless ``OMP_NUM_THREADS`` is set: then all have that) and take its GPUs in turn.

    Args:
        workers: how many.
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them.

    Example:
        >>> [one["CUDA_VISIBLE_DEVICES"] for one in local_environments(3, ["0", "1"])]
        ['0', '1', '0']
    """
    from dask.system import CPU_COUNT

    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, CPU_COUNT // workers))
    turns = [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {} for number in range(workers)]
    return [{"OMP_NUM_THREADS": threads, **turn} for turn in turns]


@contextmanager
def local_client(workers: int, *, retries: int = 2) -> Iterator[Client]:
    """Start a cluster of processes on this machine, one thread each, without dashboard; it ends with the block.

    Args:
        workers: how many.
        retries: of the tasks, so that as many deaths of workers are forgiven.

    Raises:
        ValueError: if there is no worker, or Dask is not installed.
    """
    check_count("--workers", workers, 1)
    library = distributed()
    import dask

    settings = {
        "distributed.scheduler.allowed-failures": max(DEATHS, retries),
        "distributed.worker.preload": [dask_setup.__module__],
    }
    with dask.config.set(settings), tempfile.TemporaryDirectory(prefix="nnunet-iac-dask.") as scratch:
        cluster = library.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # a task's memory is that of its own process, which Dask does not see
            dashboard_address=None,
            worker_dashboard_address=None,
            local_directory=scratch,
        )
        with cluster, library.Client(cluster) as client:
            yield client


@contextmanager
def remote_client(scheduler: str | None = None, scheduler_file: Path | None = None) -> Iterator[Client]:
    """Connect to a scheduler, by its address or the file that it wrote.

    Raises:
        ValueError: if Dask is not installed, or the address or file is not what it should be.
        FileNotFoundError: if there is no such file.
        ConnectionError: if nobody answers.
    """
    library = distributed()
    address = scheduler if scheduler_file is None else _address_in(scheduler_file)
    try:
        client = library.Client(address, timeout=CONNECT_S)
    except OSError as error:
        raise ConnectionError(
            f"--scheduler: expected a Dask scheduler, {address} did not answer within {CONNECT_S} s; start one (dask "
            "scheduler, dask-jobqueue, dask-kubernetes) and give its address, such as tcp://host:8786"
        ) from error
    except ValueError as error:
        raise ValueError(f"--scheduler: expected an address such as tcp://host:8786, got {address}: {error}") from error
    with client:
        yield client


def _address_in(path: Path) -> str:
    """Return the address in the file that a scheduler wrote."""
    if not path.is_file():
        raise FileNotFoundError(
            f"--scheduler-file: expected the file that dask scheduler --scheduler-file writes, {path} is none"
        )
    try:
        return str(read_json(path)["address"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--scheduler-file: expected the address of a scheduler in it, {path} has none ({error!r}); it is the file "
            "that dask scheduler --scheduler-file writes"
        ) from error
