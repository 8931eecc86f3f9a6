"""A world whose law is known: each data set wants a certain size of network, and its images show which."""

from __future__ import annotations

from functools import cache

import numpy as np

from nnunet_iac.metaspace.task import Candidates, DatasetSample, Task
from nnunet_iac.metaspace.topology import topology
from nnunet_iac.zoo.elastic_space import ElasticSpace

SPACE = ElasticSpace((32, 64, 128, 128), (2, 2, 3, 3), (2, 2, 2), residual=False)
FEATURES, RESPONSES = 24, 12


def planted_task(number: int, *, seed: int = 0, candidates: int = 80, images: int = 60, noise: float = 0.01) -> Task:
    """A data set of difficulty ``u``: Dice falls with the squared distance of the mean width from what ``u`` wants."""
    rng = np.random.default_rng([seed, number])
    shared = np.random.default_rng(seed)
    directions = shared.standard_normal((3, FEATURES))
    projection = shared.standard_normal((RESPONSES, 4))
    u, others = rng.uniform(), rng.uniform(-0.5, 0.5, 2)
    features = np.array([2 * u - 1, *others]) @ directions + 0.5 * rng.standard_normal((images, FEATURES))
    configurations = [SPACE.random(seed=place) for place in range(candidates)]
    widths = np.array([c.widths for c in configurations])
    depth = np.array([sum(c.depths) for c in configurations]) / 10
    dice = 0.85 - 0.3 * rng.uniform() - (widths.mean(axis=1) - 0.35 - 0.5 * u) ** 2 * 3 + 0.1 * depth
    dice = np.clip(dice + noise * rng.standard_normal(candidates), 0.01, 0.99)
    parameters = np.round(1e4 * np.square(widths * 128).sum(axis=1) * (1 + depth))
    rows = [topology(SPACE, c, p, 2) for c, p in zip(configurations, parameters, strict=True)]
    responses = widths @ projection.T + rng.standard_normal(RESPONSES) + 0.1 * rng.standard_normal((candidates, 12))
    name = f"Dataset{number + 1:03d}_Planted"
    sample = DatasetSample(name, features, {"name": "planted"}, rng.integers(2, size=images))
    known = Candidates(np.stack(rows), responses, dice, parameters, tuple(configurations), space=SPACE)
    return Task(f"{name} 2d", sample, known)


@cache
def planted_tasks(count: int = 8, seed: int = 0) -> tuple[Task, ...]:
    return tuple(planted_task(number, seed=seed) for number in range(count))
