"""What is known of how a network of one data set would do on another, without training it there.

A retrieval puts a candidate of another data set on the target's plan: as many stages as that has, with the candidate's
widths and depths (:func:`~nnunet_iac.zoo.adaptation.adapted_sizes`). If the target is a data set of the zoo itself, its
own supernet was asked for the Dice of some sub-networks there. Two definitions of truth:

- ``same``: the Dice of the target's own sub-network of exactly those widths and depths; candidates without such a one
  are left out.
- ``nearest``: the Dice of the target's own sub-network nearest to them by relative widths and depths. Our choice, where
  plans of different depth leave next to nothing that is the same.

Both are of the candidate's architecture, with weights of the target's supernet. They say nothing about the weights that
the candidate brings along; that takes trainings (``scripts/bench_retrieval_dice.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.metaspace.ranking import Ranked
from nnunet_iac.metaspace.task import Task
from nnunet_iac.metaspace.topology import RELATIVE, relative_distances, relative_sizes
from nnunet_iac.zoo.adaptation import Sizes, adapted_sizes
from nnunet_iac.zoo.elastic_space import ElasticSpace

SAME, NEAREST = "same", "nearest"
"""The two definitions."""


@dataclass(frozen=True, eq=False)
class Counterparts:
    """For each offered candidate, which of the target's own sub-networks tells how good it is.

    Attributes:
        places: ``(n,)``, of the nearest one.
        is_same: ``(n,)``, whether it has exactly the widths and depths.
        distances: ``(n,)``, root of the squared distance of relative widths and depths; 0 where they are the same.
    """

    places: NDArray[np.intp]
    is_same: NDArray[np.bool_]
    distances: NDArray[np.float64]

    def of(self, chosen: NDArray[np.bool_]) -> Counterparts:
        """Return those of some of the candidates, ``(n,)``."""
        return Counterparts(self.places[chosen], self.is_same[chosen], self.distances[chosen])

    def kept(self, truth: str) -> NDArray[np.bool_]:
        """Return which candidates a definition of truth takes, ``(n,)``."""
        return self.is_same if truth == SAME else np.ones_like(self.is_same)


def counterparts(target: Task, offered: Sequence[Ranked]) -> Counterparts:
    """Return the target's own sub-networks that stand for offered candidates of other data sets.

    Args:
        target: a data set of the zoo, with measured sub-networks.
        offered: at least one.

    Raises:
        ValueError: if the space of a task's configurations is not known.
    """
    plan, own = _space(target), target.candidates
    sizes = [adapted_sizes(_sizes(one.task, one.index), plan) for one in offered]
    known = {_sizes(target, index): index for index in range(len(own))}
    rows = np.stack([relative_sizes(one, plan) for one in sizes])
    squared = relative_distances(rows, own.topology[:, :RELATIVE])
    is_same = np.array([one in known for one in sizes])
    nearest = [known.get(one, int(row.argmin())) for one, row in zip(sizes, squared, strict=True)]
    places = np.array(nearest, dtype=np.intp)
    return Counterparts(places, is_same, np.sqrt(squared[np.arange(len(places)), places]))


def _sizes(task: Task, index: int) -> Sizes:
    one = task.candidates.configurations[index]
    return Sizes(_space(task).channels(one), one.depths, one.decoder_depths)


def _space(task: Task) -> ElasticSpace:
    if task.candidates.space is None:
        raise ValueError(f"{task.name}: expected candidates with the space that they are of, got none; read them anew")
    return task.candidates.space
