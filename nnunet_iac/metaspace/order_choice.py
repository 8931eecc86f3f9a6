"""Which order of candidates serves a zoo: each is tried on the zoo's own data sets, one held out after the other.

No order is the best everywhere. In a planted world where each data set wants another width of network, the meta-space
finds it and size is worthless; in a zoo of four real data sets, trained briefly, the largest network was the best of
each (README). So the sources vote: each is held out in turn, the others offer it their candidates in every order, and
the order that lost least Dice is taken. The target has no part in this. A choice among five by a few data sets is
uncertain, and what each lost is said and kept with it.

MedNNS orders by the meta-space alone; that is ``--order meta-space``. To choose among methods by cross-validation is
the discrete super learner of van der Laan, Polley and Hubbard (2007); to apply it here is our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean
from typing import Any

import numpy as np

from nnunet_iac.metaspace.evaluation import LEAST
from nnunet_iac.metaspace.order_scores import PROTOCOLS, RankingScores
from nnunet_iac.metaspace.orders import ORDERS, SPACE, check_order, remoteness
from nnunet_iac.metaspace.retrieval_evaluation import RetrievalEvaluation, evaluate_retrieval, sources_of
from nnunet_iac.metaspace.retrieval_truth import NEAREST
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.task import DatasetSample, Task

MEASURED = "measured"
"""The name of the wish to let the zoo choose."""

WISHES = (MEASURED, *ORDERS)

ASKED = 10
"""Data sets that are held out at most, those nearest to the target: our choice. Each takes a fit, seconds."""


@dataclass(frozen=True)
class OrderChoice:
    """An order and why it was taken.

    Attributes:
        name: key of :data:`~nnunet_iac.metaspace.orders.ORDERS`.
        why: in words.
        lost: for each order, the Dice that the protocol lost with it on held-out data sets; empty if nobody asked.
    """

    name: str
    why: str
    lost: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """In words."""
        return f"Order of candidates: {self.name}, {self.why}."

    def to_dict(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {"name": self.name, "why": self.why, "lost": dict(self.lost)}


def choose_order(
    wish: str,
    sources: Sequence[Task],
    target: DatasetSample,
    settings: FitSettings,
    *,
    count: int = 1,
    max_parameters: float | None = None,
    listener: Callable[[str], None] = lambda text: None,
) -> OrderChoice:
    """Return the wanted order, or the one that serves best among the sources.

    That is the order of the smallest regret of the protocol, averaged over held-out data sets; of equally good ones
    that of the smallest regret of all protocols, then of the higher rank correlation, then the first of
    :data:`~nnunet_iac.metaspace.orders.ORDERS`. Truth is that of :mod:`~nnunet_iac.metaspace.retrieval_truth`,
    ``nearest``. A limit on parameters counts: who may not have the largest networks asks which order serves best among
    the others; where it leaves too few to score, all are asked about, and the words say so. Limits on multiply-adds,
    time and memory play no part: of a zoo's candidates only the parameters are known.

    Args:
        wish: one of :data:`WISHES`.
        sources: of the zoo, none of the target's own data set.
        target: its images say which sources are asked where there are more than :data:`ASKED`.
        settings: of the fits.
        count: candidates that the protocol looks at, 1, 5 or 10.
        max_parameters: see :func:`~nnunet_iac.metaspace.retrieval_evaluation.evaluate_retrieval`.
        listener: is told, in words, which data set is held out.

    Raises:
        ValueError: if there is no such order, or the sources do not fit together.
    """
    check_order(wish, WISHES)
    if wish != MEASURED:
        return OrderChoice(wish, "as asked for")
    datasets = {task.dataset for task in sources}
    if len(datasets) < LEAST:
        return OrderChoice(SPACE, f"untested: that takes {LEAST} other data sets, the zoo has {len(datasets)}")
    found = evaluate_retrieval(
        sources, settings, held_out=_asked(sources, target), max_parameters=max_parameters, listener=listener
    )
    if max_parameters is None:
        return best_order(found, count)
    if any(one.truth == NEAREST for one in found.offers):
        choice, among = best_order(found, count), f"among networks of at most {max_parameters:,.0f} parameters"
    else:
        choice = choose_order(wish, sources, target, settings, count=count, listener=listener)
        among = f"among networks of any size, as too few have at most {max_parameters:,.0f} parameters"
    return replace(choice, why=f"{choice.why}, {among}") if choice.lost else choice


def best_order(found: RetrievalEvaluation, count: int = 1) -> OrderChoice:
    """Return the order that an evaluation shows to be the best for a protocol."""
    tried = [name for name in ORDERS if any(one.method == name for one in found.offers if one.truth == NEAREST)]
    if not tried:
        return OrderChoice(SPACE, f"untested: {' '.join(found.remarks)}".rstrip("."))
    scores = {name: found.mean(NEAREST, name) for name in tried}
    lost = {name: one.regret[count] for name, one in scores.items()}
    best = min(tried, key=lambda name: (round(lost[name], 9), *_next_best(scores[name])))
    held_out = len({one.task for one in found.offers if one.truth == NEAREST})
    others = ", ".join(f"{name} {lost[name]:.3f}" for name in tried if name != best)
    why = f"with which T{count} lost {lost[best]:.3f} Dice on {held_out} held-out tasks of the zoo ({others})"
    return OrderChoice(best, why, lost)


def with_choice(
    found: RetrievalEvaluation,
    tasks: Sequence[Task],
    settings: FitSettings,
    *,
    listener: Callable[[str], None] = lambda text: None,
) -> RetrievalEvaluation:
    """Return an evaluation with one method more, ``measured``: the order that each held-out data set's sources choose.

    A choice is tested here as an order is, on data sets that had no part in it; without this, the order that looks best
    in a table was chosen by that table. The choice is that of T1. At most :data:`ASKED` data sets are tested, with one
    task each: every one asks its sources in turn.

    Args:
        found: of these tasks and settings.
        tasks: of at least four data sets, or no task has enough sources to choose.
        settings: of the fits.
        listener: is told, in words, which data set is held out.
    """
    added, remarks = [], []
    scored = {one.task for one in found.offers}
    tested = list({task.dataset: task for task in reversed(tasks) if task.name in scored}.values())[::-1][:ASKED]
    for task in tested:
        own = [one for one in found.offers if one.task == task.name]
        say = partial(_say_for, listener, task.name)
        choice = choose_order(MEASURED, sources_of(task, tasks), task.sample, settings, listener=say)
        remarks.append(f"{task.name}: its sources choose {choice.name}, {choice.why}.")
        added += [replace(one, method=MEASURED) for one in own if one.method == choice.name]
    return RetrievalEvaluation((*found.offers, *added), (*found.remarks, *remarks))


def _say_for(listener: Callable[[str], None], name: str, text: str) -> None:
    listener(f"choice for {name}: {text}")


def _asked(sources: Sequence[Task], target: DatasetSample) -> list[str]:
    """Return the tasks to hold out, one of each data set: every one takes a fit."""
    by_distance = [sources[place] for place in np.argsort(remoteness(sources, target), kind="stable")]
    return list({task.dataset: task.name for task in reversed(by_distance)}.values())[::-1][:ASKED]


def _next_best(scores: RankingScores) -> tuple[float, float]:
    return round(mean(scores.regret[k] for k in PROTOCOLS), 9), -(scores.spearman or 0.0)
