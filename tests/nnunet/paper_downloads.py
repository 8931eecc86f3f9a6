"""Tiny synthetic downloads in the layouts of ACDC, BraTS, KiTS and AMOS, as nnU-Net's converters expect them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

PATIENTS = 6
SHAPE = (8, 32, 32)
AMOS_LABELS = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "arota",  # spelt so in the public dataset.json
    "postcava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate/uterus",
)


def download_acdc(folder: Path) -> None:
    for patient in range(1, PATIENTS + 2):
        part = "training" if patient <= PATIENTS else "testing"
        home = folder / "a download" / part / f"patient{patient:03d}"
        for frame in (1, 12):
            write_case(
                home / f"patient{patient:03d}_frame{frame:02d}.nii.gz",
                home / f"patient{patient:03d}_frame{frame:02d}_gt.nii.gz",
                (1, 2, 3),
                seed=100 * patient + frame,
            )
        (home / f"patient{patient:03d}_4d.nii.gz").touch()
        (home / "Info.cfg").touch()


def download_brats(folder: Path) -> None:
    for patient in range(PATIENTS + 1):
        place = "a download" if patient < PATIENTS else "new patients"
        home = folder / place / f"BraTS2021_{patient:05d}"
        for modality in ("t1", "t1ce", "t2", "flair"):
            mask = home / f"{home.name}_seg.nii.gz"
            write_case(home / f"{home.name}_{modality}.nii.gz", mask, (1, 2, 4), seed=patient)
        if patient == PATIENTS:
            mask.unlink()


def download_kits(folder: Path) -> None:
    for patient in range(PATIENTS + 1):
        place = "a download" if patient < PATIENTS else "new patients"
        home = folder / place / f"case_{patient:05d}"
        write_case(home / "imaging.nii.gz", home / "segmentation.nii.gz", (1, 2, 3), seed=patient)


def download_amos(folder: Path) -> None:
    home = folder / "a download"
    cases = {"Tr": (1, 4, 5, 6, 507), "Va": (8, 13, 540), "Ts": (2, 580)}  # numbers above 500 are MRI
    for part, numbers in cases.items():
        for number in numbers:
            name = f"amos_{number:04d}.nii.gz"
            write_case(home / f"images{part}" / name, home / f"labels{part}" / name, range(1, 16), seed=number)
    shutil.rmtree(home / "labelsTs")
    lists = {
        key: [
            {"image": f"./images{part}/amos_{n:04d}.nii.gz", "label": f"./labels{part}/amos_{n:04d}.nii.gz"}
            for n in cases[part]
        ]
        for key, part in {"training": "Tr", "validation": "Va", "test": "Ts"}.items()
    }
    labels = {str(value): name for value, name in enumerate(AMOS_LABELS)}
    (home / "dataset.json").write_text(json.dumps({"name": "AMOS", "labels": labels, **lists}))


DOWNLOADS: dict[str, Callable[[Path], None]] = {
    "ACDC": download_acdc,
    "BraTS": download_brats,
    "KiTS": download_kits,
    "AMOS": download_amos,
}


def write_case(image: Path, mask: Path, labels: tuple[int, ...] | range, seed: int) -> None:
    """A chequerboard of 8 x 8 squares, one label each, shifted and noisy by `seed`; borders in z are empty."""
    generator = np.random.default_rng(seed)
    squares = np.arange(SHAPE[1])[:, None] // 8 * (SHAPE[2] // 8) + np.arange(SHAPE[2])[None, :] // 8
    plane = np.array([0, *labels] + [0] * 16, np.uint8)[squares]
    seg = np.broadcast_to(np.roll(plane, generator.integers(0, 4, 2), (0, 1)), SHAPE).copy()
    seg[[0, -1]] = 0
    values = 40.0 * seg + generator.normal(0, 10, SHAPE)
    for path, array in ((image, values.astype(np.float32)), (mask, seg)):
        path.parent.mkdir(parents=True, exist_ok=True)
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((1.5, 1.5, 5.0))
        sitk.WriteImage(volume, str(path))
