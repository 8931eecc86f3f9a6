"""How good a selected length of pretraining was, in all the figures that belong together.

TIS alone (2410.18677) flatters: a checkpoint drawn at random reaches 98 % on the published curves, since most lengths
give nearly the same Dice. So one record holds all, and one text prints all. On those curves FULL pretraining scores a
higher TIS than the checkpoint that the robustness loss chooses (99.4 and 98.9 over three data sets). Nothing here
promises a gain over full pretraining; what may be had is less pretraining at a known regret.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Yardsticks:
    """One selection, or the mean of several.

    With ``dice(L)`` the downstream Dice after ``L`` epochs of pretraining and ``L*`` the chosen length:

    Attributes:
        tis: ``100 dice(L*) / max_L dice(L)``, per cent; length 0 counts in the maximum if it was measured.
        normalised_tis: ``100 (dice(L*) - min) / (max - min)``, per cent; 100 where all lengths are equal (our choice).
        regret: ``100 (max_L dice(L) - dice(L*))``, Dice points.
        chance: mean TIS of a checkpoint drawn uniformly from those after length 0, per cent.
        full: TIS of full pretraining, per cent.
        full_regret: regret of full pretraining, Dice points.
        no_pretraining: TIS of random initialisation, per cent; None if it was not measured (in a mean: of some).
        chosen: ``L*``, epochs.
        trained: epochs of pretraining that were paid for.
        saved: epochs of the full pretraining that were not; 0 for every offline choice.
    """

    tis: float
    normalised_tis: float
    regret: float
    chance: float
    full: float
    full_regret: float
    no_pretraining: float | None
    chosen: float
    trained: float
    saved: float

    def text(self) -> str:
        """Return all of it on one line.

        Example:
            >>> print(yardsticks({0: 0.6, 10: 0.8, 20: 0.75}, chosen=10, trained=15).text())
            TIS 100.00 % (chance 96.88 %, full pretraining 93.75 %, none 75.00 %), range-normalised 100.0 %, \
regret 0.00 Dice points (full 5.00), epochs trained 15.0, saved 5.0
        """
        none = "not measured" if self.no_pretraining is None else f"{self.no_pretraining:.2f} %"
        return (
            f"TIS {self.tis:.2f} % (chance {self.chance:.2f} %, full pretraining {self.full:.2f} %, none {none}), "
            f"range-normalised {self.normalised_tis:.1f} %, "
            f"regret {self.regret:.2f} Dice points (full {self.full_regret:.2f}), "
            f"epochs trained {self.trained:.1f}, saved {self.saved:.1f}"
        )


def yardsticks(dice: Mapping[int, float], *, chosen: int, trained: int) -> Yardsticks:
    """Return the figures of one selection.

    Args:
        dice: downstream Dice in [0, 1] by length of pretraining in epochs; 0 is random initialisation, the largest
            length is full pretraining.
        chosen: the length whose weights were taken.
        trained: epochs that were trained to make the choice; the largest length for an offline choice, the epoch of
            the stop for an online one.

    Raises:
        ValueError: if there is no length after 0, values are no Dice or all 0, the chosen length was not measured, or
            it is longer than what was trained.
    """
    _check(dice, chosen, trained)
    best, worst, longest = max(dice.values()), min(dice.values()), max(dice)
    after = [value for length, value in dice.items() if length > 0]
    return Yardsticks(
        tis=100 * dice[chosen] / best,
        normalised_tis=100 * (dice[chosen] - worst) / (best - worst) if best > worst else 100.0,
        regret=100 * (best - dice[chosen]),
        chance=100 * statistics.fmean(after) / best,
        full=100 * dice[longest] / best,
        full_regret=100 * (best - dice[longest]),
        no_pretraining=100 * dice[0] / best if 0 in dice else None,
        chosen=chosen,
        trained=trained,
        saved=longest - trained,
    )


def mean_yardsticks(parts: Sequence[Yardsticks]) -> Yardsticks:
    """Return the mean of each figure over set-ups.

    Raises:
        ValueError: if there are none.

    Example:
        >>> parts = [yardsticks({0: 0.5, 10: 1.0}, chosen=length, trained=10) for length in (0, 10)]
        >>> mean_yardsticks(parts).tis
        75.0
    """
    if not parts:
        raise ValueError("parts: expected at least one selection, got none")
    means: dict[str, float | None] = {}
    for field in fields(Yardsticks):
        values = [getattr(part, field.name) for part in parts]
        means[field.name] = None if None in values else statistics.fmean(values)
    return Yardsticks(**means)  # type: ignore[arg-type]  # only no_pretraining is ever None


def _check(dice: Mapping[int, float], chosen: int, trained: int) -> None:
    if max(dice, default=0) < 1 or min(dice) < 0:
        raise ValueError(f"dice: expected lengths from 0 with at least one after it, got {sorted(dice)}")
    bad = {length: value for length, value in dice.items() if not (math.isfinite(value) and 0 <= value <= 1)}
    if bad or max(dice.values()) == 0:
        raise ValueError(f"dice: expected values in [0, 1] that are not all 0, got {bad or dict(dice)}")
    if chosen not in dice:
        raise ValueError(f"chosen: expected one of the measured lengths {sorted(dice)}, got {chosen}")
    if not chosen <= trained <= max(dice):
        raise ValueError(f"trained: expected {chosen} (the chosen length) to {max(dice)} (full), got {trained}")
