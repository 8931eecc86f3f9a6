"""Scan of many data sets at once: relaxed transport between the sketches of their labels.

Transport between labels costs at least what it costs if every label may go to its nearest label of the other side
without regard to how much that one takes. The larger of both directions is the relaxed transport (as in the relaxed
word mover's distance, Kusner et al. 2015)::

    R = max( sum_k w_k min_l c_kl,  sum_l w'_l min_k c_kl )  <=  min over plans P of sum_kl P_kl c_kl

It needs no solver and is computed for all sources together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.similarity.sketches import Sketch, SketchSettings

Single = NDArray[np.float32]
Array = NDArray[np.float64]

ROUNDING = 1e-5
"""Error allowed for in a squared distance of single precision, relative to the squared lengths of the vectors."""


@dataclass(frozen=True, eq=False)
class SketchTable:
    """Sketches of the labels of many sources, one label a row, source after source.

    Attributes:
        means: ``(T, d)``.
        roots: ``(T, p)``.
        deviations: ``(T, d)``.
        weights: ``(T,)``, share of the label in its source.
        starts: ``(S + 1,)``, first row of each source, then ``T``.
    """

    means: Single
    roots: Single
    deviations: Single
    weights: Array
    starts: NDArray[np.intp]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in vars(self).values())

    def extended(self, sources: Sequence[Sequence[Sketch]], weights: Sequence[Array]) -> SketchTable:
        """Return the table with more sources behind: the sketches and the weights of the labels of each."""
        labels = [label for source in sources for label in source]

        def below(rows: Single, more: Sequence[Array]) -> Single:
            return np.concatenate([rows, np.asarray(more, dtype=np.float32)])

        return SketchTable(
            means=below(self.means, [label.mean for label in labels]),
            roots=below(self.roots, [label.root for label in labels]),
            deviations=below(self.deviations, [label.deviations for label in labels]),
            weights=np.concatenate([self.weights, *weights]),
            starts=np.concatenate([self.starts, self.starts[-1] + np.cumsum([len(source) for source in sources])]),
        )


@dataclass(frozen=True, eq=False)
class LabelCosts:
    """Squared distances between the labels of a query and of all sources.

    Attributes:
        estimates: ``(k, T)``, near the squared Bures-Wasserstein distances.
        lower: ``(k, T)``, never above them.
    """

    estimates: Array
    lower: Array


def empty_table(settings: SketchSettings) -> SketchTable:
    """Return a table without sources."""
    d, p = settings.dimensions, settings.projections
    means, roots, deviations = (np.empty((0, width), dtype=np.float32) for width in (d, p, d))
    return SketchTable(means, roots, deviations, np.empty(0), np.zeros(1, dtype=np.intp))


def label_costs(table: SketchTable, query: Sequence[Sketch]) -> LabelCosts:
    """Return the costs of every label of a query to every label of the table."""
    means, slack_means = _squared(table.means, [label.mean for label in query])
    roots, _ = _squared(table.roots, [label.root for label in query])
    deviations, slack_deviations = _squared(table.deviations, [label.deviations for label in query])
    lower = means + deviations - slack_means - slack_deviations
    return LabelCosts(estimates=np.maximum(means, 0) + np.maximum(roots, 0), lower=np.maximum(lower, 0))


def relaxed_transport(table: SketchTable, costs: Array, weights: Array) -> Array:
    """Return the relaxed transport ``(S,)`` of a query with shares ``(k,)`` to every source.

    Args:
        table: the sources.
        costs: ``(k, T)``, squared distances of the labels.
        weights: of the labels of the query.

    Example:
        >>> none = np.zeros((3, 1), dtype=np.float32)
        >>> table = SketchTable(none, none, none, np.array([0.5, 0.5, 1.0]), np.array([0, 2, 3]))
        >>> relaxed_transport(table, np.array([[0.0, 4.0, 1.0]]), np.array([1.0])).tolist()
        [2.0, 1.0]
    """
    starts = table.starts[:-1]
    there = weights @ np.minimum.reduceat(costs, starts, axis=1)
    back = np.add.reduceat(table.weights * costs.min(axis=0), starts)
    return np.maximum(there, back)


def _squared(rows: Single, query: Sequence[Array]) -> tuple[Array, Array]:
    """Return squared distances ``(k, T)`` by one product in single precision, and the error to allow for."""
    vectors = np.asarray(query, dtype=np.float32)
    lengths = np.square(rows).sum(axis=1) + np.square(vectors).sum(axis=1)[:, None]
    squared = lengths - 2 * (vectors @ rows.T)
    return squared.astype(np.float64), ROUNDING * lengths.astype(np.float64)
