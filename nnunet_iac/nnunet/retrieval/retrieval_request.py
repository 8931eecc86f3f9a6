"""What is wanted of a retrieval: protocol, limits, the meta-space that orders candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nnunet_iac.metaspace.chosen_space import SpaceWish
from nnunet_iac.metaspace.order_choice import MEASURED, WISHES
from nnunet_iac.metaspace.orders import SPACE, check_order
from nnunet_iac.zoo.costs import Limits

PROTOCOLS: Mapping[str, int] = {"T1": 1, "T5": 5, "T10": 10}
"""How many of the first candidates are trained for an epoch each; the one of T1 is taken as it is."""


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        protocol: key of :data:`PROTOCOLS`.
        limits: that candidates must not break on this machine.
        most: candidates to build and measure at most; those with too many parameters or multiply-adds do not count.
        iterations: of a candidate's epoch.
        seed: of what the source has no weights for, and of the trainings.
        device: where to measure and train.
        anyway: retrieve for a target that is no relative of any source too.
        space: that embeds the candidates.
        order: of the candidates, one of :data:`~nnunet_iac.metaspace.order_choice.WISHES`; None for :attr:`wish`.

    Raises:
        ValueError: if a number is out of range, or there is no such protocol or order.
    """

    protocol: str = "T5"
    limits: Limits = field(default_factory=Limits)
    most: int = 100
    iterations: int = 250
    seed: int = 0
    device: str = "cpu"
    anyway: bool = False
    space: SpaceWish = field(default_factory=SpaceWish)
    order: str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"--protocol: expected one of {list(PROTOCOLS)}, got {self.protocol!r}")
        check_order(self.wish, WISHES)
        for name, low in (("most", 1), ("iterations", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"--{name}: expected at least {low}, got {getattr(self, name)}")

    @property
    def wish(self) -> str:
        """The order that is wanted: by default that of a space that was asked for, else what serves the zoo best."""
        return self.order or (SPACE if self.space.entry else MEASURED)
