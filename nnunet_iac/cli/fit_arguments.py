"""Arguments of whatever fits a meta-space, defined once: ``nnunet-iac zoo fit`` and ``nnunet-iac retrieve``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_iac.metaspace.settings import FitSettings

_INTEGERS = {"steps": "steps of each fit", "size": "dimensions of the space"}
_WEIGHTS = {
    "performance": "weight of the squared error of predicted Dice",
    "rank": "weight of the rank loss",
    "fid": "weight of the alignment with Fréchet distances",
    "contrastive": "weight of the contrastive loss",
}
_NUMBERS = {
    **_WEIGHTS,
    "remoteness": "weight of a source's distance from the target in the order meta-space",
    "sigma": "temperature of the rank loss",
    "beta": "squared distance in the space of the two data sets farthest apart",
    "margin": "margin of the contrastive loss",
    "learning-rate": "learning rate at the start",
}
_SEED = "fit_seed"


def add_fit_arguments(parser: argparse.ArgumentParser, *, seed: Sequence[str] = ("--fit-seed",)) -> None:
    """Declare how a meta-space is fitted.

    Args:
        parser: of a command.
        seed: names of the option for the fit's seed; another command may have a ``--seed`` of its own.
    """
    group = parser.add_argument_group("fitting the meta-space", "defaults as FitSettings has them")
    for names, kind, metavar in ((_INTEGERS, int, "N"), (_NUMBERS, float, "X")):
        for name, text in names.items():
            group.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    group.add_argument(*seed, dest=_SEED, type=int, metavar="N", help="seed of the fit: weights and draws")
    group.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="full names of data sets to leave out, such as the same data under another name",
    )


def fit_settings(args: argparse.Namespace) -> FitSettings:
    """Return the settings that were given; the others keep their defaults.

    Raises:
        ValueError: if a value is out of range.
    """
    from nnunet_iac.metaspace.settings import FitSettings

    names = [name.replace("-", "_") for name in (*_INTEGERS, *_NUMBERS)]
    given = {**{name: getattr(args, name) for name in names}, "seed": getattr(args, _SEED)}
    return FitSettings(**{name: value for name, value in given.items() if value is not None})
