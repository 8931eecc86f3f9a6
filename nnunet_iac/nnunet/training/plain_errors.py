"""An error that a user can mend ends a training with one message, as it ends a command of ours.

nnU-Net runs our trainers inside its own command, so there is no ``main`` of ours around them. Our choice: a hook for
uncaught exceptions, set when one of our trainers is made (nnU-Net imports all trainers of a folder, so not at import).
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

import nnunet_iac

VARIABLE = "NNUNET_IAC_DEBUG"
"""Environment variable that keeps Python's traceback if it is 1."""

MENDABLE = (ValueError, TypeError, OSError, NotImplementedError, FloatingPointError)
"""Kinds of exceptions that our code raises for what a user can mend; those of ``nnunet_iac.cli.main``."""

_PACKAGE = str(Path(nnunet_iac.__file__).parent)


def show_plain_errors() -> None:
    """Let errors of ours that nobody catches end in one message on standard error; the exit status stays 1.

    Everything else goes to the hook that was there before, and so does everything if :data:`VARIABLE` is 1. A second
    call changes nothing. Test runners catch exceptions themselves and notice nothing.
    """
    before = sys.excepthook
    if getattr(before, "is_of_nnunet_iac", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = None if os.environ.get(VARIABLE) == "1" else plain_message(error)
        if message is None:
            before(kind, error, trace)
        else:
            print(message, file=sys.stderr, flush=True)

    hook.is_of_nnunet_iac = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def plain_message(error: BaseException) -> str | None:
    """Return what to print for an exception, None if it is not one that our code raised for the user to mend.

    Raised by our code means that the innermost frame of the traceback is a file of this package: a ``TypeError`` out
    of PyTorch that passes through our code is a defect, and its traceback is what a report needs. Errors of the file
    system come out of Python itself and name their file, so for them it is enough that our code is on the way.

    Example:
        >>> plain_message(ValueError("nobody raised it")) is None
        True
    """
    if not isinstance(error, MENDABLE) or not _is_ours(error):
        return None
    return f"\nnnunet-iac: {error}\n({VARIABLE}=1 shows the Python traceback)"


def _is_ours(error: BaseException) -> bool:
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    wanted = files if isinstance(error, OSError) else files[-1:]
    return any(Path(file).is_relative_to(_PACKAGE) for file in wanted)
