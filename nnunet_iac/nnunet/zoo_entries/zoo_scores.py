"""Scores of a fold as nnU-Net wrote them, with what they were measured on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunet_iac.nnunet.files.hosts import FINAL
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.zoo.entry import Score

METRICS = ("Dice", "IoU")
"""What is taken from ``summary.json``; the rest are counts of voxels."""


def read_scores(fold: Path, dataset: Mapping[str, Any], number: str, checkpoint: str) -> tuple[Score, ...]:
    """Return the scores of ``validation/summary.json``; none if the fold was not validated.

    A label that is nowhere (nnU-Net writes NaN) has no score.

    Args:
        fold: the folder.
        dataset: content of ``dataset.json``, for the names of labels.
        number: of the fold; nnU-Net validates ``all`` on cases that were trained on, and so the scores say.
        checkpoint: file whose weights the scores are kept with.

    Raises:
        ValueError: if the file is not what nnU-Net writes.
    """
    path = fold / "validation" / "summary.json"
    if not path.is_file():
        return ()
    record = read_object(path)
    try:
        measured_on = _measured_on(len(record["metric_per_case"]), number, checkpoint)
        names = _label_names(dataset)
        sides = {"": record["foreground_mean"]} | {names.get(k, k): v for k, v in record["mean"].items()}
        return tuple(_scores(sides, measured_on))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected foreground_mean, mean and metric_per_case as nnU-Net writes them, got {error!r}; "
            "validate again with nnUNetv2_train … --val"
        ) from error


def _scores(sides: Mapping[str, Mapping[str, Any]], measured_on: str) -> Iterator[Score]:
    for label, values in sides.items():
        for metric in METRICS:
            value = math.nan if values.get(metric) is None else float(values[metric])
            if math.isfinite(value):
                yield Score(metric, value, measured_on, label)


def _measured_on(cases: int, fold: str, checkpoint: str) -> str:
    which = f"{cases} training cases (fold all)" if fold == "all" else f"{cases} validation cases of fold {fold}"
    doubt = "" if checkpoint == FINAL else f"; nnU-Net does not say whether with {checkpoint}"
    return which + doubt


def _label_names(dataset: Mapping[str, Any]) -> dict[str, str]:
    """Return names by the keys of ``summary.json``: a class's value, or the text of a region's tuple.

    nnU-Net's region ``(1,)`` of one value stands there as ``(1,)`` or ``1``, by how ``dataset.json`` has it.
    """
    labels = dataset.get("labels", {})
    return {str(tuple(value) if isinstance(value, list) else value): str(name) for name, value in labels.items()}
