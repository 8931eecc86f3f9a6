"""Leave one data set out: does the meta-space order the sub-networks of a data set that it never saw?

Better than some simple orders, not better than all. In a planted world, where each data set wants a certain width of
network and its images show which (eight data sets, each held out, four seeds; ``python
scripts/measure_planted_worlds.py``), the means were

===============  ========  =========  =========  ==========
order by         Spearman  regret T1  regret T5  regret T10
===============  ========  =========  =========  ==========
meta-space          0.774      0.034      0.013       0.007
predicted-dice      0.708      0.046      0.021       0.014
nearest             0.829      0.026      0.010       0.005
best-on-average     0.369      0.070      0.049       0.038
largest            -0.142      0.430      0.166       0.164
random choice       0.000      0.145      0.040       0.023
===============  ========  =========  =========  ==========

All sources have the very same candidates scored there, which suits the orders that take over a Dice. In other words:
the meta-space has to be measured on the zoo at hand, and ``nnunet-iac zoo fit`` prints this table for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.markdown import table_text
from nnunet_iac.metaspace.baselines import best_on_average, largest_network, nearest_dataset
from nnunet_iac.metaspace.fitting import FEWEST, fit, squared_fid
from nnunet_iac.metaspace.order_scores import PROTOCOLS, RankingScores, random_scores, ranking_scores
from nnunet_iac.metaspace.orders import AVERAGE, LARGEST, NEAREST, PREDICTED, SPACE
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Task, check_tasks

ABLATION, RANDOM = "contrastive loss only", "random choice"

LEAST = 3
"""Data sets that are needed: one to hold out, two to fit on."""

SCORE_COLUMNS = ("Spearman", "Kendall", *(f"regret T{k}" for k in PROTOCOLS))
"""Heads of the columns of :func:`score_cells`."""


@dataclass(frozen=True)
class Outcome:
    """How one method ordered the candidates of one held-out task.

    Attributes:
        task: name of the held-out task.
        method: such as ``meta-space`` (order by similarity, as retrieval does) or ``random choice``.
        scores: of the order.
        remark: such as which data set was nearest; may be empty.
    """

    task: str
    method: str
    scores: RankingScores
    remark: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All outcomes.

    Attributes:
        outcomes: of each held-out task, method by method.
        settings: of the fits.
        remarks: which data sets could not be held out, and why.
    """

    outcomes: tuple[Outcome, ...]
    settings: FitSettings
    remarks: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, ours first."""
        return tuple(dict.fromkeys(outcome.method for outcome in self.outcomes))

    def mean(self, method: str) -> RankingScores:
        """Return a method's scores averaged over held-out tasks; correlations over those that have one."""
        return mean_scores([outcome.scores for outcome in self.outcomes if outcome.method == method])

    def markdown(self, *, each: bool = False) -> str:
        """Return a table with the means of each method, if asked for a line for each held-out task too, and remarks."""
        count = len({outcome.task for outcome in self.outcomes})
        rows = [[f"mean of {count}", method, *score_cells(self.mean(method))] for method in self.methods]
        if each:
            rows += [
                [o.task, o.method + f" ({o.remark})" * bool(o.remark), *score_cells(o.scores)] for o in self.outcomes
            ]
        return "\n".join([table_text(["held out", "order by", *SCORE_COLUMNS], rows), *self.remarks])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        outcomes = [
            {"task": o.task, "method": o.method, "remark": o.remark, **o.scores.to_dict()} for o in self.outcomes
        ]
        means = {method: self.mean(method).to_dict() for method in self.methods}
        remarks = list(self.remarks)
        return {"settings": self.settings.to_dict(), "means": means, "outcomes": outcomes, "remarks": remarks}


def evaluate(
    tasks: Sequence[Task],
    settings: FitSettings | None = None,
    *,
    ablation: bool = False,
    listener: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Hold out each data set in turn, with all its tasks, fit on the others, and score the orders of its candidates.

    The fit never sees the held-out data set: not its images, not its candidates, not their performance, and no
    candidates whose weights have seen it. Embedding its
    candidates uses their topologies and responses, embedding it uses its images.

    Args:
        tasks: of at least three data sets.
        settings: of the fits.
        ablation: also fit with the contrastive loss alone.
        listener: is told, in words, which data set is held out.

    Raises:
        ValueError: if there are fewer than three data sets, tasks do not fit together, or no data set has two others
            whose weights have not seen it.
    """
    settings = settings or FitSettings()
    check_tasks(tasks, LEAST)
    fid = squared_fid(tasks)
    outcomes: list[Outcome] = []
    remarks = []
    for dataset in dict.fromkeys(task.dataset for task in tasks):
        listener(f"held out: {dataset}")
        kept = np.array([dataset not in task.lineage for task in tasks])
        others = [task for task in tasks if dataset not in task.lineage]
        if len({task.dataset for task in others}) < FEWEST:
            remarks.append(
                f"{dataset}: fewer than {FEWEST} other data sets have weights that never saw it; not held out."
            )
            continue
        own = fid[np.ix_(kept, kept)]
        space = fit(others, settings, fid=own)
        contrast = fit(others, settings.contrastive_only(), fid=own) if ablation else None
        for task in tasks:
            if task.dataset == dataset:
                outcomes += [*_fitted(task, space, contrast), *_compared(task, others)]
    if not outcomes:
        raise ValueError(f"tasks: expected one at least that can be held out, got none: {' '.join(remarks)}")
    return Evaluation(tuple(outcomes), settings, tuple(remarks))


def mean_scores(found: Sequence[RankingScores]) -> RankingScores:
    """Return the mean of scores; of correlations over those that have one."""
    return RankingScores(
        spearman=_mean([scores.spearman for scores in found]),
        kendall=_mean([scores.kendall for scores in found]),
        regret={k: mean(scores.regret[k] for scores in found) for k in PROTOCOLS},
    )


def score_cells(scores: RankingScores) -> list[str]:
    """Return both correlations and the regrets, as cells of a table under :data:`SCORE_COLUMNS`."""
    correlations = ["-" if value is None else f"{value:.3f}" for value in (scores.spearman, scores.kendall)]
    regrets = [f"{scores.regret[k]:.4f}" for k in PROTOCOLS]
    return [*correlations, *regrets]


def _fitted(task: Task, space: MetaSpace, contrast: MetaSpace | None) -> list[Outcome]:
    similarity, predicted = _scores(task, space)
    found = [Outcome(task.name, SPACE, ranking_scores(similarity, task.candidates.dice))]
    if space.settings.performance:
        found.append(Outcome(task.name, PREDICTED, ranking_scores(predicted, task.candidates.dice)))
    if contrast is not None:
        found.append(Outcome(task.name, ABLATION, ranking_scores(_scores(task, contrast)[0], task.candidates.dice)))
    return found


def _compared(task: Task, others: Sequence[Task]) -> list[Outcome]:
    dice = task.candidates.dice
    scores, source, distance = nearest_dataset(task, others)
    return [
        Outcome(task.name, NEAREST, ranking_scores(scores, dice), f"{source.name}, distance {distance:.4g}"),
        Outcome(task.name, AVERAGE, ranking_scores(best_on_average(task, others), dice)),
        Outcome(task.name, LARGEST, ranking_scores(largest_network(task), dice)),
        Outcome(task.name, RANDOM, random_scores(dice)),
    ]


def _scores(task: Task, space: MetaSpace) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    dataset = space.embed_dataset(task.sample)
    models = space.embed_models(task.candidates.topology, task.candidates.responses)
    return space.similarity(dataset, models), space.predict(dataset, models)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None
