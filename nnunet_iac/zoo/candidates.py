"""Which sub-networks of a supernet are measured: distinct ones by a fixed seed, the extremes always among them."""

from __future__ import annotations

from itertools import count as numbers
from random import Random

from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace

SEED = 0
"""Of the draw: the same for every data set, so that equal spaces give the same candidates (as MedNNS draws them)."""


def sample_candidates(space: ElasticSpace, count: int = 100, *, seed: int = SEED) -> tuple[SubnetConfiguration, ...]:
    """Return distinct configurations: the largest, the smallest, then uniform draws.

    A pure function of its arguments. Of a space that is hardly larger than what is asked for, all configurations are
    shuffled instead of drawn. MedNNS draws 1,000 for each data set.

    Args:
        space: of the supernet.
        count: how many.
        seed: of the draw.

    Raises:
        ValueError: if fewer than two are asked for, or more than exist.

    Example:
        >>> space = ElasticSpace((32, 64), (2, 2), (2,), residual=False)
        >>> found = sample_candidates(space, 10)
        >>> len(set(found)), found[:2] == (space.largest, space.smallest), found == sample_candidates(space, 10)
        (10, True, True)
    """
    if count < 2:
        raise ValueError(f"candidates: expected at least 2, the largest and the smallest, got {count}")
    if count > space.count:
        raise ValueError(
            f"candidates: expected at most {space.count}, the sub-networks that this plan has, got {count}; ask for "
            "fewer, or offer more widths with a smaller multiple"
        )
    found = dict.fromkeys((space.largest, space.smallest))
    if space.count <= 2 * count:
        rest = list(space)
        Random(f"{seed} all").shuffle(rest)
        found.update(dict.fromkeys(rest))
    else:
        for number in numbers():
            if len(found) == count:
                break
            found[space.random(seed=f"{seed} {number}")] = None
    return tuple(found)[:count]
