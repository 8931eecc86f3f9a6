"""What a Dask worker does with a task: run a command as a process of its own, which ends when the worker dies."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG, LOCK = "task.log", "task.lock"
"""Files in a task's folder: what all its tries printed, and the lock that lets one try run at a time."""

POLL_S = 0.5
"""Seconds between two looks at whether somebody still wants the task."""


@dataclass(frozen=True)
class Command:
    """What a task runs.

    It may be killed at any moment and is then run again, so it must go on where it was stopped.

    Attributes:
        name: in words.
        words: arguments for the worker's own Python, such as ``("-m", "package.module", "argument")``.
        folder: absolute path, the same on all machines, for the log and the lock; made if it is not there.
    """

    name: str
    words: tuple[str, ...]
    folder: Path

    @property
    def log(self) -> Path:
        """What its tries printed, one after the other."""
        return self.folder / LOG


def run_command(command: Command, environments: Sequence[Mapping[str, str]] = ({},)) -> str | None:
    """Run a command on the worker that calls this; return None, or why it failed (status and last line).

    Everything that it started is killed if the worker dies or the task is cancelled.

    Args:
        command: what to run.
        environments: what to change in the worker's environment; workers that have numbers as names, as those of a
            ``LocalCluster`` do, take one each in turn, others the first one.

    Raises:
        InterruptedError: if the task was cancelled.
        OSError: if the folder cannot be written to.
    """
    name = getattr(_worker(), "name", None)
    environment = environments[name % len(environments) if isinstance(name, int) else 0]
    command.folder.mkdir(parents=True, exist_ok=True)
    with command.log.open("ab") as log:
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        log.write(f"--- {when}, {socket.gethostname()}: python {shlex.join(command.words)}\n".encode())
        log.flush()
        start = log.tell()
        status = _run_guarded(command, {**os.environ, **environment}, log.fileno())
    return f"{_words(status)}: {_last_line(command.log, start)}" if status else None


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the process that started a cluster of this machine: Dask calls this in its workers (preload)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_guarded(command: Command, environment: Mapping[str, str], log: int) -> int:
    guard = ["-m", "nnunet_iac.zoo.cluster_guard", str(command.folder / LOCK)]
    worker = _worker()
    key = worker and worker.get_current_task()
    process = subprocess.Popen(
        [sys.executable, *guard, sys.executable, *command.words],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    with process:  # closes its standard input, which ends it, and waits
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if worker and _is_cancelled(worker, key):
                    raise InterruptedError(f"{command.name}: cancelled") from None


def _worker() -> Any:
    """Return the worker that this runs on, None if it is none."""
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def _is_cancelled(worker: Any, key: object) -> bool:
    """Return whether nobody waits for a task any more, or its worker ends."""
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled" or worker.status.name in ("closing", "closed", "failed")


def _words(status: int) -> str:
    number = -status if status < 0 else status - 128
    return f"killed by signal {number}" if number > 0 else f"status {status}"


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 10_000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
