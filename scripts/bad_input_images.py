"""Bad inputs that are images, and data that nnU-Net preprocessed."""

# Lambdas that do several things, or that hold a loop's value.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import gzip
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from bad_input_cases import COMPARE, PRETRAIN, SCORE, Case, Prepare, changed, put, written
from bad_input_world import HOST, PREPARED, SEARCHED
from PIL import Image

MASK = f"{HOST}/fold_0/validation/p0_a.nii.gz"


def image_cases() -> Iterator[Case]:
    """Yield masks and images."""

    def mask(change: Callable[[np.ndarray], np.ndarray], spacing: tuple[float, ...] = (1.0, 2.0, 5.0)) -> Prepare:
        def prepare(base: Path) -> None:
            array = change(sitk.GetArrayFromImage(sitk.ReadImage(str(base / MASK))))
            image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
            image.SetSpacing(spacing[: image.GetDimension()])
            sitk.WriteImage(image, str(base / MASK))

        return prepare

    def header(offset: int, kind: str, *values: float) -> Prepare:
        """Change NIfTI-1's header: dimensions from 40 (int16), type at 70, spacings from 76 (float32)."""

        def prepare(base: Path) -> None:
            content = bytearray(gzip.decompress((base / MASK).read_bytes()))
            struct.pack_into(f"<{len(values)}{kind}", content, offset, *values)
            (base / MASK).write_bytes(gzip.compress(bytes(content), 1))

        return prepare

    def cut(base: Path) -> None:
        content = (base / MASK).read_bytes()
        (base / MASK).write_bytes(content[: len(content) // 2])

    nan = float("nan")
    masks: dict[str, Prepare] = {
        "empty file": written(MASK, b""),
        "text": written(MASK, b"a mask"),
        "gzip of text": written(MASK, gzip.compress(b"a mask")),
        "cut": cut,
        "header only": lambda base: (
            (base / MASK).write_bytes(gzip.compress(gzip.decompress((base / MASK).read_bytes())[:348])) and None
        ),
        "size zero": header(40, "h", 3, 0, 0, 0),
        "size negative": header(40, "h", 3, -5, 16, 8),
        "size enormous": header(40, "h", 3, 32767, 32767, 32767),
        "nine axes": header(40, "h", 9, 2, 2, 2),
        "no axes": header(40, "h", 0),
        "unknown type": header(70, "h", 9999),
        "spacing NaN": header(76, "f", 1.0, nan, nan, nan),
        "spacing zero": header(76, "f", 1.0, 0.0, 0.0, 0.0),
        "spacing infinite": header(76, "f", 1.0, float("inf"), 1.0, 1.0),
        "labels of fractions": mask(lambda array: array.astype(np.float32) + 0.5),
        "labels NaN": mask(lambda array: np.full(array.shape, nan, np.float32)),
        "labels infinite": mask(lambda array: np.full(array.shape, np.inf, np.float32)),
        "labels unknown": mask(lambda array: array + 40),
        "labels negative": mask(lambda array: array.astype(np.int16) - 5),
        "four channels": mask(lambda array: np.stack([array, array + 1, array, array], axis=-1)),
        "a slice less": mask(lambda array: array[1:]),
        "2D": mask(lambda array: array[0]),
        "another spacing": mask(lambda array: array, (9.0, 9.0, 9.0)),
        "a folder": lambda base: ((base / MASK).unlink(), (base / MASK).mkdir()) and None,
        "a link to nothing": lambda base: ((base / MASK).unlink(), (base / MASK).symlink_to("none")) and None,
    }
    for name, prepare in masks.items():
        yield Case("images", f"mask: {name}", COMPARE, ("p0_a.nii.gz", "p0_a"), prepare)
    yield from _png_cases()


def _png_cases() -> Iterator[Case]:
    def pngs(write: Callable[[Path], Any]) -> Prepare:
        def prepare(base: Path) -> None:
            for path in (base / HOST / "fold_0" / "validation").glob("*.nii.gz"):
                path.unlink()
            for folder in (HOST, SEARCHED):
                changed(f"{folder}/dataset.json", put("file_ending", value=".png"))(base)
                for case in ("p0_a", "p1_a"):
                    Image.new("L", (8, 8)).save(base / folder / "fold_0" / "validation" / f"{case}.png")
            changed(f"{PREPARED}/dataset.json", put("file_ending", value=".png"))(base)
            for case in ("p0_a", "p1_a"):
                Image.new("L", (8, 8)).save(base / PREPARED / "gt_segmentations" / f"{case}.png")
            write(base / HOST / "fold_0" / "validation" / "p0_a.png")

        return prepare

    def coloured(path: Path) -> None:
        image = Image.new("RGBA", (8, 8))
        image.putpixel((0, 0), (1, 2, 3, 4))
        image.save(path)

    yield Case("images", "mask: RGBA PNG", COMPARE, ("p0_a.png",), pngs(coloured))
    yield Case("images", "mask: text as PNG", COMPARE, ("p0_a.png",), pngs(lambda path: path.write_bytes(b"no")))

    def sources(write: Callable[[Path], Any]) -> Prepare:
        return lambda base: [write(path) for path in (base / "images").rglob("*.png")] and None

    for name, write in {
        "text": lambda path: path.write_bytes(b"no"),
        "empty": lambda path: path.write_bytes(b""),
        "bomb": lambda path: path.write_bytes(_png_bomb()),
        "gone": lambda path: path.unlink(),
    }.items():
        yield Case("images", f"pretraining: {name}", PRETRAIN, ("images",), sources(write))
    yield Case("images", "pretraining: one class", PRETRAIN, ("images",), lambda base: shutil.rmtree(base / "images/b"))


def _png_bomb() -> bytes:
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def prepared_cases(draw: random.Random) -> Iterator[Case]:
    """Yield preprocessed data sets."""
    folder = f"{PREPARED}/nnUNetPlans_2d"
    share = draw.uniform(0.3, 0.7)

    def each(pattern: str, change: Callable[[bytes], bytes]) -> Prepare:
        def prepare(base: Path) -> None:
            for path in (base / folder).glob(pattern):
                path.write_bytes(change(path.read_bytes()))

        return prepare

    damages: dict[str, Prepare] = {
        "images of text": each("*[0-9].b2nd", lambda content: b"no"),
        "images cut": each("*[0-9].b2nd", lambda content: content[: int(share * len(content))]),
        "labels of text": each("*_seg.b2nd", lambda content: b"no"),
        "labels cut": each("*_seg.b2nd", lambda content: content[: int(share * len(content))]),
        "properties of text": each("*.pkl", lambda content: b"no"),
        "properties empty": each("*.pkl", lambda content: b""),
        "no folder": lambda base: shutil.rmtree(base / folder),
        "a strange file": written(f"{folder}/notes.txt", "x"),
        "no foreground": changed(f"{PREPARED}/dataset.json", put("labels", value={"background": 0})),
    }
    for name, prepare in damages.items():
        yield Case("preprocessed data", name, SCORE, ("Dataset990_Tiny",), prepare)
