"""Dice of the searched model and of its host as tables of the same cases and classes, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.reports.artefacts import FoldArtefacts
from nnunet_iac.reports.validation import Validation

SERIES = 8
"""With more classes than this, the pairs of cases hold the mean of classes instead of one series for each."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Dice of N cases and K classes; both models' arrays have the same rows and columns.

    Attributes:
        classes: K names.
        cases: N names.
        ours: ``(N, K)``, NaN where a class is absent from reference and prediction.
        host: ``(N, K)``, None if the host was not validated.
        left_out: cases that only one of both has.
    """

    classes: tuple[str, ...]
    cases: tuple[str, ...]
    ours: NDArray[np.float64]
    host: NDArray[np.float64] | None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DiceByClass:
    """Mean Dice of each class over cases, last row: mean of classes; ``host`` is None without a host result."""

    rows: tuple[str, ...]
    ours: NDArray[np.float64]
    host: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class DiceByCase:
    """Pairs ``(host, ours)`` of each series (a class, or the mean of classes); NaN pairs are left out."""

    series: tuple[tuple[str, NDArray[np.float64], NDArray[np.float64]], ...]


def scores_data(folds: Iterable[FoldArtefacts], names: Mapping[str, str]) -> Scores | None:
    """Pool the validation cases of folds; None if no fold was validated.

    Folds with a host result count alone when there is at least one, so that both columns hold the same cases.
    """
    validated = [(fold.validation, fold.host.validation) for fold in folds if fold.validation is not None]
    if not validated:
        return None
    paired = [(ours, host) for ours, host in validated if host is not None]
    if not paired:
        ours = _merged(ours for ours, _ in validated)
        keys = _class_keys(ours, names)
        return Scores(_named(keys, names), tuple(sorted(ours)), _table(ours, sorted(ours), keys), None)
    ours, theirs = _merged(ours for ours, _ in paired), _merged(host for _, host in paired)
    cases = sorted(ours.keys() & theirs.keys())
    keys = _class_keys(ours, names)
    return Scores(
        classes=_named(keys, names),
        cases=tuple(cases),
        ours=_table(ours, cases, keys),
        host=_table(theirs, cases, keys),
        left_out=tuple(sorted(ours.keys() ^ theirs.keys())),
    )


def case_means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over classes of each case, ``(N, K) -> (N,)``; NaN where a case has no class at all.

    Example:
        >>> case_means(np.array([[0.5, 1.0], [0.5, np.nan], [np.nan, np.nan]])).tolist()
        [0.75, 0.5, nan]
    """
    return _mean_over(table, axis=1)


def dice_by_class_data(scores: Scores) -> DiceByClass:
    """Return what :func:`draw_dice_by_class` draws: means over cases, as nnU-Net takes them."""
    return DiceByClass(
        rows=(*scores.classes, "mean of classes"),
        ours=_class_means(scores.ours),
        host=None if scores.host is None else _class_means(scores.host),
    )


def dice_by_case_data(scores: Scores) -> DiceByCase:
    """Return what :func:`draw_dice_by_case` draws.

    Raises:
        ValueError: if there is no host result to pair with.
    """
    if scores.host is None:
        raise ValueError("scores.host: expected the host's Dice, got None; draw the classes alone instead")
    if len(scores.classes) > SERIES:
        columns = [("mean of classes", case_means(scores.host), case_means(scores.ours))]
    else:
        columns = [(name, scores.host[:, i], scores.ours[:, i]) for i, name in enumerate(scores.classes)]
    return DiceByCase(tuple((name, *_finite_pairs(host, ours)) for name, host, ours in columns))


def _merged(validations: Iterable[Validation | None]) -> dict[str, Mapping[str, float]]:
    return {case: dice for validation in validations if validation for case, dice in validation.dice.items()}


def _class_keys(dice: Mapping[str, Mapping[str, float]], names: Mapping[str, str]) -> list[str]:
    known = list(names)
    found = {key for row in dice.values() for key in row}
    return sorted(found, key=lambda key: (known.index(key) if key in known else len(known), len(key), key))


def _named(keys: list[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(key, f"class {key}") for key in keys)


def _table(dice: Mapping[str, Mapping[str, float]], cases: list[str], keys: list[str]) -> NDArray[np.float64]:
    values = [[dice[case].get(key, np.nan) for key in keys] for case in cases]
    return np.array(values, dtype=np.float64).reshape(len(cases), len(keys))


def _class_means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    means = _mean_over(table, axis=0)
    return np.append(means, _mean_over(means[None], axis=1))


def _mean_over(table: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    # nanmean warns about empty slices; 0/0 here is the NaN that is meant.
    counts = np.isfinite(table).sum(axis=axis)
    return np.where(counts > 0, np.nansum(table, axis=axis) / np.maximum(counts, 1), np.nan)


def _finite_pairs(
    host: NDArray[np.float64], ours: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = np.isfinite(host) & np.isfinite(ours)
    return host[both], ours[both]
