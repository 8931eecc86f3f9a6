r"""Optimal transport between the samples of two data sets, on POT: OTDD exact, entropic and debiased, and sliced.

The optimal transport dataset distance (Alvarez-Melis and Fusi 2020) moves samples, and pays for moving between labels::

    C_ij = f ||x_i - x'_j||^2 / 2 + l BW^2(N_{y_i}, N'_{y'_j}) / 2      f, l: weights of features and of labels
    OTDD^2 = min over plans P of sum_ij P_ij C_ij

Samples weigh the same. The entropic form adds ``e KL(P | a b^T)`` to the objective and is faster, but far from 0 for a
data set and itself; the debiased form (Sinkhorn divergence, Feydy et al. 2019) subtracts that::

    OT_e(s, t) - OT_e(s, s) / 2 - OT_e(t, t) / 2        OT_e: the optimal value, entropy included; never negative

``e`` is ``regularisation`` times the mean of the cost between the two sides, so that it means the same in every unit,
and is the same in the three terms. All values here are squared distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ot
from numpy.typing import NDArray

from nnunet_iac.similarity.gaussians import bures_wasserstein_matrix
from nnunet_iac.similarity.labelled_features import LabelGroups
from nnunet_iac.similarity.mixture import LabelGaussians

Array = NDArray[np.float64]

PIVOTS = 10_000_000
"""Steps of the exact solver before it gives up; POT's default is too few for thousands of samples."""


@dataclass(frozen=True)
class TransportOptions:
    """What the distances of samples can be told.

    Attributes:
        feature_weight: ``f``, of the squared distance of features.
        label_weight: ``l``, of the squared distance of labels; 0 ignores labels.
        regularisation: of the entropic and debiased forms, relative to the mean cost.
        iterations: most iterations of Sinkhorn's algorithm.
        tolerance: error of the marginals at which it stops, relative to the marginals (Euclidean norms). The error
            of the value is of second order in it.
        projections: directions of the sliced distance.
        seed: of these directions.

    Raises:
        ValueError: if a value is out of range.
    """

    feature_weight: float = 1.0
    label_weight: float = 1.0
    regularisation: float = 0.05
    iterations: int = 2000
    tolerance: float = 1e-4
    projections: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "feature_weight": (self.feature_weight >= 0, "a number that is not negative"),
            "label_weight": (self.label_weight >= 0, "a number that is not negative"),
            "regularisation": (self.regularisation > 0, "a positive number"),
            "iterations": (self.iterations >= 1, "a positive number"),
            "tolerance": (self.tolerance > 0, "a positive number"),
            "projections": (self.projections >= 1, "a positive number"),
        }
        wrong = [f"{name}: expected {what}, got {getattr(self, name)}" for name, (ok, what) in checks.items() if not ok]
        if not wrong and self.feature_weight + self.label_weight == 0:
            wrong.append("feature_weight: expected a positive number where label_weight is 0, got 0")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples with the Gaussians of their labels."""

    groups: LabelGroups
    gaussians: LabelGaussians


@dataclass(frozen=True, eq=False)
class Transport:
    """What a solver found.

    Attributes:
        squared: the squared distance.
        plan: ``(k_s, k_t)``, mass moved between labels, sum 1.
        converged: whether the solver reached its tolerance.
    """

    squared: float
    plan: Array
    converged: bool


def ground_cost(source: Labelled, target: Labelled, options: TransportOptions) -> Array:
    """Return the costs ``(n_s, n_t)`` of moving each sample of the source to each of the target."""
    between = bures_wasserstein_matrix(source.gaussians.gaussians, target.gaussians.gaussians) ** 2
    features = ot.dist(source.groups.samples, target.groups.samples)
    labels = between[np.ix_(source.groups.positions, target.groups.positions)]
    return np.asarray(options.feature_weight * features + options.label_weight * labels) / 2


def exact(source: Labelled, target: Labelled, options: TransportOptions) -> Transport:
    """Return OTDD by the network simplex; time grows with about the third power of the number of samples."""
    cost = ground_cost(source, target, options)
    a, b = _uniform(len(cost)), _uniform(cost.shape[1])
    plan, log = ot.emd(a, b, cost, numItermax=PIVOTS, log=True)
    return Transport(float(np.vdot(plan, cost)), _between_labels(plan, source, target), log["warning"] is None)


def entropic(source: Labelled, target: Labelled, options: TransportOptions) -> Transport:
    """Return the cost of Sinkhorn's plan, without the entropy: an upper bound of OTDD, not 0 for equal sides."""
    cost = ground_cost(source, target, options)
    found = _sinkhorn(cost, options.regularisation * float(cost.mean()), options)
    return Transport(float(np.vdot(found.plan, cost)), _between_labels(found.plan, source, target), found.converged)


def debiased(source: Labelled, target: Labelled, options: TransportOptions) -> Transport:
    """Return the Sinkhorn divergence: 0 for equal sides, symmetric, not negative within the tolerance."""
    cost = ground_cost(source, target, options)
    strength = options.regularisation * float(cost.mean())
    between = _sinkhorn(cost, strength, options)
    within = [_sinkhorn(ground_cost(side, side, options), strength, options) for side in (source, target)]
    squared = between.value - sum(found.value for found in within) / 2
    converged = all(found.converged for found in (between, *within))
    return Transport(max(0.0, squared), _between_labels(between.plan, source, target), converged)


def sliced(source: Array, target: Array, options: TransportOptions) -> float:
    """Return the squared sliced Wasserstein distance of samples ``(n, d)`` and ``(m, d)``; labels are not looked at.

    The mean over random directions of the squared distance of the projections; in one dimension it is exact.
    """
    found = ot.sliced_wasserstein_distance(source, target, n_projections=options.projections, seed=options.seed)
    return float(found) ** 2


@dataclass(frozen=True, eq=False)
class _Entropic:
    value: float
    plan: Array
    converged: bool


def _sinkhorn(cost: Array, strength: float, options: TransportOptions) -> _Entropic:
    """Return the optimal value of ``<P, C> + e KL(P | a b^T)`` and its plan.

    The least cost of each row and then of each column is taken off first, which changes the potentials and nothing
    else: the kernel then has a 1 in every row and column and cannot vanish, as it does for costs far above ``e``.
    """
    a, b = _uniform(len(cost)), _uniform(cost.shape[1])
    if strength == 0:
        return _Entropic(0.0, np.outer(a, b), True)
    rows = cost.min(axis=1)
    reduced = cost - rows[:, None]
    columns = reduced.min(axis=0)
    reduced -= columns
    threshold = options.tolerance * float(np.linalg.norm(b))
    plan, log = ot.sinkhorn(
        a, b, reduced, strength, numItermax=options.iterations, stopThr=threshold, log=True, warn=False
    )
    potentials = (rows + strength * np.log(log["u"] / a), columns + strength * np.log(log["v"] / b))
    value = float(a @ potentials[0] + b @ potentials[1] - strength * (plan.sum() - 1))
    if not np.isfinite(value):
        raise ValueError(
            f"regularisation: expected one that double precision can hold, got {options.regularisation}; "
            "use a larger one or the exact method"
        )
    return _Entropic(value, plan, bool(log["err"]) and log["err"][-1] <= threshold)


def _between_labels(plan: Array, source: Labelled, target: Labelled) -> Array:
    """Return the mass ``(k_s, k_t)`` that a plan ``(n_s, n_t)`` moves between labels."""
    rows = np.eye(len(source.groups.groups))[source.groups.positions]
    columns = np.eye(len(target.groups.groups))[target.groups.positions]
    return np.asarray(rows.T @ plan @ columns)


def _uniform(size: int) -> Array:
    return np.full(size, 1 / size)
