"""Run commands one after the other, each with a log of its own, and go on where an earlier run stopped.

A step that has succeeded leaves a marker, ``.steps/<name>.json``, written at once. A later run skips the steps at the
beginning whose markers name the same command; from the first other step on, everything runs again, and what such a
step makes is removed first, so that nothing of an interrupted attempt is mistaken for a result.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_iac.atomic import write_json
from nnunet_iac.json_files import read_json

MARKERS = ".steps"
TAIL = 20
"""Lines of a log that are shown when its step has failed."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: short, unique among the steps; names the marker.
        title: what it does, for people.
        command: program and arguments, as a person would type them; ``python`` is this interpreter.
        log: file that receives what the command prints, relative to the folder it runs in.
        makes: files and folders that it makes, relative to that folder; removed before it runs.
    """

    name: str
    title: str
    command: tuple[str, ...]
    log: Path
    makes: tuple[Path, ...] = ()

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)


class StepError(RuntimeError):
    """A step has failed; the message holds the last lines of its log."""


def count_finished(steps: Sequence[Step], folder: Path) -> int:
    """Return how many steps at the beginning need not run.

    A step is finished if its marker names its command. If a later step is not, what the finished ones make must
    still be there.
    """
    marked = [_is_marked(step, folder) for step in steps]
    if all(marked):
        return len(steps)
    for index, step in enumerate(steps):
        if not marked[index] or not all((folder / path).exists() for path in step.makes):
            return index
    return len(steps)


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    environment: Mapping[str, str],
    *,
    before: Mapping[str, Callable[[], object]] | None = None,
    say: Callable[[str], object] = print,
) -> list[float]:
    """Run the steps that are not finished and return the seconds that each took (also those of earlier runs).

    Args:
        steps: in order.
        folder: where they run and where the markers are.
        environment: set for the commands, in addition to this process's own.
        before: what to do just before the step of this name runs; not done if it is skipped.
        say: receives one line for each event.

    Raises:
        StepError: if a command ends with a status other than 0; later steps do not run.
        FileNotFoundError: if a program is not installed.
    """
    done = count_finished(steps, folder)
    for step in steps[done:]:
        _marker(step, folder).unlink(missing_ok=True)
    for number, step in enumerate(steps, start=1):
        say(f"\n[{number}/{len(steps)}] {step.title}")
        say(f"  $ {step.line}")
        if number <= done:
            say(f"  done before, in {_seconds(step, folder):.0f} s; skipped")
            continue
        if before and step.name in before:
            before[step.name]()
        seconds = run_step(step, folder, environment)
        say(f"  done in {seconds:.0f} s; log: {folder / step.log}")
    return [_seconds(step, folder) for step in steps]


def run_step(step: Step, folder: Path, environment: Mapping[str, str]) -> float:
    """Run one step, leave its marker and return the seconds it took.

    On a terminal a line shows the seconds and the last line of the log while it runs. If this process is interrupted
    or terminated, so is the command with all its children.

    Raises:
        StepError: if the command ends with a status other than 0.
        FileNotFoundError: if the program is not installed.
    """
    command = [find_program(step.command[0]), *step.command[1:]]
    for path in step.makes:
        _remove(folder / path)
    log = folder / step.log
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with log.open("wb") as stream:
        status = _execute(command, folder, {**os.environ, **environment}, stream, lambda: _show(begin, log))
    _show(begin, None)
    seconds = time.monotonic() - begin
    if status != 0:
        raise StepError(
            f"{step.name}: expected exit status 0, got {status} after {seconds:.0f} s from\n  {step.line}\n"
            f"last lines of {log}:\n" + "\n".join(f"  | {line}" for line in _tail(log, TAIL))
        )
    marker = _marker(step, folder)
    marker.parent.mkdir(exist_ok=True)
    write_json(marker, {"schema": 1, "command": list(step.command), "seconds": round(seconds, 1)})
    return seconds


def find_program(name: str) -> str:
    """Return the path of a program of this Python environment: beside the interpreter, else on the PATH.

    Raises:
        FileNotFoundError: if there is none.

    Example:
        >>> find_program("python") == sys.executable
        True
    """
    if name == "python":
        return sys.executable
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name}: expected the program beside {sys.executable} or on the PATH, found none; "
            "install nnunet-iac with pip in this environment (`nnunet-iac doctor` says more)"
        )
    return found


def _execute(
    command: list[str], folder: Path, environment: Mapping[str, str], stream: Any, tick: Callable[[], None]
) -> int:
    with _termination_raises():
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    return process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    tick()
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, politely at first; its children are ended with it (they are one session)."""
    if process.poll() is not None:
        return
    _signal_all(process, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    _signal_all(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def _signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    if not hasattr(os, "killpg"):
        process.send_signal(number)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM unwind the stack as an interrupt does, so that children are ended too."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread, which alone may set a handler
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(begin: float, log: Path | None) -> None:
    """Rewrite the progress line on a terminal; ``None`` clears it."""
    if not sys.stderr.isatty():
        return
    text = ""
    if log is not None:
        last = next(iter(_tail(log, 1)), "")
        text = f"  {time.monotonic() - begin:4.0f} s  {last}"[: shutil.get_terminal_size().columns - 1]
    sys.stderr.write("\r\033[K" + text)
    sys.stderr.flush()


def _tail(log: Path, count: int) -> list[str]:
    """Return the last lines of a file that are not blank; what a carriage return has overwritten is left out."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 20000))
        text = stream.read().decode("utf-8", errors="replace")
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return [line for line in lines if line][-count:]


def _marker(step: Step, folder: Path) -> Path:
    return folder / MARKERS / f"{step.name}.json"


def _read_marker(step: Step, folder: Path) -> dict[str, Any]:
    try:
        record = read_json(_marker(step, folder))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_marked(step: Step, folder: Path) -> bool:
    return bool(_read_marker(step, folder).get("command") == list(step.command))


def _seconds(step: Step, folder: Path) -> float:
    return float(_read_marker(step, folder).get("seconds", 0.0))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
