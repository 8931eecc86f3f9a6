"""Arguments that several commands share: fold, device, folder of an output file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where to compute."""
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: cuda if there is one, else cpu")


def fold(text: str) -> int | str:
    """Read a fold as nnU-Net names it: a number from 0, or ``all``.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 or all, got {text!r}")


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
