"""Arguments that several commands share: fold, device, folder of an output file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

LONGEST_NAME = 240
"""Bytes of a file name; the limit of most file systems is 255, and temporary names are a little longer."""


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where to compute."""
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: cuda if there is one, else cpu")


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the one way to read a checkpoint that holds more than tensors and plain values."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="unpickle a checkpoint that is refused otherwise, as old ones are: the file can then run ANY command as "
        "you, so give this for files only whose author you trust",
    )


def fold(text: str) -> int | str:
    """Read a fold as nnU-Net names it: a number from 0, or ``all``.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 or all, got {text!r}")


def output_path(text: str) -> Path:
    """Read the path of something to write, whose every part can be the name of a file.

    Raises:
        argparse.ArgumentTypeError: if a part has control characters, or more bytes than a file system takes.
    """
    path = Path(text)
    wrong = [part for part in path.parts if not part.isprintable() or len(os.fsencode(part)) > LONGEST_NAME]
    if not text or wrong:
        shown = wrong[0] if wrong else text
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise argparse.ArgumentTypeError(
            f"expected names of at most {LONGEST_NAME} bytes without line breaks and other control characters, got "
            f"{shown!r}"
        )
    return path


def one_line(text: str) -> str:
    """Read words that an entry of a zoo keeps, before anything is computed.

    Raises:
        argparse.ArgumentTypeError: if they are blank, or more than a line.
    """
    if text.strip() and text.isprintable():
        return text
    raise argparse.ArgumentTypeError(f"expected words in one line, got {text!r}")


def location(text: str) -> str:
    """Read the folder of a zoo that is written to, see :func:`output_path`; a URL is refused later, with a remedy."""
    output_path(text)
    return text


def device_of(wanted: str | None) -> str:
    """Return the device to compute on.

    Raises:
        ValueError: if the wanted one is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted is None:
        return "cuda" if there["cuda"] else "cpu"
    if not there[wanted]:
        raise ValueError(f"--device: expected one of this machine, {[d for d in there if there[d]]}, got {wanted}")
    return wanted


def check_folder(argument: str, path: Path | None) -> None:
    """Refuse a file in a folder that is not there, before anything is computed.

    Raises:
        FileNotFoundError: naming the argument.
    """
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(f"{argument}: expected an existing folder, {path.parent} is none; make it first")
