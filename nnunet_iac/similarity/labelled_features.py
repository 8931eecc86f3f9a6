"""One side of a comparison: feature vectors with a label each, and what of them can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Feature vectors of a data set, one for each (image, label region) pair.

    Attributes:
        features: ``(n, d)``, kept as float64; rows may hold NaN, they are dropped and counted when used.
        labels: ``(n,)``, integers. Their values mean nothing beyond same or different.
        names: name of each label; a label that is named but has no row counts as an empty region, one without a
            name is called by its number.

    Raises:
        ValueError: if the shapes do not fit or labels are not integers.

    Example:
        >>> side = LabelledFeatures([[0.0, 1.0], [2.0, 3.0]], [1, 2], {1: "liver", 2: "tumour"})
        >>> side.features.shape, side.labels.tolist()
        ((2, 2), [1, 2])
    """

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        features, labels = np.asarray(self.features, dtype=np.float64), np.asarray(self.labels)
        if features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(
                f"features: expected (samples, dimensions), got shape {features.shape}; one row for each region"
            )
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"labels: expected one for each of {features.shape[0]} rows of features, got shape {labels.shape}"
            )
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", _integers(labels))

    def name(self, label: int) -> str:
        """Return the name of a label."""
        return self.names.get(label, str(label))


def alternate_halves(labels: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return every other row of each label, and the rest, as places of rows.

    Rows come image after image and label after label, so every other one of all may be of one label alone.

    Example:
        >>> [half.tolist() for half in alternate_halves([1, 2, 1, 2, 1, 2, 1, 2])]
        [[0, 4, 1, 5], [2, 6, 3, 7]]
    """
    by_label = np.argsort(np.asarray(labels), kind="stable")
    return by_label[::2], by_label[1::2]


@dataclass(frozen=True)
class Dropped:
    """What of a side was not used, and what was used with little behind it.

    Attributes:
        rows: rows with a value that is not finite; dropped.
        labels: names of the labels without any row; dropped.
        single: names of the labels with one row; used, with covariance zero.
    """

    rows: int = 0
    labels: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LabelGroups:
    """The usable rows of a side, label by label.

    Attributes:
        names: ``k`` names, in the order of the labels' numbers.
        groups: ``k`` arrays ``(n_k, d)``, each with at least one row.
        dropped: what was left out.
    """

    names: tuple[str, ...]
    groups: tuple[NDArray[np.float64], ...]
    dropped: Dropped

    @property
    def weights(self) -> NDArray[np.float64]:
        """``(k,)``, the share of rows of each label."""
        sizes = np.array([len(group) for group in self.groups], dtype=np.float64)
        return sizes / sizes.sum()

    @property
    def samples(self) -> NDArray[np.float64]:
        """``(n, d)``, all rows, label after label."""
        return np.concatenate(self.groups)

    @property
    def positions(self) -> NDArray[np.intp]:
        """``(n,)``, for each row of ``samples`` the place of its label in ``names``."""
        return np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups])


def label_groups(side: LabelledFeatures, *, argument: str = "side") -> LabelGroups:
    """Return the rows of each label, without rows that are not finite and without labels that have no row.

    Args:
        side: the features.
        argument: what an error calls them.

    Raises:
        ValueError: if no finite row is left.

    Example:
        >>> side = LabelledFeatures([[0.0], [float("nan")], [2.0]], [1, 1, 2], {1: "a", 2: "b", 3: "c"})
        >>> groups = label_groups(side)
        >>> groups.names, groups.dropped
        (('a', 'b'), Dropped(rows=1, labels=('c',), single=('a', 'b')))
    """
    finite = np.asarray(np.isfinite(side.features).all(axis=1))
    if not finite.any():
        raise ValueError(
            f"{argument}: expected at least one row of finite features, got {len(side.labels)} rows, none finite; "
            "check the images and the encoder that made them"
        )
    features, labels = side.features[finite], side.labels[finite]
    present = np.unique(labels)
    known = sorted({*(int(label) for label in side.labels), *side.names})
    groups = tuple(features[labels == label] for label in present)
    names = tuple(side.name(int(label)) for label in present)
    return LabelGroups(
        names=names,
        groups=groups,
        dropped=Dropped(
            rows=int((~finite).sum()),
            labels=tuple(side.name(label) for label in known if label not in present),
            single=tuple(name for name, group in zip(names, groups, strict=True) if len(group) == 1),
        ),
    )


def _integers(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: expected integers, got values of type {labels.dtype}; number the labels first")
    return np.asarray(labels, dtype=np.int64)
