"""Commands as tasks of a Dask cluster (:mod:`nnunet_iac.zoo.cluster_client`): progress, retries, a report.

A task that fails is tried again. One whose worker dies is run again on another worker by Dask, a number of times that
the scheduler's ``distributed.scheduler.allowed-failures`` says; then it counts as failed once. Nothing of either stops
the other tasks.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nnunet_iac.zoo.cluster_client import check_count, distributed
from nnunet_iac.zoo.cluster_worker import Command, run_command

if TYPE_CHECKING:
    from distributed import Client, Future


@dataclass(frozen=True)
class Failure:
    """A task that could not be done.

    Attributes:
        command: of the task.
        reason: of its last try.
    """

    command: Command
    reason: str


def run_commands(
    client: Client,
    commands: Sequence[Command],
    *,
    retries: int = 2,
    environments: Sequence[Mapping[str, str]] = ({},),
    finish: Callable[[Command], object] = lambda command: None,
    say: Callable[[str], object] | None = None,
) -> list[Failure]:
    """Run commands on a cluster behind a bar that counts and names those that ended; return those that failed.

    When this is interrupted, the tasks that run are ended and no others are started.

    Args:
        client: of the cluster.
        commands: in the order in which they start.
        retries: how often each is tried again when it fails.
        environments: see :func:`~nnunet_iac.zoo.cluster_worker.run_command`.
        finish: called here, in this process, after each command that succeeded, one at a time; if it raises an error
            that a user can mend, the task has failed.
        say: takes the lines beside the bar; None prints them.

    Raises:
        ValueError: if ``retries`` is negative.
    """
    check_count("--retries", retries, 0)
    say = say or _say
    if not client.scheduler_info()["workers"]:
        say(f"{client.scheduler.address} has no workers yet: tasks wait for them")
    tasks = _Tasks(client, environments)
    failures = []
    ended = distributed().as_completed([tasks.submit(command) for command in commands])
    try:
        with tqdm(total=len(commands), unit="task", disable=None) as bar:
            for future in ended:
                command, attempt, reason = tasks.take(future)
                reason = reason or _finish(finish, command)
                if reason is not None and attempt <= retries and not tasks.are_lost:
                    say(f"failed, is tried again ({attempt} of {retries}): {command.name}: {reason}; see {command.log}")
                    ended.add(tasks.submit(command, attempt + 1))
                    continue
                bar.update()
                bar.set_postfix_str(command.name)
                if reason is not None:
                    failures.append(Failure(command, reason))
                say(f"FAILED: {command.name}: {reason}; see {command.log}" if reason else f"done: {command.name}")
    finally:
        tasks.cancel()
    return failures


class _Tasks:
    """Commands on their way, by their futures."""

    def __init__(self, client: Client, environments: Sequence[Mapping[str, str]]) -> None:
        self._client, self._environments = client, environments
        self._running: dict[Future, tuple[Command, int]] = {}
        self.are_lost = False

    def submit(self, command: Command, attempt: int = 1) -> Future:
        key = f"{command.name} {uuid.uuid4().hex[:8]}"
        future = self._client.submit(run_command, command, self._environments, key=key)
        self._running[future] = (command, attempt)
        return future

    def take(self, future: Future) -> tuple[Command, int, str | None]:
        """Return command and attempt of a task that ended, and why it failed if it did."""
        command, attempt = self._running.pop(future)
        reason = self._reason(future)
        future.release()  # or Dask would do it again if the worker that keeps the result died
        return command, attempt, reason

    def cancel(self) -> None:
        """Take back all that did not end."""
        if self._running and not self.are_lost:
            self._client.cancel(list(self._running), force=True)

    def _reason(self, future: Future) -> str | None:
        if future.status == "error":
            error: Any = future.exception()
            if isinstance(error, distributed().KilledWorker):
                return f"{error.allowed_failures + 1} workers died under it, the last was {error.last_worker.address}"
            return f"{type(error).__name__}: {error}"
        try:
            reason: str | None = future.result()
        except distributed().CancelledError:
            self.are_lost = True
            return "the scheduler is gone, or somebody cancelled the task there"
        return reason


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _finish(finish: Callable[[Command], object], command: Command) -> str | None:
    try:
        finish(command)
    except (ValueError, OSError) as error:
        return str(error)
    return None
