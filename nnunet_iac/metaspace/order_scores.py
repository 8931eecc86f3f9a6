"""How good an order of candidates is: rank correlation, and what is lost by training only the first few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, spearmanr

Array = NDArray[np.float64]

PROTOCOLS = (1, 5, 10)
"""How many candidates T1, T5 and T10 look at (MedNNS)."""


@dataclass(frozen=True)
class RankingScores:
    """Scores of one order of candidates.

    Attributes:
        spearman: correlation of scores and true performances; None if all scores are equal.
        kendall: likewise, tau-b.
        regret: for each number ``k``, the best true performance of all minus the best among the first ``k``, in Dice.
    """

    spearman: float | None
    kendall: float | None
    regret: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON can hold them."""
        regret = {f"T{k}": value for k, value in self.regret.items()}
        return {"spearman": self.spearman, "kendall": self.kendall, "regret": regret}


def ranking_scores(scores: ArrayLike, dice: ArrayLike) -> RankingScores:
    """Return how well scores ``(n,)`` order candidates of true performances ``(n,)``, not all equal.

    Equal scores keep the candidates' order. With ``k`` candidates or fewer the regret is 0.

    Example:
        >>> found = ranking_scores([3, 1, 2], [0.7, 0.5, 0.8])
        >>> found.spearman, round(found.regret[1], 9), found.regret[5]
        (0.5, 0.1, 0.0)
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(dice, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    is_constant = values.min() == values.max()
    return RankingScores(
        spearman=None if is_constant else float(spearmanr(values, truth).statistic),
        kendall=None if is_constant else float(kendalltau(values, truth).statistic),
        regret={k: float(truth.max() - truth[order[:k]].max()) for k in PROTOCOLS},
    )


def random_scores(dice: ArrayLike) -> RankingScores:
    """Return the expected scores of a random order, exactly.

    Correlations are 0. The best of ``k`` of ``n`` drawn without replacement is the ``i``-th smallest with probability
    ``C(i - 1, k - 1) / C(n, k)``.

    Example:
        >>> random_scores([0.0, 0.5, 1.0]).regret
        {1: 0.5, 5: 0.0, 10: 0.0}
    """
    truth = np.sort(np.asarray(dice, dtype=np.float64))
    regret = {k: float(truth[-1] - _expected_best(truth, min(k, len(truth)))) for k in PROTOCOLS}
    return RankingScores(spearman=0.0, kendall=0.0, regret=regret)


def _expected_best(ascending: Array, k: int) -> float:
    draws = comb(len(ascending), k)
    # Whole numbers until the division: binomials of hundreds of candidates are no floats.
    return sum(comb(i, k - 1) / draws * float(value) for i, value in enumerate(ascending))
