"""The losses of the meta-space as loops over pairs of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]
Table = Sequence[Row]


def performance(predicted: Table, dice: Table) -> float:
    errors = [(p - d) ** 2 for ps, ds in zip(predicted, dice, strict=True) for p, d in zip(ps, ds, strict=True)]
    return sum(errors) / len(errors)


def rank(similarities: Table, dice: Table, sigma: float) -> float:
    tasks = []
    for s, p in zip(similarities, dice, strict=True):
        pairs = [
            math.log1p(math.exp(-(s[i] - s[j]) / sigma)) for i in range(len(p)) for j in range(len(p)) if p[i] > p[j]
        ]
        if pairs:
            tasks.append(sum(pairs) / len(pairs))
    return sum(tasks) / len(tasks) if tasks else 0.0


def fid(datasets: Table, distances: Table, beta: float) -> float:
    terms = []
    for i in range(len(datasets)):
        for j in range(i):
            squared = sum((a - b) ** 2 for a, b in zip(datasets[i], datasets[j], strict=True))
            terms.append((squared - beta * distances[i][j]) ** 2)
    return sum(terms) / len(terms) if terms else 0.0


def contrastive(datasets: Table, models: Table, margin: float) -> float:
    def score(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(datasets[i], models[j], strict=True))

    total, places = 0.0, range(len(datasets))
    for i in places:
        worst_model = max(score(i, j) for j in places if j != i)
        worst_dataset = max(score(j, i) for j in places if j != i)
        total += max(0.0, margin + worst_model - score(i, i)) + max(0.0, margin + worst_dataset - score(i, i))
    return total / len(datasets)
