"""Trainings as processes of their own: finished ones are skipped, failed ones reported, several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from filelock import FileLock, Timeout

SUMMARY = Path("validation") / "summary.json"
"""What nnU-Net writes last into the folder of a fold: with it, the training is done."""

LOG, LOCK = "training_processes.log", "training_processes.lock"
"""Files in the folder of a fold: what the command printed, and the lock of the process that watches over it."""


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: in words.
        command: that trains and validates, and goes on where an earlier one was stopped.
        folder: of the fold.
    """

    name: str
    command: Sequence[str]
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether it is trained and validated."""
        return (self.folder / SUMMARY).is_file()

    @property
    def log(self) -> Path:
        """What the command printed, all attempts one after the other."""
        return self.folder / LOG


def run_trainings(
    trainings: Sequence[Training], *, gpus: Sequence[str | None], environment: Mapping[str, str]
) -> list[Training]:
    """Run what is not done, as many at a time as there are ``gpus``, and return those that failed.

    A training that another process runs with this function is left to it. When this process is interrupted, the
    commands and all that they started are ended, and no others are started.

    Args:
        trainings: in the order in which they start.
        gpus: ``CUDA_VISIBLE_DEVICES`` of each slot, None to leave the variable alone.
        environment: of the commands.

    Raises:
        FileNotFoundError: if the program of a command is not there.
    """
    slots = _Slots(gpus, environment)
    with ThreadPoolExecutor(len(gpus)) as pool:
        try:
            fine = list(pool.map(slots.run, trainings))
        except BaseException:
            slots.stop()
            raise
    return [training for training, is_fine in zip(trainings, fine, strict=True) if not is_fine]


class _Slots:
    def __init__(self, gpus: Sequence[str | None], environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._gpus: SimpleQueue[str | None] = SimpleQueue()
        for gpu in gpus:
            self._gpus.put(gpu)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, training: Training) -> bool:
        """Run a training unless another process is at it; return False if it failed."""
        training.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(str(training.folder / LOCK), timeout=0):
                return training.is_done or self._run(training)
        except Timeout:
            print(f"another process runs: {training.name}", flush=True)
            return True

    def stop(self) -> None:
        """End the commands with all that they started; start no others."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)

    def _run(self, training: Training) -> bool:
        gpu, started = self._gpus.get(), time.perf_counter()
        try:
            with training.log.open("ab") as log:
                process = self._start(training.command, gpu, log.fileno())
                status = process.wait()
        finally:
            self._gpus.put(gpu)
        with self._lock:
            self._running.discard(process)
        seconds = time.perf_counter() - started
        if training.is_done:
            print(f"done in {seconds:.0f} s: {training.name}", flush=True)
            return True
        how = "stopped" if self._stopped else "FAILED"
        words = f"{how} after {seconds:.0f} s with status {status}: {training.name}; see {training.log}"
        print(words, file=sys.stderr, flush=True)
        return False

    def _start(self, command: Sequence[str], gpu: str | None, log: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise InterruptedError("stopped before this training was started")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})},
                start_new_session=True,
            )
            self._running.add(process)
            return process
