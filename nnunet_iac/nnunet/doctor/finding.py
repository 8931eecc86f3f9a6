"""What a check of the installation says, and the machine it looks at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300
"""Seconds after which a question to another Python process counts as unanswered."""


@dataclass(frozen=True)
class Finding:
    """One line of ``nnunet-iac doctor``.

    Attributes:
        name: what was looked at.
        ok: whether nnU-Net and this package can work with it.
        detail: what was found, in words.
        fix: a command, ready to be pasted, that mends it; with ``ok`` it is advice; empty if there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Machine:
    """Everything the checks look at besides files: read once, replaced in tests.

    Attributes:
        variables: the environment variables.
        python: the interpreter whose environment is examined.
        trainers: the installed folder of our trainers; None if the package is on the path without being installed.
    """

    variables: Mapping[str, str]
    python: str
    trainers: Path | None

    @classmethod
    def current(cls, trainers: Path | None) -> Machine:
        """Return this process's machine."""
        return cls(dict(os.environ), sys.executable, trainers)


@dataclass(frozen=True)
class Answer:
    """What another Python process printed, and why it failed (empty if it did not)."""

    output: str
    failure: str


def ask_python(machine: Machine, script: str, *, python: str | None = None) -> Answer:
    """Run ``script`` in a process of its own, so that a crash or a broken library cannot take this one along.

    The working folder is not on the path of the process, as it is not on that of ``nnUNetv2_train`` either.

    Example:
        >>> ask_python(Machine.current(None), "print(6 * 7)").output
        '42\\n'
        >>> ask_python(Machine.current(None), "import no_such_library").failure
        "ModuleNotFoundError: No module named 'no_such_library'"
    """
    program = "import sys; sys.path[:] = [p for p in sys.path if p]\n" + script
    try:
        process = subprocess.run(
            [python or machine.python, "-c", program],
            env=dict(machine.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"no answer within {PATIENCE} s")
    except OSError as error:
        return Answer("", str(error))
    return Answer(process.stdout, _failure(process))


def _failure(process: subprocess.CompletedProcess[str]) -> str:
    if process.returncode == 0:
        return ""
    if process.returncode < 0:
        return f"the process was killed by signal {-process.returncode}"
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {process.returncode}"
