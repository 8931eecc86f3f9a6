"""All candidates of a zoo in the order in which a meta-space offers them to a target, and a walk down to those allowed.

MedNNS: T1 takes the nearest model of the space, T5 and T10 the five and ten nearest. Limits on size and speed are left
open there; here the walk asks for each candidate, nearest first, what it breaks, until enough are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import numpy as np

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
        similarity: cosine of the target's and the candidate's embedding; the order follows it.
        predicted: Dice that the performance predictor expects, 0 to 1.
    """

    task: Task
    index: int
    similarity: float
    predicted: float

    @property
    def configuration(self) -> SubnetConfiguration:
        """Depths and widths."""
        return self.task.candidates.configurations[self.index]

    @property
    def name(self) -> str:
        """For people: the task and the candidate's number."""
        return f"{self.task.name} candidate {self.index}"


class Ranking(Sequence[Ranked]):
    """Candidates of all tasks, the most similar to the target first; of equal ones in the order given.

    Only those that somebody asks for are found and made, with :meth:`RetrievalIndex.top`: of many thousands a
    retrieval looks at a few. The order is that of inner products in double precision.

    Args:
        space: that the embeddings are of.
        tasks: whose candidates are offered.
        models: ``(n, E)``, the embedded candidates of each task.
        target: ``(E,)``, the embedded target.
    """

    def __init__(self, space: MetaSpace, tasks: Sequence[Task], models: Sequence[Float32], target: Float32) -> None:
        self._space, self._tasks, self._target = space, tasks, target
        self._ends = np.cumsum([len(rows) for rows in models], dtype=np.intp)
        self._index = RetrievalIndex(np.concatenate(models)) if models else None
        self._found: list[Ranked] = []

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

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
        """Find the first of the order, twice as many as before at least: who asks one by one asks seldom here."""
        known = len(self._found)
        if count <= known or self._index is None:
            return
        best = self._index.top(self._target, min(len(self), max(count, 2 * known, FIRST)))
        places = best.places[known:]
        predicted = self._space.predict(self._target, self._index.embeddings[places])
        owners = np.searchsorted(self._ends, places, side="right")
        for place, owner, score, dice in zip(places, owners, best.scores[known:], predicted, strict=True):
            task = self._tasks[owner]
            index = int(place - self._ends[owner] + len(task.candidates))
            self._found.append(Ranked(task, index, float(score), float(dice)))


def rank(space: MetaSpace, tasks: Sequence[Task], target: DatasetSample) -> Ranking:
    """Return the candidates of all tasks, the most similar to the target first; of equal ones in the order given.

    Args:
        space: fitted without the target.
        tasks: whose candidates are offered; those of the target's own data set are left out.
        target: its images.

    Raises:
        ValueError: if the features come from another encoder.
    """
    embedded = space.embed_dataset(target)
    offered = [task for task in tasks if task.dataset != target.name]
    models = [space.embed_models(task.candidates.topology, task.candidates.responses) for task in offered]
    return Ranking(space, offered, models, embedded)


@dataclass(frozen=True, eq=False)
class Walk(Generic[Kept]):
    """What a walk found.

    Attributes:
        kept: candidates that break no limit, nearest first, with what was made of them.
        rejected: the others that were looked at, with what they break.
    """

    kept: tuple[tuple[Ranked, Kept], ...]
    rejected: tuple[tuple[Ranked, tuple[str, ...]], ...]


def walk(
    ranked: Sequence[Ranked], count: int, look: Callable[[Ranked], tuple[Kept, Sequence[str]]], *, most: int
) -> Walk[Kept]:
    """Look at candidates, nearest first, until ``count`` break no limit.

    Args:
        ranked: see :func:`rank`.
        count: how many to find.
        look: returns what is made of a candidate, and which limits it breaks.
        most: candidates to look at at most; what they break is measured, which takes time.

    Raises:
        ValueError: if none is allowed; the message says what the first ones break.
    """
    kept: list[tuple[Ranked, Kept]] = []
    rejected: list[tuple[Ranked, tuple[str, ...]]] = []
    for place in range(min(most, len(ranked))):
        one = ranked[place]
        made, broken = look(one)
        if broken:
            rejected.append((one, tuple(broken)))
        else:
            kept.append((one, made))
        if len(kept) == count:
            break
    if not kept:
        first = "; ".join(f"{one.name}: {', '.join(broken)}" for one, broken in rejected[:3])
        raise ValueError(
            f"limits: expected one of the {min(most, len(ranked))} nearest candidates within them, got none ({first}); "
            "loosen them, or look at more candidates"
        )
    return Walk(tuple(kept), tuple(rejected))
