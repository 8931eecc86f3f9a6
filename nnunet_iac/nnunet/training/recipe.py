"""What distinguishes one trainer of this package from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """The steps of a trainer.

    Attributes:
        host: ``train`` one for ``host.epochs``; take a ``trained`` one (or ``-pretrained_weights``); or take a
            trained one if there is one and train one otherwise (``either``).
        cells: ``search`` for them, draw them at ``random``, have a control without any (``identity``), or train the
            host alone for ``host.epochs`` and leave the plans as they are (``none``).
        prune: overrides ``search.prune`` if not None.
        train: whether training follows the search.
    """

    host: Literal["train", "trained", "either"] = "train"
    cells: Literal["search", "random", "identity", "none"] = "search"
    prune: bool | None = None
    train: bool = True
