"""Orders of a held-out data set's candidates that need no meta-space, to compare it with.

It does not beat all of them everywhere: see :mod:`~nnunet_iac.metaspace.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.metaspace.topology import relative_distances
from nnunet_iac.similarity.mixture import label_transport

Array = NDArray[np.float64]


def nearest_dataset(task: Task, others: Sequence[Task]) -> tuple[Array, Task, float]:
    """Return scores ``(n,)`` by the :func:`nearest_task`, that task, and its distance.

    The score of a candidate is its :func:`transferred_dice`.
    """
    nearest, distance = nearest_task(task.sample, others)
    return transferred_dice(task, nearest), nearest, distance


def nearest_task(sample: DatasetSample, others: Sequence[Task]) -> tuple[Task, float]:
    """Return the task whose images are nearest to a data set by optimal transport, and the distance.

    The distance is :func:`~nnunet_iac.similarity.mixture.label_transport`; of equally near ones the first counts.
    """
    own = sample.gaussians
    distances = [label_transport(other.sample.gaussians, own).distance for other in others]
    place = int(np.argmin(distances))
    return others[place], distances[place]


def best_on_average(task: Task, others: Sequence[Task]) -> Array:
    """Return the mean of :func:`transferred_dice` over the other data sets; tasks of one data set share its say."""
    by_dataset: dict[str, list[Array]] = {}
    for other in others:
        by_dataset.setdefault(other.dataset, []).append(transferred_dice(task, other))
    return np.mean([np.mean(scores, axis=0) for scores in by_dataset.values()], axis=0)


def largest_network(task: Task) -> Array:
    """Return the numbers of parameters."""
    return task.candidates.parameters


def transferred_dice(task: Task, other: Task) -> Array:
    """Return for each candidate the Dice that the same configuration had on another task.

    Where the two supernets share no configuration (another space, or others drawn), it is that of the most similar one
    by relative depths and widths; of equally similar ones the first.
    """
    distances = relative_distances(task.candidates.topology, other.candidates.topology)
    return other.candidates.dice[distances.argmin(axis=1)]
