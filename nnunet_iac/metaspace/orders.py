"""Orders in which the candidates of a zoo may be offered to a target: that of the meta-space, and simpler ones.

An order is a score for each candidate of each source; of the target it knows images and where their labels are, not how
any network does on it. All are in units that are the same for every source, so that candidates of different sources can
be compared:

- ``meta-space``: cosine of the embeddings less the weighted remoteness of the source, as MedNNS retrieves (the second
  term is ours, see :attr:`~nnunet_iac.metaspace.settings.FitSettings.remoteness`);
- ``predicted-dice``: of the meta-space's performance predictor;
- ``nearest``: the Dice that the candidate's configuration had on the source nearest to the target by optimal
  transport;
- ``best-on-average``: the mean of the Dice that it had on the sources, at most the :data:`AVERAGED` nearest;
- ``largest``: its parameters as a fraction of its supernet's largest candidate.

Which of them serves best depends on the zoo: :mod:`nnunet_iac.metaspace.order_choice` asks the zoo itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.metaspace.baselines import best_on_average, nearest_task, transferred_dice
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein

Array: TypeAlias = NDArray[np.float64]

SPACE, PREDICTED = "meta-space", "predicted-dice"
AVERAGE, LARGEST, NEAREST = "best-on-average", "largest", "nearest"

AVERAGED = 10
"""Data sets that an average is over at most, our choice: each more costs a comparison with every candidate."""

ROUNDING = 1e-20
"""Squared distances, relative to the mean square of the features, that are rounding error: of equal features they were
1e-31 to 1e-27. In units of the largest of them they would be anything up to 1."""


def remoteness(tasks: Sequence[Task], target: DatasetSample) -> list[float]:
    """Return how far the data set of each task is from a target: the squared Fréchet distance of their image features.

    In units of the largest of them, so that the farthest data set has 1; 0 if all have the target's features.
    """
    own = Gaussian.from_samples(target.features)
    squared = [bures_wasserstein(Gaussian.from_samples(task.sample.features), own) ** 2 for task in tasks]
    largest = max(squared, default=0.0)
    nothing = ROUNDING * (own.trace + float(own.mean @ own.mean))
    return [one / largest if largest > nothing else 0.0 for one in squared]


def order_scores(name: str, space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    """Return the scores ``(n,)`` of the candidates of each source; the higher, the earlier they are offered.

    Args:
        name: key of :data:`ORDERS`.
        space: fitted without the target.
        sources: whose candidates are offered, none of the target's own data set.
        target: its images.

    Raises:
        ValueError: if the space has no such order, see :func:`usable_orders`.
    """
    check_order(name, usable_orders(space))
    return ORDERS[name](space, sources, target) if sources else []


def check_order(name: str, known: Sequence[str] | Mapping[str, object]) -> None:
    """Check the name of an order.

    Raises:
        ValueError: naming those that are known.
    """
    if name not in known:
        raise ValueError(f"--order: expected one of {', '.join(known)}, got {name!r}")


def _by_space(space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    own, weight = space.embed_dataset(target), space.settings.remoteness
    far = remoteness(sources, target)
    cosines = (space.similarity(own, _models(space, task)).astype(np.float64) for task in sources)
    return [cosine - weight * one for cosine, one in zip(cosines, far, strict=True)]


def _by_prediction(space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    own = space.embed_dataset(target)
    return [space.predict(own, _models(space, task)).astype(np.float64) for task in sources]


def _by_nearest(space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    nearest, _ = nearest_task(target, sources)
    return [transferred_dice(task, nearest) for task in sources]


def _by_average(space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    by_distance = np.argsort(remoteness(sources, target), kind="stable")
    near = list(dict.fromkeys(sources[place].dataset for place in by_distance))[:AVERAGED]
    asked = [task for task in sources if task.dataset in near]
    return [best_on_average(task, asked) for task in sources]


def _by_size(space: MetaSpace, sources: Sequence[Task], target: DatasetSample) -> list[Array]:
    return [task.candidates.parameters / task.candidates.parameters.max() for task in sources]


def _models(space: MetaSpace, task: Task) -> NDArray[np.float32]:
    return space.embed_models(task.candidates.topology, task.candidates.responses)


ORDERS: Mapping[str, Callable[[MetaSpace, Sequence[Task], DatasetSample], list[Array]]] = {
    SPACE: _by_space,
    PREDICTED: _by_prediction,
    AVERAGE: _by_average,
    LARGEST: _by_size,
    NEAREST: _by_nearest,
}
"""All orders by name; of those that serve equally well the first is taken."""


def usable_orders(space: MetaSpace) -> tuple[str, ...]:
    """Return the orders that a space can make: without the weight of performance it predicts nothing."""
    return tuple(name for name in ORDERS if name != PREDICTED or space.settings.performance > 0)
