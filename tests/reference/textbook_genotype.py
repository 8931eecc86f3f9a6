"""The textbook discretisation of PC-DARTS (model_search.py, ``genotype`` and its ``_parse``): lists and loops only."""

from __future__ import annotations

import math

from textbook_cell import NAMES

Edge = tuple[str, int]


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def parse(alpha: list[list[float]], beta: list[float], mask: list[list[bool]], nodes: int) -> list[list[Edge]]:
    """Two edges for each node by their best operation other than ``none``, weighted by the edge; inputs ascending."""
    gene = []
    start = 0
    for node in range(nodes):
        edge_weights = softmax(beta[start : start + node + 2])
        best: list[tuple[float, str, int]] = []
        for j in range(node + 2):
            active = [o for o in range(len(NAMES)) if mask[start + j][o]]
            probabilities = softmax([alpha[start + j][o] for o in active])
            weighted = {NAMES[o]: p * edge_weights[j] for o, p in zip(active, probabilities, strict=True)}
            weighted.pop("none", None)
            name = max(weighted, key=lambda n: weighted[n])
            best.append((weighted[name], name, j))
        two = sorted(best, key=lambda entry: -entry[0])[:2]
        gene.append(sorted(((name, j) for _, name, j in two), key=lambda edge: edge[1]))
        start += node + 2
    return gene
