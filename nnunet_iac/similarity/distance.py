"""The distance of two data sets by any of the methods, with what was left out and what went wrong.

All methods work on features of label regions (:mod:`nnunet_iac.similarity.features`) from the same encoder:

- ``label-gaussians``: transport between Gaussians of the labels (:mod:`~nnunet_iac.similarity.mixture`). The default:
  fast, a metric, and its label statistics can be kept and compared again.
- ``otdd-exact``, ``otdd-entropic``, ``otdd-debiased``: transport of samples that pays for labels
  (:mod:`~nnunet_iac.similarity.transport`).
- ``sliced``: transport of samples along random directions, without labels; needs many samples.
- ``fid``: Bures-Wasserstein distance of the whole feature sets, without labels. Fréchet inception distance is its
  square.

Every value is a distance, never its square, in the unit of the features; the order of data sets is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.similarity import transport
from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein
from nnunet_iac.similarity.labelled_features import Dropped, LabelGroups, LabelledFeatures, label_groups
from nnunet_iac.similarity.mixture import label_gaussians, label_transport
from nnunet_iac.similarity.transport import Labelled, Transport, TransportOptions

Method = Literal["label-gaussians", "otdd-exact", "otdd-entropic", "otdd-debiased", "sliced", "fid"]

METHODS: tuple[Method, ...] = get_args(Method)
"""Names of the methods; the first is the default."""

SOLVERS: dict[Method, Callable[[Labelled, Labelled, TransportOptions], Transport]] = {
    "otdd-exact": transport.exact,
    "otdd-entropic": transport.entropic,
    "otdd-debiased": transport.debiased,
}
"""Methods that move samples and look at labels."""


@dataclass(frozen=True, eq=False)
class DistanceResult:
    """A distance and what it rests on.

    Attributes:
        value: the distance, not squared.
        method: how it was computed.
        source_names: ``k_s`` labels of the source that were used.
        target_names: ``k_t`` labels of the target that were used.
        plan: ``(k_s, k_t)``, the share of mass that goes from label to label, sum 1; None for methods without labels.
        source_dropped: what of the source was left out.
        target_dropped: what of the target was left out.
        warnings: what a reader should know, in words, with counts.
    """

    value: float
    method: Method
    source_names: tuple[str, ...]
    target_names: tuple[str, ...]
    plan: NDArray[np.float64] | None = None
    source_dropped: Dropped = field(default_factory=Dropped)
    target_dropped: Dropped = field(default_factory=Dropped)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return {**asdict(self), "plan": None if self.plan is None else self.plan.tolist()}


def distance(
    source: LabelledFeatures,
    target: LabelledFeatures,
    *,
    method: Method = "label-gaussians",
    options: TransportOptions | None = None,
) -> DistanceResult:
    """Return the distance of two data sets.

    Rows that are not finite and labels without any row are left out and counted. A side with one label is compared
    like any other. A label with one sample has covariance zero.

    Args:
        source: features of one data set.
        target: features of the other, from the same encoder.
        method: see the module.
        options: for the methods that look at samples.

    Raises:
        ValueError: for an unknown method, numbers of features that differ, or a side without a finite row.

    Example:
        >>> near = LabelledFeatures([[0.0], [1.0], [5.0], [6.0]], [1, 1, 2, 2], {1: "a", 2: "b"})
        >>> moved = LabelledFeatures([[8.0], [9.0], [3.0], [4.0]], [1, 1, 2, 2], {1: "c", 2: "d"})
        >>> [round(distance(near, moved, method=name).value, 3) for name in ("label-gaussians", "otdd-exact", "fid")]
        [3.0, 3.0, 3.0]
        >>> distance(near, moved).plan.tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    _check_dimensions(source, target)
    sides = label_groups(source, argument="source"), label_groups(target, argument="target")
    found = _solve(*sides, method, options or TransportOptions())
    unfinished = () if found.converged else ("the solver stopped before its tolerance: more iterations help",)
    return DistanceResult(
        value=float(np.sqrt(found.squared)),
        method=method,
        source_names=sides[0].names,
        target_names=sides[1].names,
        plan=found.plan,
        source_dropped=sides[0].dropped,
        target_dropped=sides[1].dropped,
        warnings=(*_warnings("source", sides[0]), *_warnings("target", sides[1]), *unfinished),
    )


@dataclass(frozen=True, eq=False)
class _Solved:
    squared: float
    plan: NDArray[np.float64] | None = None
    converged: bool = True


def _solve(source: LabelGroups, target: LabelGroups, method: Method, options: TransportOptions) -> _Solved:
    if method == "fid":
        whole = bures_wasserstein(Gaussian.from_samples(source.samples), Gaussian.from_samples(target.samples))
        return _Solved(whole**2)
    if method == "sliced":
        return _Solved(transport.sliced(source.samples, target.samples, options))
    gaussians = label_gaussians(source), label_gaussians(target)
    if method == "label-gaussians":
        labels = label_transport(*gaussians)
        return _Solved(labels.distance**2, labels.plan)
    moved = SOLVERS[method](Labelled(source, gaussians[0]), Labelled(target, gaussians[1]), options)
    return _Solved(moved.squared, moved.plan, moved.converged)


def _warnings(side: str, groups: LabelGroups) -> list[str]:
    dropped = groups.dropped
    found = []
    if dropped.rows:
        found.append(f"{side}: {dropped.rows} rows with NaN or infinity were dropped")
    if dropped.labels:
        found.append(f"{side}: {len(dropped.labels)} labels without a sample were dropped: {', '.join(dropped.labels)}")
    if dropped.single:
        found.append(f"{side}: {len(dropped.single)} labels have one sample: {', '.join(dropped.single)}")
    if len(groups.names) == 1:
        found.append(f"{side}: there is one label only: {groups.names[0]}")
    return found


def _check_dimensions(source: LabelledFeatures, target: LabelledFeatures) -> None:
    if source.features.shape[1] != target.features.shape[1]:
        raise ValueError(
            f"target: expected as many features as the source has, {source.features.shape[1]}, got "
            f"{target.features.shape[1]}; embed both with the same encoder and levels"
        )
