"""All candidates of a zoo in the order in which they are offered to a target, and a walk down to those allowed.

MedNNS: T1 takes the nearest model of the space, T5 and T10 the five and ten nearest. Limits on size and speed are left
open there; here the walk asks for each candidate in turn what it breaks, until enough are found. What can
be known without measuring is asked first and costs none of the looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.metaspace.orders import SPACE, Array, order_scores, remoteness
from nnunet_iac.metaspace.retrieval import RetrievalIndex
from nnunet_iac.metaspace.space import Float32, MetaSpace
from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.zoo.configuration import SubnetConfiguration

Kept = TypeVar("Kept")

FIRST = 16
"""Candidates that are found at once at least: more than any protocol trains."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """A candidate and how well it goes with a target.

    Attributes:
        task: whose candidate it is.
        index: its place among the task's candidates.
        similarity: cosine of the target's and the candidate's embedding.
        predicted: Dice that the performance predictor expects, 0 to 1.
        remoteness: of the data set that it comes from, see :func:`~nnunet_iac.metaspace.orders.remoteness`.
    """

    task: Task
    index: int
    similarity: float
    predicted: float
    remoteness: float = 0.0

    @property
    def configuration(self) -> SubnetConfiguration:
        """Depths and widths."""
        return self.task.candidates.configurations[self.index]

    @property
    def own_dice(self) -> float:
        """Dice on held-out patches of the data set that it comes from, 0 to 1, with its supernet's weights."""
        return float(self.task.candidates.dice[self.index])

    @property
    def name(self) -> str:
        """For people: the task and the candidate's number."""
        return f"{self.task.name} candidate {self.index}"


class Ranking(Sequence[Ranked]):
    """Candidates of all tasks, the best for the target first; of equal ones in the order given.

    The meta-space's order is that of ``similarity - w remoteness`` with ``w`` of
    :attr:`~nnunet_iac.metaspace.settings.FitSettings.remoteness`; both terms together are one inner product, in double
    precision. Another order is given by its scores; of equal ones those of the less remote source come first. Only
    those that somebody asks for are found and made, with :meth:`RetrievalIndex.top`: of many thousands a retrieval
    looks at a few.

    Args:
        space: that the embeddings are of.
        tasks: whose candidates are offered.
        models: ``(n, E)``, the embedded candidates of each task.
        target: ``(E,)``, the embedded target.
        remote: remoteness of each task's data set; default: all are equally near, and nothing is added to the index.
        scores: ``(n,)``, of the candidates of each task; None for the meta-space's order.
    """

    def __init__(
        self,
        space: MetaSpace,
        tasks: Sequence[Task],
        models: Sequence[Float32],
        target: Float32,
        remote: Sequence[float] = (),
        scores: Sequence[Array] | None = None,
    ) -> None:
        self._space, self._tasks, self._target, self._query = space, tasks, target, target
        self._remote = list(remote) or [0.0] * len(tasks)
        self._ends = np.cumsum([len(rows) for rows in models], dtype=np.intp)
        self._models = np.concatenate(models) if models else np.zeros((0, len(target)), np.float32)
        self._order = None if scores is None else self._sorted(scores)
        self._index = RetrievalIndex(self._with_remoteness()) if models and scores is None else None
        self._found: list[Ranked] = []

    def __len__(self) -> int:
        return len(self._models)

    @overload
    def __getitem__(self, place: int) -> Ranked: ...
    @overload
    def __getitem__(self, place: slice) -> list[Ranked]: ...
    def __getitem__(self, place: int | slice) -> Ranked | list[Ranked]:
        """Return what stands at a place of the order; the same object each time."""
        places = range(len(self))[place]
        if isinstance(places, range):
            self._find(max(places, default=-1) + 1)
            return [self._found[one] for one in places]
        self._find(places + 1)
        return self._found[places]

    def _find(self, count: int) -> None:
        """Find the first ``count`` of the order, at least twice as many as known, so that single look-ups are cheap."""
        known = len(self._found)
        if count <= known:
            return
        places = self._first(min(len(self), max(count, 2 * known, FIRST)))[known:]
        models = self._models[places]
        predicted = self._space.predict(self._target, models)
        similarity = models.astype(np.float64) @ self._target.astype(np.float64)
        owners = np.searchsorted(self._ends, places, side="right")
        for place, owner, cosine, dice in zip(places, owners, similarity, predicted, strict=True):
            task = self._tasks[owner]
            index = int(place - self._ends[owner] + len(task.candidates))
            self._found.append(Ranked(task, index, float(cosine), float(dice), self._remote[owner]))

    def _first(self, count: int) -> NDArray[np.intp]:
        if self._order is not None:
            return self._order[:count]
        return self._index.top(self._query, count).places if self._index is not None else np.zeros(0, np.intp)

    def _sorted(self, scores: Sequence[Array]) -> NDArray[np.intp]:
        far = np.repeat(self._remote, [len(rows) for rows in scores])
        return np.lexsort((far, -np.concatenate(scores))) if scores else np.zeros(0, np.intp)

    def _with_remoteness(self) -> Float32:
        """Return the embeddings with a column that makes the query's inner product the score."""
        if not any(self._remote):
            return self._models
        self._query = np.append(self._target, np.float32(-self._space.settings.remoteness))
        sizes = np.diff(self._ends, prepend=0)
        return np.column_stack([self._models, np.repeat(np.asarray(self._remote, np.float32), sizes)])


def rank(space: MetaSpace, tasks: Sequence[Task], target: DatasetSample, order: str = SPACE) -> Ranking:
    """Return the candidates of all tasks, the best for the target first; of equal ones in the order given.

    In the meta-space's order the cosine orders the candidates of one source, and that is all that the rank loss teaches
    it. Which source a candidate comes from is judged by the images: see :attr:`FitSettings.remoteness`.

    Args:
        space: fitted without the target.
        tasks: whose candidates are offered; those of the target's own data set, or with weights that have seen it, are
            left out.
        target: its images.
        order: key of :data:`~nnunet_iac.metaspace.orders.ORDERS`.

    Raises:
        ValueError: if the features come from another encoder, or there is no such order.
    """
    embedded = space.embed_dataset(target)
    offered = [task for task in tasks if target.name not in task.lineage]
    models = [space.embed_models(task.candidates.topology, task.candidates.responses) for task in offered]
    # The meta-space's own order needs no score of every candidate: its index finds the first ones.
    scores = None if order == SPACE else order_scores(order, space, offered, target)
    return Ranking(space, offered, models, embedded, remoteness(offered, target), scores)


@dataclass(frozen=True, eq=False)
class Walk(Generic[Kept]):
    """What a walk found.

    Attributes:
        kept: candidates that break no limit, in their order, with what was made of them.
        rejected: the others on the way, with what they break.
    """

    kept: tuple[tuple[Ranked, Kept], ...]
    rejected: tuple[tuple[Ranked, tuple[str, ...]], ...]


def walk(
    ranked: Sequence[Ranked],
    count: int,
    look: Callable[[Ranked], tuple[Kept, Sequence[str]]],
    *,
    most: int,
    outsized: Callable[[Ranked], Sequence[str]] = lambda one: (),
) -> Walk[Kept]:
    """Look at candidates, one after the other, until ``count`` break no limit.

    Args:
        ranked: see :func:`rank`.
        count: how many to find.
        look: returns what is made of a candidate, and which limits it breaks.
        most: candidates to look at at most; what they break is measured, which takes time.
        outsized: returns which limits a candidate breaks that need no measuring; such are passed over uncounted.

    Raises:
        ValueError: if none is allowed; the message says what the first ones break.
    """
    kept: list[tuple[Ranked, Kept]] = []
    rejected: list[tuple[Ranked, tuple[str, ...]]] = []
    looked, place = 0, 0
    while place < len(ranked) and looked < most and len(kept) < count:
        one = ranked[place]
        place += 1
        if too_large := tuple(outsized(one)):
            rejected.append((one, too_large))
            continue
        looked += 1
        made, broken = look(one)
        if broken:
            rejected.append((one, tuple(broken)))
        else:
            kept.append((one, made))
    if not kept:
        first = "; ".join(f"{one.name}: {', '.join(broken)}" for one, broken in rejected[:3])
        raise ValueError(
            f"limits: expected one of the first {place} candidates within them, got none ({first}); loosen them"
            + (", or look at more candidates (--most, retrieval.most)" if place < len(ranked) else "")
        )
    return Walk(tuple(kept), tuple(rejected))
