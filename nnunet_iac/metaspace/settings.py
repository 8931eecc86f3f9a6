"""Settings of a fit: sizes, steps, and the weight of every loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

LOSSES = ("performance", "rank", "fid", "contrastive")
"""Losses that have a weight; see :mod:`nnunet_iac.metaspace.losses`."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    r"""How a meta-space is fitted.

    The published method names its losses, not their forms and weights; where TANS does not say, a value is our choice.

    ``remoteness`` is our own. No loss asks that a candidate lies near the data sets that resemble its own, yet T1 and
    T10 compare candidates of all sources. In a world of eight data sets in two clusters, of images and of answers to
    noise (each held out, four seeds; ``python scripts/measure_planted_worlds.py``), by the cosine alone T1 came from
    the target's cluster for 0.69 of the targets and T10 to 0.58, at random it would be 0.43; with ``remoteness`` 0.5 it
    was 0.97 and 0.97, with 1, 2 and 4 always all. The order within a source, and so every figure of
    :mod:`~nnunet_iac.metaspace.evaluation`, does not depend on it.

    Attributes:
        size: dimensions of the space (TANS).
        hidden: units of the encoders' and the predictor's hidden layer.
        steps: of the optimiser; nothing stops a fit earlier. Few: with as many data sets as a zoo has, more overfit.
        learning_rate: of AdamW at the start; it falls to 0 along a cosine.
        weight_decay: decoupled.
        candidates: of each task in one step, drawn with replacement.
        images: of each task in one step, drawn with replacement, so that a data set is seen as many samples of itself.
        performance: weight of the squared error of predicted Dice.
        rank: weight of the rank loss.
        fid: weight of the alignment with Fréchet distances.
        contrastive: weight of the contrastive loss (TANS), an ablation.
        remoteness: weight of a source's distance from the target against the cosine in the order of candidates; no part
            of the fit. See above.
        sigma: temperature of the rank loss, in units of the cosine.
        beta: squared distance in the space of the two data sets that are farthest apart.
        margin: of the contrastive loss (TANS: 0.2).
        seed: of initial weights and of all draws.

    Raises:
        ValueError: if a value is out of range; all faults are named together.

    Example:
        >>> FitSettings(rank=0.5).weights
        {'performance': 1.0, 'rank': 0.5, 'fid': 1.0}
        >>> FitSettings().contrastive_only().weights
        {'contrastive': 1.0}
    """

    size: int = 128
    hidden: int = 64
    steps: int = 200
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    candidates: int = 32
    images: int = 64
    performance: float = 1.0
    rank: float = 1.0
    fid: float = 1.0
    contrastive: float = 0.0
    remoteness: float = 1.0
    sigma: float = 0.1
    beta: float = 1.0
    margin: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            *self._problems(("size", "hidden", "steps", "candidates", "images"), "a positive integer", _is_count),
            *self._problems(("learning_rate", "sigma"), "a positive number", lambda v: _is_number(v) and v > 0),
            *self._problems((*LOSSES, "remoteness", "weight_decay", "beta", "margin"), "a number from 0", _is_number),
        ]
        if not problems and not self.weights:
            problems.append(f"expected a positive weight for at least one of {', '.join(LOSSES)}, all are 0")
        if problems:
            raise ValueError("settings: " + "; ".join(problems))

    @property
    def weights(self) -> dict[str, float]:
        """The losses that count, with their weights."""
        return {name: getattr(self, name) for name in LOSSES if getattr(self, name) > 0}

    def contrastive_only(self) -> FitSettings:
        """Return the same settings with the contrastive loss alone."""
        return FitSettings(**{**asdict(self), **dict.fromkeys(LOSSES, 0.0), "contrastive": 1.0})

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; its values are the keyword arguments."""
        return asdict(self)

    def _problems(self, names: tuple[str, ...], expected: str, is_good: Any) -> list[str]:
        return [
            f"{name}: expected {expected}, got {getattr(self, name)!r}"
            for name in names
            if not is_good(getattr(self, name))
        ]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
