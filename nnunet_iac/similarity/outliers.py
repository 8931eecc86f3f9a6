"""Is a target so far from all sources that none of them can be trusted to tell anything about it?

The yardstick are the sources themselves: how far is each from its own nearest one? Were the target a data set like
them, its nearest-neighbour distance would stand at any place of their order with equal chance (up to the dependence
between neighbours), so that it is the largest of all with probability ``1 / (n + 1)``: a conformal test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 3
"""Sources below which nothing is said: with two, both have the same distance."""


ALIKE = 1.5
"""Our choice. Other patches of one real data set were 0.72 to 0.98 times as far from it as two halves of its patches
from each other (128 patches; 64: to 1.21), the nearest other data set 2.83 times as far and more (64: 1.87). Measured
once by hand on Dataset004, 501, 502, 508 and 511 of the README, with no command kept for it."""


@dataclass(frozen=True)
class Nearness:
    """How near a target is to its sources.

    Attributes:
        source: place of the nearest source.
        distance: to it.
        usual: for each source, the distance to its own nearest source.
        p_value: ``(1 + number of sources at least as far from theirs) / (n + 1)``; 1 if there are fewer than
            :data:`FEWEST` sources.
        is_outlier: whether the target is farther from its nearest source than every source from its own.
        alike: places of sources so near that they may be the target itself, the nearest first; see :func:`nearness`.
    """

    source: int
    distance: float
    usual: tuple[float, ...]
    p_value: float
    is_outlier: bool
    alike: tuple[int, ...] = ()


def nearness(to_sources: ArrayLike, between_sources: ArrayLike, *, within: float = 0.0) -> Nearness:
    """Compare a target's distances with those among the sources.

    With n sources the smallest p-value is ``1 / (n + 1)``: a target like the sources is called an outlier that often,
    so that a small zoo can warn but not prove. Our choice; the paper leaves outliers open.

    Args:
        to_sources: distance of the target to each source, ``(n,)``.
        between_sources: distances among the sources, ``(n, n)``, symmetric.
        within: distance of two halves of the target's own images. Sources at most :data:`ALIKE` times as far are
            alike: images of the same data set, drawn anew, are about that far. 0 says it of equal ones only.

    Raises:
        ValueError: if there is no source, the shapes do not fit, or a distance is not a number from 0.

    Example:
        >>> sources = [[0, 1, 2], [1, 0, 2], [2, 2, 0]]
        >>> nearness([3, 2.5, 4], sources).is_outlier, nearness([3, 1.5, 4], sources).is_outlier
        (True, False)
    """
    target, among = np.asarray(to_sources, float), np.asarray(between_sources, float)
    count = len(target) if target.ndim == 1 else 0
    if count == 0 or among.shape != (count, count):
        raise ValueError(
            f"distances: expected (n,) to the sources and (n, n) among them, n from 1, got {target.shape} and "
            f"{among.shape}"
        )
    apart = among[~np.eye(count, dtype=bool)]
    if not all(np.all(np.isfinite(values) & (values >= 0)) for values in (target, apart)):
        raise ValueError("distances: expected numbers from 0, got negative ones, NaN or Inf; look at the features")
    source = int(np.argmin(target))
    distance = float(target[source])
    alike = tuple(int(place) for place in np.argsort(target, kind="stable") if target[place] <= ALIKE * within)
    if count < FEWEST:
        return Nearness(source, distance, (), 1.0, False, alike)
    usual = np.where(np.eye(count, dtype=bool), np.inf, among).min(axis=1)
    as_far = int(np.sum(usual >= distance))
    return Nearness(source, distance, tuple(map(float, usual)), (1 + as_far) / (count + 1), as_far == 0, alike)
