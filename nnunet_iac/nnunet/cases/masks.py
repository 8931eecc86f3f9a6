"""Read label maps as nnU-Net writes them, with their spacing, and measure a prediction against its reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.cases.nifti_check import check_nifti
from nnunet_iac.nnunet.files.label_set import LabelSet
from nnunet_iac.statistics.patients import Agreement
from nnunet_iac.statistics.segmentation import label_agreements

Unit = Literal["mm", "pixels"]

NATURAL_IMAGES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of files whose spacing nnU-Net takes for 1, whatever their header says (TIFF: a .json file may say more)."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map ``(*spatial)`` and the spacing of its axes, in the same order; pixels have spacing 1."""

    labels: NDArray[np.integer]
    spacing: tuple[float, ...]
    unit: Unit


@dataclass(frozen=True)
class Measured:
    """Agreement of each class of one case, and the unit of the distances."""

    agreements: tuple[Agreement, ...]
    unit: Unit


def read_mask(path: Path) -> Mask:
    """Read a label map with SimpleITK.

    Spacing is the header's, in mm, except for natural images (nnU-Net takes 1 for them, and a TIFF's resolution is
    that of a printer). 3D TIFF files have it in a .json file beside them, as nnU-Net writes it.

    Raises:
        ValueError: if the file cannot be read or does not hold one whole number for each voxel.
    """
    check_nifti(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path}: expected an image that SimpleITK reads, got: {str(error).splitlines()[-1]}"
        ) from error
    labels = _one_number_each(sitk.GetArrayFromImage(image), image.GetNumberOfComponentsPerPixel(), path)
    if path.suffix.lower() not in NATURAL_IMAGES:
        return Mask(labels, tuple(abs(step) for step in reversed(image.GetSpacing())), "mm")
    beside = path.with_suffix(".json")
    if path.suffix.lower() in (".tif", ".tiff") and beside.is_file():
        return Mask(labels, _spacing_beside(beside, labels.ndim), "mm")
    return Mask(labels, (1.0,) * labels.ndim, "pixels")


def measure(prediction: Path, reference: Path, labels: LabelSet) -> Measured:
    """Measure one prediction; distances are in the prediction's spacing, which nnU-Net takes from the image.

    Raises:
        ValueError: if a file is damaged, holds a label that ``dataset.json`` does not name, or both do not fit.
    """
    predicted, true = read_mask(prediction), read_mask(reference)
    for mask, path in ((predicted, prediction), (true, reference)):
        strange = sorted(set(np.unique(mask.labels).tolist()) - labels.known)
        if strange:
            raise ValueError(
                f"{path}: expected the label values {sorted(labels.known)} of dataset.json, got {strange[:5]}; is it a "
                "mask of this data set?"
            )
    if predicted.labels.shape != true.labels.shape:
        raise ValueError(
            f"{prediction}: expected the reference's shape {true.labels.shape}, got {predicted.labels.shape}; is "
            f"{reference} its reference?"
        )
    if predicted.unit == true.unit and not np.allclose(predicted.spacing, true.spacing, rtol=1e-3):
        raise ValueError(
            f"{prediction}: expected the reference's spacing {true.spacing}, got {predicted.spacing}; is {reference} "
            "its reference?"
        )
    classes = list(labels.classes.values())
    agreements = label_agreements(
        predicted.labels, true.labels, classes, spacing=predicted.spacing, ignore=labels.ignore
    )
    return Measured(agreements, predicted.unit)


def measure_all(pairs: Sequence[tuple[Path, Path]], labels: LabelSet, processes: int = 1) -> Iterator[Measured]:
    """Yield the measurements of pairs (prediction, reference) in their order, in several processes if asked for.

    Raises:
        ValueError: from :func:`measure`, or if ``processes`` is less than 1.
    """
    if processes < 1:
        raise ValueError(f"-np: expected at least one process, got {processes}")
    measured = partial(_measure_pair, labels=labels)
    if processes == 1:
        yield from map(measured, pairs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_take_one_thread) as pool:
        yield from pool.map(measured, pairs)


def _measure_pair(pair: tuple[Path, Path], labels: LabelSet) -> Measured:
    return measure(*pair, labels)


def _take_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _one_number_each(values: NDArray[Any], components: int, path: Path) -> NDArray[np.integer]:
    if components > 1 and (values == values[..., :1]).all():  # ITK reads grey BMP files as colours
        values, components = values[..., 0], 1
    if components > 1 or (values != np.floor(values)).any():
        what = f"{components} numbers" if components > 1 else "fractions"
        raise ValueError(f"{path}: expected a label map, one whole number for each voxel, got {what}; is it an image?")
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.int64)


def _spacing_beside(path: Path, axes: int) -> tuple[float, ...]:
    try:
        spacing = tuple(float(step) for step in read_json(path)["spacing"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the spacing of the image beside it, got {error!r}") from error
    if len(spacing) != axes:
        raise ValueError(f"{path}: expected a spacing for each of {axes} axes, got {spacing}")
    return spacing
