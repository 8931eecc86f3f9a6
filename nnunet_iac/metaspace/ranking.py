"""All candidates of a zoo in the order in which a meta-space offers them to a target, and a walk down to those allowed.

MedNNS: T1 takes the nearest model of the space, T5 and T10 the five and ten nearest. Limits on size and speed are left
open there; here the walk asks for each candidate, nearest first, what it breaks, until enough are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.zoo.configuration import SubnetConfiguration

Kept = TypeVar("Kept")


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


def rank(space: MetaSpace, tasks: Sequence[Task], target: DatasetSample) -> list[Ranked]:
    """Return the candidates of all tasks, the most similar to the target first; of equal ones in the order given.

    Args:
        space: fitted without the target.
        tasks: whose candidates are offered; those of the target's own data set are left out.
        target: its images.

    Raises:
        ValueError: if the features come from another encoder.
    """
    embedded = space.embed_dataset(target)
    found: list[Ranked] = []
    for task in tasks:
        if task.dataset == target.name:
            continue
        models = space.embed_models(task.candidates.topology, task.candidates.responses)
        similar, predicted = space.similarity(embedded, models), space.predict(embedded, models)
        found += [Ranked(task, index, float(similar[index]), float(predicted[index])) for index in range(len(models))]
    order = np.argsort([-one.similarity for one in found], kind="stable")
    return [found[place] for place in order]


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
    for one in ranked[:most]:
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
