"""Does the supernet rank its sub-networks as they rank when each is trained alone?

Spearman's and Kendall's correlation are those of scipy, computed for all bootstrap samples at once. Their intervals are
percentile bootstraps over networks: with few networks they are too narrow, so below :data:`ENOUGH` nothing is concluded
whatever they say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

FEWEST = 3
"""Networks that a correlation needs; of two it is 1 or -1 by definition."""

ENOUGH = 10
"""Networks below which no conclusion is drawn (our choice)."""

RESAMPLES = 2000
CONFIDENCE = 0.95

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation.

    Attributes:
        value: None if one side does not vary.
        low: lower end of the 95 % bootstrap interval; None likewise.
        high: upper end.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Fidelity:
    """How well estimates rank networks.

    Attributes:
        networks: how many.
        spearman: of estimated against true performance.
        kendall: likewise, tau-b.
        regret: true performance of the best network minus that of the one with the best estimate.
        random_regret: the same for a network picked at random, in the mean.
        conclusive: whether there are enough networks and the interval of Spearman's correlation leaves out 0.
        verdict: in words.
    """

    networks: int
    spearman: Correlation
    kendall: Correlation
    regret: float
    random_regret: float
    conclusive: bool
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def rank_fidelity(estimated: ArrayLike, true: ArrayLike, *, seed: int = 0) -> Fidelity:
    """Compare estimates ``(K,)`` with true performances ``(K,)`` of the same networks; higher is better.

    Of several networks with the best estimate the first is picked. Bootstrap samples in which one side does not vary
    have no correlation and are left out.

    Args:
        estimated: by the supernet.
        true: trained alone.
        seed: of the bootstrap.

    Raises:
        ValueError: for fewer than three networks, different lengths, or numbers that are not finite.

    Example:
        >>> found = rank_fidelity([0.1, 0.2, 0.3, 0.4], [0.5, 0.7, 0.6, 0.8])
        >>> round(found.spearman.value, 3), round(found.kendall.value, 3), found.regret, found.conclusive
        (0.8, 0.667, 0.0, False)
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (estimated, true))
    if x.shape != y.shape or x.ndim != 1 or len(x) < FEWEST or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"estimated, true: expected finite numbers of the same {FEWEST} or more networks, got shapes {x.shape} and "
            f"{y.shape}; train more networks"
        )
    spearman, kendall = (_correlation(rows, x, y, seed) for rows in (spearman_rows, kendall_rows))
    return Fidelity(
        networks=len(x),
        spearman=spearman,
        kendall=kendall,
        regret=float(y.max() - y[x.argmax()]),
        random_regret=float(y.max() - y.mean()),
        conclusive=_is_conclusive(len(x), spearman),
        verdict=_verdict(len(x), spearman),
    )


def spearman_rows(x: Values, y: Values) -> Values:
    """Return Spearman's correlation of each row of ``(B, K)``: Pearson's of mean ranks. Rows must vary.

    Example:
        >>> spearman_rows(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]]))
        array([0.5])
    """
    ranks = (rankdata(side, axis=1) for side in (x, y))
    return _cosine(*(rank - rank.mean(1, keepdims=True) for rank in ranks))


def kendall_rows(x: Values, y: Values) -> Values:
    """Return Kendall's tau-b of each row of ``(B, K)``: the cosine of the signs of all differences. Rows must vary.

    Example:
        >>> kendall_rows(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])).round(4)
        array([0.3333])
    """
    first, second = np.triu_indices(x.shape[1], 1)
    return _cosine(*(np.sign(side[:, first] - side[:, second]) for side in (x, y)))


def _correlation(rows: Callable[[Values, Values], Values], x: Values, y: Values, seed: int) -> Correlation:
    if not (np.ptp(x) and np.ptp(y)):
        return Correlation(None, None, None)
    drawn = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    drawn = drawn[(np.ptp(x[drawn], axis=1) > 0) & (np.ptp(y[drawn], axis=1) > 0)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(rows(x[drawn], y[drawn]), [tail, 1 - tail])
    return Correlation(float(rows(x[None], y[None])[0]), float(low), float(high))


def _cosine(x: Values, y: Values) -> Values:
    return np.asarray((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)))


def _is_conclusive(networks: int, spearman: Correlation) -> bool:
    if networks < ENOUGH or spearman.low is None or spearman.high is None:
        return False
    return spearman.low > 0 or spearman.high < 0


def _verdict(networks: int, spearman: Correlation) -> str:
    if spearman.value is None:
        return "NO CONCLUSION: all networks have the same performance on one side, so there is no ranking to compare"
    if networks < ENOUGH:
        return f"NO CONCLUSION: {networks} networks are too few, whatever the numbers say; train at least {ENOUGH}"
    if not _is_conclusive(networks, spearman):
        return f"NO CONCLUSION: the interval contains 0, {networks} networks are too few to tell; train more"
    agrees = "ranks networks as they rank when trained alone" if spearman.value > 0 else "ranks networks backwards"
    return f"the supernet {agrees}, beyond chance (which networks were drawn; one training of each)"
