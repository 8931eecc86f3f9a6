"""The ``nnunet-iac`` command: one module per sub-command, imported by name so that start-up stays fast."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import Protocol, cast

COMMANDS = (
    *("trainers", "doctor", "configure", "report", "compare", "probe"),
    *("distance", "pretrain", "score", "select", "transfer", "zoo", "retrieve", "demo"),
)
"""Names of the sub-commands; each is a module of :mod:`nnunet_iac.cli` with the same name."""

READER_LEFT = 128 + 13
"""Exit status of a command that wrote into a closed pipe (SIGPIPE is 13)."""


class Command(Protocol):
    """What a module of :mod:`nnunet_iac.cli` offers: a line of help, its arguments and its action."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status (0 is success)."""


def load_command(name: str) -> Command:
    """Return the module of one sub-command."""
    return cast(Command, importlib.import_module(f"nnunet_iac.cli.{name}"))


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser of the whole command."""
    parser = argparse.ArgumentParser(prog="nnunet-iac", description="Implantable Adaptive Cells for nnU-Net v2.")
    parser.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = load_command(name)
        child = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(child)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nnunet-iac`` with ``argv`` (default: the process's own) and return the exit status.

    Errors a user can mend (wrong values, missing files) end in one message on standard error and status 2, Ctrl-C in
    a line and status 130; a reader that has read enough (``| head``) ends a command without a word, status 141.
    Anything else is a defect of ours: a line that asks to report it, and status 3. ``--debug`` shows the traceback of
    all of them.

    Example:
        >>> main(["trainers"]) == 0  # doctest: +ELLIPSIS
        /...trainers
        True
    """
    args = build_parser().parse_args(argv)
    try:
        status = load_command(args.command).run(args)
        sys.stdout.flush()  # not at exit, where nobody could answer that the reader is gone
        return status
    except (ValueError, TypeError, OSError, NotImplementedError, FloatingPointError) as error:
        if args.debug:
            raise
        if isinstance(error, BrokenPipeError) and _reader_left():
            # What is buffered must not meet the closed pipe once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_LEFT
        print(f"nnunet-iac {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if args.debug:
            raise
        print(f"\nnnunet-iac {args.command}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        print(f"nnunet-iac {args.command}: {_defect(error)}", file=sys.stderr)
        return 3


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more; workers have pipes of their own."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _defect(error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return (
        f"unexpected error: {type(error).__name__}{': ' if reason else ''}{reason}; this is a defect of nnunet-iac: "
        "run it again as nnunet-iac --debug … and report what it shows"
    )


if __name__ == "__main__":
    sys.exit(main())
