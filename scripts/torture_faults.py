"""Hurt one run of a command: kills, failing file systems, moved clocks; and say how the run took it."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torture_commands import Victim, environment

KILLS = ("killed in a write", "killed during a write", "killed at a moment")
REFUSALS = {
    "disk full": errno.ENOSPC,
    "disk quota": errno.EDQUOT,
    "read-only": errno.EROFS,
    "permission denied": errno.EACCES,
    "input/output error": errno.EIO,
}
FAULTS = (*REFUSALS, "file size limit", "full file system", "folder disappears", "clock jumps")
PATIENCE = 300.0
"""Seconds without an end after which a run counts as hanging."""

FAREWELL = 30.0
"""Seconds that processes have to notice that the one that started them was killed: one that is still importing torch on
a busy machine notices nothing for ten."""


@dataclass(frozen=True)
class Fault:
    """What is done to a run.

    Attributes:
        kind: of its row in the table.
        signal: of a kill.
        order: for the hook; see ``torture_hook/sitecustomize.py``.
        seconds: of a kill or a disappearance, after the first write.
        limit: of the file size, in bytes.
        space: of the file system that holds what the command writes, in bytes.
    """

    kind: str
    signal: int | None = None
    order: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    limit: int | None = None
    space: int | None = None


@dataclass(frozen=True)
class Attempt:
    """How a run took it.

    Attributes:
        status: of the process; negative is a signal.
        finished: whether it succeeded, and what it made is where it belongs.
        output: what it printed.
        hit: whether the fault came before the end.
        hung: whether it had to be ended.
        left_behind: processes that it started and that outlived it by :data:`FAREWELL`.
        events: writes that were counted.
        seconds: from its first write to its end.
    """

    status: int
    finished: bool
    output: str
    hit: bool
    hung: bool
    left_behind: int
    events: int
    seconds: float


def draw_kill(kind: str, draw: np.random.Generator, events: int, seconds: float) -> Fault:
    """Draw a kill within ``events`` writes or ``seconds`` of work."""
    number = int(draw.choice([signal.SIGKILL, signal.SIGTERM]))
    if kind == "killed at a moment":
        return Fault(kind, number, {"slow": float(draw.choice([0.0, 0.02]))}, seconds=float(draw.uniform(0, seconds)))
    delay = 0.0 if kind == "killed in a write" else float(draw.uniform(0, 0.05))
    at = int(draw.integers(1, events + 1))
    return Fault(kind, number, {"do": "kill", "at": at, "signal": number, "delay": delay})


def draw_fault(kind: str, draw: np.random.Generator, events: int, seconds: float) -> Fault:
    """Draw a fault that is no kill."""
    at = int(draw.integers(1, events + 1))
    if kind in REFUSALS:
        return Fault(kind, order={"do": "raise", "at": at, "errno": REFUSALS[kind]})
    if kind == "clock jumps":
        return Fault(kind, order={"do": "clock", "at": at, "jump": float(draw.choice([-1, 1]) * draw.uniform(60, 1e8))})
    if kind == "folder disappears":
        return Fault(kind, seconds=float(draw.uniform(0, seconds)))
    size = int(2 ** draw.uniform(9, 17))
    return Fault(kind, limit=size) if kind == "file size limit" else Fault(kind, space=8 * size + 65536)


def run(victim: Victim, base: Path, fault: Fault | None, *, resume: bool, name: str = "", loaders: int = 0) -> Attempt:
    """Run a command once and wait for its end.

    Args:
        victim: the command.
        base: work folder.
        fault: None for none.
        resume: go on, as a user would.
        name: tells two that run at once apart.
        loaders: processes that draw batches (``nnUNet_n_proc_DA``).
    """
    log = base.parent / f"{base.name}{name}.events"
    log.unlink(missing_ok=True)
    order = {"log": str(log), "under": str(base), **(fault.order if fault else {})}
    words = shlex.split((victim.resume if resume else victim.start).format(base=base))
    with open(base.parent / f"{base.name}{name}.output", "w+b") as output, mounted(base / victim.fills, fault):
        process = subprocess.Popen(
            words,
            cwd=base,
            env=environment(base, TORTURE=json.dumps(order), nnUNet_n_proc_DA=str(loaders)),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_limited(fault),
        )
        acted, hung = _watch(process, log, base / victim.fills, fault)
        left = _left_behind(process.pid)
        output.seek(0)
        text = output.read().decode(errors="replace")
    lines = log.read_text().splitlines() if log.is_file() else []
    events = [line for line in lines if line != "acts"]
    limited = fault is not None and (fault.limit or fault.space) is not None
    hit = acted or "acts" in lines or (limited and process.returncode != 0)
    seconds = time.time() - float(events[0].split()[1]) if events else 0.0
    vanished = acted and fault is not None and fault.signal is None
    finished = process.returncode == 0 and not vanished
    return Attempt(process.returncode, finished, text, hit, hung, left, len(events), seconds)


def announced(victim: Victim, output: str) -> dict[str, int]:
    """Return how many epochs the command said were done, by phase (nnU-Net names an epoch when it begins)."""
    found: dict[str, int] = {}
    for pattern, phase in victim.announced:
        numbers = [int(next(g for g in m.groups() if g)) for m in re.finditer(pattern, output, re.MULTILINE)]
        if numbers:
            found[phase] = max(numbers)
    return found


class mounted:
    """Hold a small file system over a folder while a run goes on; then copy what it held back."""

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        self.folder, self.space = folder, fault.space if fault else None

    def __enter__(self) -> None:
        if self.space is None:
            return
        self.folder.mkdir(exist_ok=True)
        aside = self.folder.with_name("aside")
        self.folder.rename(aside)
        self.folder.mkdir()
        used = sum(p.stat().st_size for p in aside.rglob("*") if p.is_file())
        _command("mount", "-t", "tmpfs", "-o", f"size={used + self.space}", "tmpfs", str(self.folder))
        _command("cp", "-a", f"{aside}/.", str(self.folder))

    def __exit__(self, *_: object) -> None:
        if self.space is None:
            return
        aside = self.folder.with_name("aside")
        _command("rm", "-rf", str(aside))
        _command("cp", "-a", str(self.folder), str(aside))
        _command("umount", "-l", str(self.folder))
        self.folder.rmdir()
        aside.rename(self.folder)


def _command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Return whether small file systems can be mounted here (by root, and not in every container)."""
    place = folder / "mount_trial"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False).returncode
    if done == 0:
        _command("umount", str(place))
    place.rmdir()
    return done == 0


def _limited(fault: Fault | None) -> Callable[[], None] | None:
    if fault is None or fault.limit is None:
        return None
    limit = fault.limit
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _watch(process: subprocess.Popen[bytes], log: Path, folder: Path, fault: Fault | None) -> tuple[bool, bool]:
    """Wait for the end, hurt the process when its time has come; return whether that was done, and if it hung."""
    started, first, acted, gone = time.time(), None, False, folder.with_name("gone")
    while process.poll() is None:
        time.sleep(0.01)
        now = time.time()
        if now - started > PATIENCE:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return acted, True
        if first is None and log.is_file():
            first = now
        if fault is None or fault.seconds is None or acted or first is None or now - first < fault.seconds:
            continue
        if fault.signal is not None:
            process.send_signal(fault.signal)
        elif _is_written_to(folder, log):
            folder.rename(gone)
        else:
            continue
        acted = True
    if gone.exists():
        # What a process made in its place held nothing before.
        _command("rm", "-rf", str(folder))
        gone.rename(folder)
    return acted, False


def _is_written_to(folder: Path, log: Path) -> bool:
    """Return whether the run has a file there: a folder that was away before is just one that a run makes."""
    return folder.is_dir() and f"open {folder}/" in log.read_text()


def _left_behind(group: int) -> int:
    """Return how many processes of a session outlive its leader by :data:`FAREWELL`, and end them."""
    for _ in range(int(10 * FAREWELL)):
        if not (left := _members(group)):
            return 0
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return len(left)


def _members(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found
