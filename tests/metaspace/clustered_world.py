"""A world of two clusters of data sets: images and answers to noise agree within a cluster, not between the two.

Which size of network a data set wants is its own, as in :mod:`planted_world`, and its images show it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from planted_world import FEATURES, RESPONSES, planted_task

from nnunet_iac.metaspace.task import Task

APART = 6.0
"""Length of what tells the clusters, in standard deviations of one image's features about."""


def clustered_task(number: int, *, seed: int = 0, candidates: int = 40) -> Task:
    """A planted data set, of the one cluster if its number is even, of the other if odd."""
    task = planted_task(number, seed=seed, candidates=candidates)
    shared = np.random.default_rng([seed, 1_000])
    images, answers = shared.standard_normal(FEATURES), shared.standard_normal(RESPONSES)
    side = 2 * cluster(task) - 1
    sample = replace(task.sample, features=task.sample.features + side * APART * images / np.linalg.norm(images))
    known = task.candidates
    shift = side * APART * answers / np.linalg.norm(answers)
    return replace(task, sample=sample, candidates=replace(known, responses=known.responses + shift))


def cluster(task: Task) -> int:
    """Return the cluster of a task of this world, 0 or 1."""
    return int(task.dataset.removeprefix("Dataset")[:3]) % 2


@cache
def clustered_tasks(count: int = 8, seed: int = 0) -> tuple[Task, ...]:
    return tuple(clustered_task(number, seed=seed) for number in range(count))
