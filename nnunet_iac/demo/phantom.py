"""A phantom data set in nnU-Net's raw format: hearts in short-axis view, two phases for each patient.

The signal model is that of a bright-blood cine MR: tissue intensities with texture, blurred and averaged over the
voxel (partial volume in all three axes), times a smooth bias field and the patient's own scale, then Rician noise
``|s + n1 + i n2|``, ``n ~ N(0, sigma)``. Everything is drawn from the seed and the patient's number alone, so the
same seed gives the same voxels and a patient does not depend on how many others there are.

``python -m nnunet_iac.demo.phantom FOLDER --seed 0`` writes one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nnunet_iac.atomic import write_json
from nnunet_iac.demo.anatomy import (
    LABELS,
    TISSUE_LABELS,
    Anatomy,
    Surroundings,
    contract,
    draw_anatomy,
    draw_surroundings,
    tissues,
)
from nnunet_iac.json_files import read_json

NAME = "nnunet-iac phantom"
"""What ``dataset.json`` calls itself; only a data set of this name is ever overwritten."""

PHASES = ("frame01", "frame02")
"""End of diastole, end of systole."""

_FINE = 3
_SIGNAL = (0.07, 0.33, 0.6, 0.9, 0.28, 0.88, 0.34, 0.27, 1.0, 0.34)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The voxels: ``size`` pixels on a side of ``pixel`` mm, ``slices`` of ``thickness`` mm."""

    size: int = 48
    pixel: float = 2.0
    slices: int = 7
    thickness: float = 10.0

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing in SimpleITK's order (x, y, z), mm."""
        return (self.pixel, self.pixel, self.thickness)


@dataclass(frozen=True)
class Case:
    """One phase of one patient: ``image`` (Z, Y, X) of int16 and ``labels`` (Z, Y, X) of uint8, values 0 to 3."""

    name: str
    image: NDArray[np.int16]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Scanner:
    """How one patient is imaged: signal of each tissue, texture, surroundings, bias exponent (Y, X), scale, noise."""

    signal: NDArray[np.float64]
    texture: NDArray[np.float64]
    around: Surroundings
    bias: NDArray[np.float64]
    scale: float
    noise: float


def draw_patient(seed: int, patient: int, grid: Grid | None = None) -> tuple[Case, Case]:
    """Return both phases of one patient.

    Example:
        >>> diastole, systole = draw_patient(0, 1)
        >>> diastole.name, diastole.image.shape
        ('patient001_frame01', (7, 48, 48))
        >>> bool((diastole.labels == 3).sum() > (systole.labels == 3).sum())
        True
    """
    grid = grid or Grid()
    rng = np.random.default_rng([seed, patient])
    diastole = draw_anatomy(rng)
    systole = contract(diastole, rng)
    scanner = _draw_scanner(rng, grid)
    first, second = (
        Case(f"patient{patient:03d}_{phase}", _image(anatomy, scanner, grid, rng), _labels(anatomy, grid))
        for phase, anatomy in zip(PHASES, (diastole, systole), strict=True)
    )
    return first, second


def write_dataset(
    folder: Path, *, seed: int = 0, patients: int = 10, test_patients: int = 2, overwrite: bool = False
) -> None:
    """Write a data set: imagesTr, labelsTr, imagesTs, labelsTs, dataset.json and patient_groups.json.

    It is built in a hidden folder beside ``folder`` and renamed at the end, so a data set is whole or absent.

    Args:
        folder: the data set's folder, e.g. ``$nnUNet_raw/Dataset900_Phantom``.
        seed: same seed, same voxels.
        patients: patients for training; each gives two cases.
        test_patients: further patients, for imagesTs and labelsTs.
        overwrite: replace ``folder`` if it holds another phantom.

    Raises:
        FileExistsError: if ``folder`` exists and ``overwrite`` is not set, or holds anything but a phantom.
        ValueError: if a count or the seed is out of range.
    """
    _check_counts(seed, patients, test_patients)
    _check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        groups = {f"patient{p:03d}": _write_patient(building, "Tr", seed, p) for p in range(1, patients + 1)}
        for patient in range(patients + 1, patients + test_patients + 1):
            _write_patient(building, "Ts", seed, patient)
        write_json(building / "patient_groups.json", groups)
        write_json(building / "dataset.json", _dataset_json(cases=2 * patients, seed=seed))
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a phantom data set from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nnunet_iac.demo.phantom", description="Write a phantom data set.")
    parser.add_argument("folder", type=Path, help="the data set's folder, e.g. $nnUNet_raw/Dataset900_Phantom")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same voxels (default: 0)")
    parser.add_argument("--patients", type=int, default=10, help="patients for training, two cases each (default: 10)")
    parser.add_argument("--test-patients", type=int, default=2, help="further patients for imagesTs (default: 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing phantom")
    args = parser.parse_args(argv)
    try:
        write_dataset(
            args.folder,
            seed=args.seed,
            patients=args.patients,
            test_patients=args.test_patients,
            overwrite=args.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"phantom: {error}", file=sys.stderr)
        return 2
    print(f"wrote {2 * args.patients} training and {2 * args.test_patients} test cases to {args.folder}")
    return 0


def _check_counts(seed: int, patients: int, test_patients: int) -> None:
    wanted = (("seed", seed, 0), ("patients", patients, 1), ("test_patients", test_patients, 0))
    problems = [f"{name}: expected at least {low}, got {value}" for name, value, low in wanted if value < low]
    if problems:
        raise ValueError("; ".join(problems))


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(
            f"{folder}: expected a folder that does not exist; choose another one or pass --overwrite"
        )
    if _name_of(folder) != NAME and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: expected a phantom data set (dataset.json with name {NAME!r}), found something else; "
            "it is not overwritten: choose another folder"
        )


def _name_of(folder: Path) -> object:
    try:
        record = read_json(folder / "dataset.json")
    except (OSError, ValueError):
        return None
    return record.get("name") if isinstance(record, Mapping) else None


def _write_patient(folder: Path, part: str, seed: int, patient: int) -> list[str]:
    grid = Grid()
    cases = draw_patient(seed, patient, grid)
    for case in cases:
        _write_volume(case.image, folder / f"images{part}" / f"{case.name}_0000.nii.gz", grid)
        _write_volume(case.labels, folder / f"labels{part}" / f"{case.name}.nii.gz", grid)
    return [case.name for case in cases]


def _write_volume(volume: NDArray[Any], path: Path, grid: Grid) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(grid.spacing)
    sitk.WriteImage(image, str(path))


def _dataset_json(*, cases: int, seed: int) -> dict[str, Any]:
    return {
        "name": NAME,
        "description": f"synthetic short-axis hearts, seed {seed}; no patient was imaged",
        "channel_names": {"0": "cineMRI"},
        "labels": dict(LABELS),
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }


def _coordinates(grid: Grid, fine: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return row and column coordinates (Y, X) from the middle, mm, with ``fine`` points for each pixel's side."""
    count = grid.size * fine
    axis = ((np.arange(count) + 0.5) / count - 0.5) * grid.size * grid.pixel
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def _labels(anatomy: Anatomy, grid: Grid) -> NDArray[np.uint8]:
    y, x = _coordinates(grid, 1)
    empty = np.zeros(y.shape, dtype=bool)
    nothing = Surroundings(empty, empty, empty)
    depths = (np.arange(grid.slices) + 0.5) / grid.slices
    return np.stack([TISSUE_LABELS[tissues(anatomy, nothing, y, x, float(depth))] for depth in depths])


def _image(anatomy: Anatomy, scanner: Scanner, grid: Grid, rng: np.random.Generator) -> NDArray[np.int16]:
    slices = [_clean_slice(anatomy, scanner, grid, z) for z in range(grid.slices)]
    signal = np.stack(slices) * np.exp(scanner.bias)
    real, imaginary = rng.normal(0.0, scanner.noise, (2, *signal.shape))
    magnitude = np.hypot(signal + real, imaginary) * scanner.scale
    return np.rint(magnitude).astype(np.int16)


def _clean_slice(anatomy: Anatomy, scanner: Scanner, grid: Grid, z: int) -> NDArray[np.float64]:
    """Return the noise-free signal (Y, X) of one slice, averaged over its thickness and over each pixel."""
    y, x = _coordinates(grid, _FINE)
    total = np.zeros(y.shape)
    for part in range(_FINE):
        depth = (z + (part + 0.5) / _FINE) / grid.slices
        total += scanner.signal[tissues(anatomy, scanner.around, y, x, depth)]
    blurred = gaussian_filter(total / _FINE * scanner.texture, 0.45 * _FINE)
    return blurred.reshape(grid.size, _FINE, grid.size, _FINE).mean(axis=(1, 3))


def _draw_scanner(rng: np.random.Generator, grid: Grid) -> Scanner:
    y, x = _coordinates(grid, _FINE)
    texture = gaussian_filter(rng.standard_normal(y.shape), 1.2 * _FINE)
    rows, columns = (axis / (0.5 * grid.size * grid.pixel) for axis in _coordinates(grid, 1))
    terms = np.stack([rows, columns, rows * columns, rows**2 - 0.5, columns**2 - 0.5])
    return Scanner(
        signal=np.array(_SIGNAL) * rng.uniform(0.84, 1.16, len(_SIGNAL)),
        texture=1 + 0.13 * texture / texture.std(),
        around=draw_surroundings(rng, y, x),
        bias=np.tensordot(rng.uniform(-0.22, 0.22, len(terms)), terms, axes=1),
        scale=float(rng.uniform(150, 700)),
        noise=float(rng.uniform(0.04, 0.08)),
    )


if __name__ == "__main__":
    sys.exit(main())
