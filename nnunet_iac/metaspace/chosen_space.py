"""The meta-space that orders candidates for a target: fitted now on its sources, or one that was fitted before.

Whichever it is, the target had no part in the fit: a space that saw its images, or how networks did on it, knows the
answer that it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.space_entry import from_entry
from nnunet_iac.metaspace.task import DatasetSample, Task, check_encoder
from nnunet_iac.zoo.store import Zoo

REMEDY = "fit one with nnunet-iac zoo fit --without DATASET, or leave --space out"


@dataclass(frozen=True)
class SpaceWish:
    """Which meta-space is wanted.

    Attributes:
        settings: of a fit on the sources.
        entry: (start of) the id of a stored space that is taken instead; empty to fit one.

    Raises:
        ValueError: if both are given.
    """

    settings: FitSettings = field(default_factory=FitSettings)
    entry: str = ""

    def __post_init__(self) -> None:
        if self.entry and self.settings != FitSettings():
            raise ValueError(
                f"--space: expected no settings of a fit beside a space that is fitted already ({self.entry}); leave "
                "out one of the two"
            )


@dataclass(frozen=True, eq=False)
class ChosenSpace:
    """A space and where it comes from.

    Attributes:
        space: to rank with.
        entry: id of its entry in the zoo; empty if it was fitted for this.
    """

    space: MetaSpace
    entry: str = ""

    @property
    def text(self) -> str:
        """In words."""
        what = f"entry {self.entry} of the zoo" if self.entry else "fitted here"
        weights = ", ".join(f"{name} {weight:g}" for name, weight in self.space.settings.weights.items())
        return f"Meta-space: {what}, on {', '.join(dict.fromkeys(self.space.datasets))}; weights {weights}."

    def to_dict(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {
            "entry": self.entry or None,
            "settings": self.space.settings.to_dict(),
            "datasets": list(dict.fromkeys(self.space.datasets)),
            "losses": dict(self.space.losses),
        }


def stored_space(zoo: Zoo, wish: SpaceWish, sources: Sequence[Task], target: DatasetSample) -> ChosenSpace | None:
    """Return the wanted space of a zoo after checking that it may order the sources for the target.

    Args:
        zoo: that it lies in.
        wish: see :class:`SpaceWish`.
        sources: whose candidates are offered; the space must have learned from each as it is now.
        target: that must have had no part in the fit.

    Returns:
        the space; None if it is to be fitted.

    Raises:
        FileNotFoundError: if its weights are missing.
        ValueError: if there is no such entry, the target took part in its fit, or encoder or sources are others.
    """
    if not wish.entry:
        return None
    entry = zoo.entry(wish.entry)
    space, where = from_entry(entry, zoo.read_weights(entry)), f"--space: entry {entry.id}"
    if target.name in space.datasets:
        raise ValueError(
            f"{where}: expected a space whose fit did not see the target, but {target.name} took part in it; {REMEDY}"
        )
    if target.name in space.ancestors:
        raise ValueError(
            f"{where}: expected a space whose fit did not see the target, but weights of candidates in it were trained "
            f"on {target.name} before; {REMEDY}"
        )
    check_encoder(where, target, space.encoder, len(space.networks.images.mean))
    if strange := sorted(task.name for task in sources if task.digest not in space.digests):
        raise ValueError(
            f"{where}: expected a space that was fitted on the sources as the zoo has them now, but had no part in it, "
            f"or had other candidates or features then: {', '.join(strange)}; {REMEDY}"
        )
    return ChosenSpace(space, entry.id)


def fitted_space(wish: SpaceWish, sources: Sequence[Task]) -> ChosenSpace:
    """Return a space fitted on the sources.

    Raises:
        ValueError: if there are fewer than two data sets.
        FloatingPointError: if the fit diverges.
    """
    return ChosenSpace(fit(sources, wish.settings))
