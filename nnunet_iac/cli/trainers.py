"""``nnunet-iac trainers``: print the folder that ``nnUNet_extTrainer`` must name."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

HELP = "print the folder of the trainers, for nnUNet_extTrainer=$(nnunet-iac trainers)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def trainers_folder() -> Path:
    """Return the installed folder that holds the trainers and nothing else.

    Raises:
        FileNotFoundError: if the package was put on the path without being installed.
    """
    spec = importlib.util.find_spec("nnunet_iac.trainers")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the folder of the trainers: expected the installed package nnunet_iac.trainers, found none; "
            "install nnunet-iac with `pip install .` (or `pip install -e .`) in this environment"
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def run(args: argparse.Namespace) -> int:
    """Print the folder."""
    print(trainers_folder())
    return 0
