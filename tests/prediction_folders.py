"""Folders of predictions and references as nnU-Net leaves them: small boxes in images of known spacing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunet_folders import DATASET, Folders
from numpy.typing import NDArray

PATIENTS = {f"p{p}": [f"p{p}_a", f"p{p}_b"] for p in range(4)}
CASES = [case for cases in PATIENTS.values() for case in cases]
SPACING = (5.0, 2.0, 1.0)
"""Of the axes of the arrays, in mm."""

DATASET_JSON = {"labels": {"background": 0, "ring": 1, "core": 2}, "file_ending": ".nii.gz"}


def labels(shift: int = 0, axis: int = 1) -> NDArray[np.uint8]:
    """A core in a ring, shifted by some voxels."""
    array = np.zeros((8, 16, 16), np.uint8)
    array[2:6, 4:12, 4:12] = 1
    array[3:5, 6:10, 6:10] = 2
    return np.roll(array, shift, axis)


def write_mask(path: Path, array: NDArray[np.generic], spacing: tuple[float, ...] | None = SPACING) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    if spacing is not None:
        image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))


def write_masks(folder: Path, shift: int = 0, axis: int = 1, cases: list[str] = CASES) -> Path:
    for case in cases:
        write_mask(folder / f"{case}.nii.gz", labels(shift, axis))
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_dataset(folders: Folders) -> None:
    """References and patients of the data set."""
    write_masks(folders.preprocessed / "gt_segmentations")
    write_json(folders.preprocessed / "dataset.json", DATASET_JSON)
    write_json(folders.raw / "patient_groups.json", PATIENTS)


def write_model(folders: Folders, trainer: str, shift: int = 0, fold: int = 0, cases: list[str] = CASES) -> Path:
    """Return the folder of a validated fold."""
    model = folders.results / f"{trainer}__nnUNetPlans__2d"
    write_json(model / "dataset.json", DATASET_JSON)
    write_json(model / "plans.json", {"dataset_name": DATASET})
    write_masks(model / f"fold_{fold}" / "validation", shift, cases=cases)
    return model / f"fold_{fold}"
