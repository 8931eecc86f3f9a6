"""A data set as Gaussians of its labels, and the transport between two of them: the fast label-aware distance.

Each label is a Gaussian ``N_k`` with weight ``w_k``, the share of its samples. The distance is the optimal transport
between the labels themselves, with the Bures-Wasserstein distance as ground cost (our choice of a fast stand-in for
OTDD; as a distance of Gaussian mixtures it is MW2 of Delon and Desolneux 2020, and a metric)::

    MW2^2 = min over P >= 0 with row sums w, column sums w'  of  sum_kl P_kl BW^2(N_k, N'_l)

With OTDD (:mod:`nnunet_iac.similarity.transport`, weights 1) it is tied from both sides if labels are Gaussian:
``(MW2^2 + BW^2 of the whole sets) / 2 <= OTDD^2 <= MW2^2``. The left side holds for any labels, since a plan between
samples pays at least MW2^2 / 2 for labels and BW^2 / 2 for features (Gelbrich 1990); on the right, the best plan
between labels, carried out by the best plan within each pair of labels, is one of the plans that OTDD may choose.

Samples are touched once, for the
statistics; a comparison then costs ``k k'`` Bures-Wasserstein distances and one ``k x k'`` transport problem, whatever
the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ot
from numpy.typing import ArrayLike, NDArray

from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein_matrix
from nnunet_iac.similarity.labelled_features import LabelGroups

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelGaussians:
    """Gaussians of the labels of one data set.

    Attributes:
        gaussians: one for each of ``k`` labels.
        weights: ``(k,)``, positive, sum 1.
        names: of the labels.

    Raises:
        ValueError: if the numbers of Gaussians, weights and names differ, there is none, or the weights are not
            positive with sum 1.
    """

    gaussians: tuple[Gaussian, ...]
    weights: Array
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        object.__setattr__(self, "weights", weights)
        if not len(self.gaussians) == len(weights) == len(self.names) >= 1:
            raise ValueError(
                "gaussians: expected at least one, and as many weights and names, got "
                f"{len(self.gaussians)} Gaussians, {len(weights)} weights, {len(self.names)} names"
            )
        if not ((weights > 0).all() and np.isclose(weights.sum(), 1)):
            raise ValueError(f"weights: expected positive shares with sum 1, got {weights.tolist()}")

    @property
    def whole(self) -> Gaussian:
        """The Gaussian of all samples together."""
        return Gaussian.combined(self.weights, self.gaussians)

    @property
    def slack(self) -> float:
        """Distance to the labels that these stand for, at most; see :class:`Gaussian`."""
        return float(np.sqrt(self.weights @ np.square([g.slack for g in self.gaussians])))

    def truncated(self, rank: int) -> LabelGaussians:
        """Return the same labels with at most ``rank`` principal axes each; see :meth:`Gaussian.truncated`."""
        return LabelGaussians(tuple(g.truncated(rank) for g in self.gaussians), self.weights, self.names)


@dataclass(frozen=True, eq=False)
class LabelTransport:
    """Which label goes where.

    Attributes:
        distance: MW2, not squared.
        costs: ``(k_s, k_t)``, Bures-Wasserstein distances of the labels, not squared.
        plan: ``(k_s, k_t)``, transported shares, sum 1.
    """

    distance: float
    costs: Array
    plan: Array


def label_gaussians(groups: LabelGroups) -> LabelGaussians:
    """Return the Gaussian of each label, weighted by its share of the samples.

    Example:
        >>> from nnunet_iac.similarity.labelled_features import LabelledFeatures, label_groups
        >>> side = label_gaussians(label_groups(LabelledFeatures([[0.0], [2.0], [7.0], [7.0]], [1, 1, 2, 2])))
        >>> [g.mean.item() for g in side.gaussians], side.weights.tolist()
        ([1.0, 7.0], [0.5, 0.5])
    """
    return LabelGaussians(tuple(Gaussian.from_samples(group) for group in groups.groups), groups.weights, groups.names)


def label_transport(source: LabelGaussians, target: LabelGaussians) -> LabelTransport:
    """Return the optimal transport between the labels of two data sets.

    Raises:
        ValueError: if their dimensions differ.

    Example:
        >>> def side(*means: float) -> LabelGaussians:
        ...     gaussians = tuple(Gaussian.from_moments([mean], [[1.0]]) for mean in means)
        ...     return LabelGaussians(gaussians, [0.5, 0.5], ("a", "b"))
        >>> found = label_transport(side(0.0, 4.0), side(4.0, 3.0))
        >>> round(found.distance**2, 6), found.plan.tolist()
        (4.5, [[0.0, 0.5], [0.5, 0.0]])
    """
    costs = bures_wasserstein_matrix(source.gaussians, target.gaussians)
    squared, plan = transport_of_shares(source.weights, target.weights, costs**2)
    return LabelTransport(distance=float(np.sqrt(squared)), costs=costs, plan=plan)


def transport_of_shares(source: ArrayLike, target: ArrayLike, costs: Array) -> tuple[float, Array]:
    """Return the least cost of moving shares ``(k_s,)`` to ``(k_t,)`` at costs ``(k_s, k_t)``, and the plan."""
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    plan = np.asarray(ot.emd(a, b, np.ascontiguousarray(costs)))
    return float(np.vdot(plan, costs)), plan
