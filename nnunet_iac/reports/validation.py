"""Read the Dice scores that nnU-Net wrote, and find those of the host that a searched model is measured against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_iac.reports.documents import check_keys, read_object
from nnunet_iac.reports.plans import ModelName, is_ours

STOCK_TRAINER = "nnUNetTrainer"
"""The trainer whose results a searched model is compared with."""

_SUMMARY = Path("validation") / "summary.json"


@dataclass(frozen=True)
class Validation:
    """Dice of every validation case of one fold.

    Attributes:
        path: the ``summary.json`` it was read from.
        foreground_mean: nnU-Net's own mean over classes.
        dice: case (file name without ending) to class key to Dice in [0, 1]; NaN where a class is in neither the
            reference nor the prediction.
    """

    path: Path
    foreground_mean: float
    dice: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Host:
    """The host's validation, every file that was looked for, and whether what was found is surely this model's host.

    ``is_kin`` is False where the plans' names do not show that the host's plans are the model's own or its parents.
    """

    validation: Validation | None
    looked_for: tuple[Path, ...]
    is_kin: bool = True


@dataclass(frozen=True)
class HostOrigin:
    """What the run wrote about its own host in ``host.json``: words, and the checkpoint if weights were taken."""

    message: str
    checkpoint: str | None


def read_validation(path: Path) -> Validation:
    """Read nnU-Net's ``validation/summary.json``.

    Raises:
        ValueError: if the file is not what nnU-Net 2 writes.
        OSError: from the file system.
    """
    record = read_object(path)
    check_keys(record, ("foreground_mean", "metric_per_case"), str(path))
    try:
        dice = {_case_name(case): _dice_of(case) for case in record["metric_per_case"]}
        return Validation(path, float(record["foreground_mean"]["Dice"]), dice)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected foreground_mean.Dice and metric_per_case[].metrics[class].Dice as nnU-Net 2 writes "
            f"them, got {type(error).__name__} {error}; validate again with nnUNetv2_train … --val"
        ) from error


def validation_of(fold: Path) -> Validation | None:
    """Return the validation of a fold folder, None if the fold was not validated.

    Raises:
        ValueError: from :func:`read_validation`.
    """
    return read_validation(fold / _SUMMARY) if (fold / _SUMMARY).is_file() else None


def host_origin_of(fold: Path) -> HostOrigin | None:
    """Return what a run wrote about its host, None without ``host.json``.

    Raises:
        ValueError: if the file does not parse.
    """
    path = fold / "host.json"
    if not path.is_file():
        return None
    record = read_object(path)
    check_keys(record, ("message", "checkpoint"), str(path))
    return HostOrigin(str(record["message"]), record["checkpoint"])


def find_host(fold: Path, name: ModelName | None, checkpoint: str | None, derived_from: str | None = None) -> Host:
    """Find the stock result for the same fold.

    Looked for, in this order: beside the checkpoint that the search took its host from; in the stock trainer's folder
    of the same plans; of the plans that these were derived from; of plans with whose name this model's plans name
    starts (the longest first); of any other plans. Stock folders that carry cells themselves (``nnUNetTrainer -p
    <plans>_iac``) are no hosts.

    Raises:
        ValueError: from :func:`read_validation`.
    """
    given = Path(checkpoint).parent if checkpoint else None
    stock = _stock_folders(fold.parent, name, derived_from) if name else []
    folders = ([given] if given else []) + [folder / fold.name for folder in stock]
    looked_for = tuple(dict.fromkeys(folder / _SUMMARY for folder in folders))
    found = next((path for path in looked_for if path.is_file() and path.parent.parent != fold), None)
    if found is None or name is None:
        return Host(read_validation(found) if found else None, looked_for)
    folder = found.parent.parent
    is_kin = folder == given or _kinship(folder.parent, name, derived_from) > 0
    return Host(read_validation(found), looked_for, is_kin)


def _stock_folders(model: Path, name: ModelName, derived_from: str | None) -> list[Path]:
    named = [plans for plans in (name.plans, derived_from) if plans]
    expected = [model.parent / f"{STOCK_TRAINER}__{plans}__{name.configuration}" for plans in named]
    others = sorted(model.parent.glob(f"{STOCK_TRAINER}__*__{name.configuration}"))
    others.sort(key=lambda folder: _kinship(folder, name, derived_from), reverse=True)
    return [folder for folder in dict.fromkeys([*expected, *others]) if folder != model and not is_ours(folder)]


def _kinship(folder: Path, name: ModelName, derived_from: str | None) -> int:
    plans = folder.name.split("__")[1]
    return len(plans) if plans == derived_from or name.plans.startswith(plans) else 0


def _case_name(case: Mapping[str, Any]) -> str:
    # References keep their name in every run, predictions too; either may be absent in hand-made files.
    file = str(case.get("reference_file") or case["prediction_file"]).replace("\\", "/").rsplit("/", 1)[-1]
    return file[: -len(".nii.gz")] if file.endswith(".nii.gz") else file.rsplit(".", 1)[0]


def _dice_of(case: Mapping[str, Any]) -> dict[str, float]:
    values = {key: metrics["Dice"] for key, metrics in case["metrics"].items()}
    return {key: math.nan if value is None else float(value) for key, value in values.items()}
