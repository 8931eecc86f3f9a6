"""Run a program that does not outlive whoever started it: ``python -m nnunet_iac.zoo.cluster_guard LOCK PROGRAM ...``.

The guard's standard input is a pipe that its starter holds open. It closes when the starter closes it or dies, however
it dies; then the guard kills its process group: itself, the program and all that it started. The starter must give it
a session of its own. The lock is a file that the guard and the program hold open: it is free only when both are gone,
so a second guard waits for the first one's program. POSIX only (``flock``, process groups).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Wait for the lock, run the program and return its status (128 plus the number of the signal that killed it).

    Args:
        argv: file of the lock, program and its arguments.

    Raises:
        OSError: if the lock cannot be made or the program cannot be started.
    """
    lock, *command = argv
    threading.Thread(target=_die_with_the_starter, daemon=True).start()
    handle = _locked(lock)
    status = subprocess.call(command, stdin=subprocess.DEVNULL, pass_fds=(handle,))
    return status if status >= 0 else 128 - status


def _die_with_the_starter() -> None:
    while os.read(0, 1024):  # empty when the other end is closed
        pass
    os.killpg(0, signal.SIGKILL)


def _locked(path: str) -> int:
    """Return the handle of a locked file; the lock lasts as long as any process has the handle open."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that holds {path}", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
