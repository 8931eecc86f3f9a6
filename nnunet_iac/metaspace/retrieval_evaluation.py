"""Leave one data set out, as a retrieval does: the candidates of all other data sets, ordered for the one held out.

:mod:`~nnunet_iac.metaspace.evaluation` orders the held-out data set's own candidates; nobody who retrieves has these.
Here the order is that of :func:`~nnunet_iac.metaspace.ranking.rank` over what the others offer. How good each would be
on the held-out data set says :mod:`~nnunet_iac.metaspace.retrieval_truth`: by its architecture alone, so that the
remoteness of a source, which is about its weights, can only cost an order here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from nnunet_iac.markdown import table_text
from nnunet_iac.metaspace.evaluation import LEAST, RANDOM, SCORE_COLUMNS, mean_scores, score_cells
from nnunet_iac.metaspace.fitting import FEWEST, fit
from nnunet_iac.metaspace.order_scores import RankingScores, random_scores, ranking_scores
from nnunet_iac.metaspace.orders import order_scores, usable_orders
from nnunet_iac.metaspace.ranking import rank
from nnunet_iac.metaspace.retrieval_truth import NEAREST, SAME, Counterparts, counterparts
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.task import Task, check_tasks

FEWEST_DIFFERENT = 5
"""Different sub-networks of the held-out task below which an order says nothing: our choice. Plans of other depth share
the largest and the smallest at most."""


@dataclass(frozen=True)
class Offer:
    """How one method ordered what other data sets offer to a held-out one.

    Attributes:
        task: name of the held-out task.
        truth: :data:`~nnunet_iac.metaspace.retrieval_truth.SAME` or ``NEAREST``.
        method: see :class:`~nnunet_iac.metaspace.evaluation.Outcome`.
        scores: of the order.
        pairs: candidates whose truth is known, by that definition.
        offered: candidates of all other data sets, within the limit on parameters if there is one.
    """

    task: str
    truth: str
    method: str
    scores: RankingScores
    pairs: int
    offered: int


@dataclass(frozen=True)
class RetrievalEvaluation:
    """All outcomes.

    Attributes:
        offers: of each held-out task, truth by truth, method by method.
        remarks: what could not be scored and why, and how near the nearest are, in words.
    """

    offers: tuple[Offer, ...]
    remarks: tuple[str, ...]

    def markdown(self, *, each: bool = False) -> str:
        """Return a table with the means of each truth and method and, if asked for, a line for each task; then remarks.

        Without anything to show it is the remarks alone.
        """
        rows = [self._mean_row(truth, method) for truth, method in self._groups()]
        if each:
            rows += [_row(one.task, one, one.scores) for one in self.offers]
        table = [table_text(["held out", "truth", "pairs", "order by", *SCORE_COLUMNS], rows)] if rows else []
        return "\n".join([*table, *self.remarks])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        names = ("task", "truth", "method", "pairs", "offered")
        offers = [{**{name: getattr(one, name) for name in names}, **one.scores.to_dict()} for one in self.offers]
        return {"offers": offers, "remarks": list(self.remarks)}

    def mean(self, truth: str, method: str) -> RankingScores:
        """Return a method's scores averaged over held-out tasks."""
        return mean_scores([one.scores for one in self._of(truth, method)])

    def _of(self, truth: str, method: str) -> list[Offer]:
        return [one for one in self.offers if (one.truth, one.method) == (truth, method)]

    def _groups(self) -> list[tuple[str, str]]:
        return sorted(dict.fromkeys((one.truth, one.method) for one in self.offers), key=lambda group: group[0] != SAME)

    def _mean_row(self, truth: str, method: str) -> list[str]:
        found = self._of(truth, method)
        together = Offer("", truth, method, found[0].scores, *(sum(getattr(one, n) for one in found) for n in _COUNTS))
        return _row(f"mean of {len(found)}", together, self.mean(truth, method))


_COUNTS = ("pairs", "offered")


def evaluate_retrieval(
    tasks: Sequence[Task],
    settings: FitSettings | None = None,
    *,
    held_out: Collection[str] | None = None,
    max_parameters: float | None = None,
    listener: Callable[[str], None] = lambda text: None,
) -> RetrievalEvaluation:
    """Hold out each data set in turn, fit on the others, and score the order in which they offer their candidates.

    As in a retrieval, sources are the data sets of the same kind of network (plain or residual) whose weights have not
    seen the one held out, and every order is made as a retrieval makes it: see :mod:`~nnunet_iac.metaspace.orders`. Of
    equal candidates those of the less remote source come first.

    Args:
        tasks: of at least three data sets.
        settings: of the fits.
        held_out: names of the tasks to hold out, each with its whole data set; None for all.
        max_parameters: candidates that have more of them on the held-out plan are not offered; None: all are. Where
            the truth is not their own, it is the parameters of the network that stands for them.
        listener: is told, in words, which data set is held out.

    Raises:
        ValueError: if there are fewer than three data sets, or tasks do not fit together.
    """
    check_tasks(tasks, LEAST)
    offers: list[Offer] = []
    remarks: list[str] = []
    for task in tasks:
        if held_out is not None and task.name not in held_out:
            continue
        listener(f"held out, others offer: {task.name}")
        sources = sources_of(task, tasks)
        if len({source.dataset for source in sources}) < FEWEST:
            remarks.append(
                f"{task.name}: fewer than {FEWEST} other data sets have its kind of network and weights that never saw "
                "it; not scored."
            )
            continue
        found, words = _offered(task, sources, settings or FitSettings(), max_parameters)
        offers += found
        remarks += words
    return RetrievalEvaluation(tuple(offers), tuple(remarks))


def sources_of(task: Task, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that may offer candidates to one: of its kind of network, with weights that never saw it."""
    return [other for other in tasks if task.dataset not in other.lineage and _kind(other) == _kind(task)]


def _offered(
    task: Task, sources: Sequence[Task], settings: FitSettings, max_parameters: float | None
) -> tuple[list[Offer], list[str]]:
    space = fit(sources, settings)
    # Ties are broken by what stands first here, as a retrieval breaks them.
    ranked = sorted(rank(space, sources, task.sample), key=lambda one: (one.remoteness, one.task.name, one.index))
    own = counterparts(task, ranked)
    if max_parameters is not None:
        within = task.candidates.parameters[own.places] <= max_parameters
        if not within.any():
            return [], [f"{task.name}: no candidate has at most {max_parameters:,.0f} parameters; not scored."]
        ranked, own = [one for one, kept in zip(ranked, within, strict=True) if kept], own.of(within)
    orders = {}
    for name in usable_orders(space):
        scores_of = dict(zip((s.name for s in sources), order_scores(name, space, sources, task.sample), strict=True))
        orders[name] = np.array([scores_of[one.task.name][one.index] for one in ranked])
    offers, remarks = [], [_remark(task, own)]
    for truth in (SAME, NEAREST):
        kept = own.kept(truth)
        dice, different = task.candidates.dice[own.places[kept]], len(set(own.places[kept].tolist()))
        if different < FEWEST_DIFFERENT or len(set(dice)) < 2:
            words = f"{different} different networks, expected at least {FEWEST_DIFFERENT} that are not all as good"
            remarks.append(f"{task.name}: no order can be scored by the {truth} configuration: {words}.")
            continue
        scores = {method: ranking_scores(values[kept], dice) for method, values in orders.items()}
        scores[RANDOM] = random_scores(dice)
        offers += [Offer(task.name, truth, m, s, len(dice), len(kept)) for m, s in scores.items()]
    return offers, remarks


def _remark(task: Task, own: Counterparts) -> str:
    same = (
        f"{int(own.is_same.sum())} of {len(own.places)} offered networks are, on its plan, sub-networks measured there"
    )
    distinct = len(set(own.places[own.is_same].tolist()))
    others = own.distances[~own.is_same].tolist()
    far = f"; the others' nearest differ by {median(others):.2f} (median, relative widths and depths)" if others else ""
    return f"{task.name}: {same} ({distinct} different ones){far}."


def _kind(task: Task) -> bool:
    return bool(task.candidates.topology[0, -1])


def _row(held_out: str, one: Offer, scores: RankingScores) -> list[str]:
    return [held_out, one.truth, f"{one.pairs} of {one.offered}", one.method, *score_cells(scores)]
