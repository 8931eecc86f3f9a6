"""What SimpleITK does not say about a NIfTI file: that voxels are missing, or that numbers are NaN or infinite.

The NIfTI library below ITK takes 0 for both in silence, so that half a mask would be measured as a small one.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

ENDINGS = (".nii", ".nii.gz")


def check_nifti(path: Path) -> None:
    """Check that a NIfTI file has all its voxels, and each of them a finite number; other files pass.

    The length of a compressed file is taken from its last four bytes, where gzip writes it (modulo 2^32); only where
    that does not fit it is unpacked and counted, block by block. Numbers are read only if they are floating-point.

    Raises:
        ValueError: if not; the message names the file.
    """
    if not path.name.lower().endswith(ENDINGS) or not path.is_file():
        return
    try:
        image: Any = nibabel.load(path)
        kind, offset = np.dtype(image.get_data_dtype()), int(image.dataobj.offset)
        needed = offset + math.prod(map(int, image.shape)) * kind.itemsize
        is_short = _length_is_short(path, needed)
        is_finite = is_short or kind.kind not in "fc" or bool(np.isfinite(np.asanyarray(image.dataobj)).all())
    except Exception as error:  # nibabel raises many kinds for files that are none
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: expected a NIfTI file, got a damaged one ({reason}); write it again") from error
    if is_short:
        raise ValueError(f"{path}: expected {needed} bytes, as its header says, got fewer; the file is cut")
    if not is_finite:
        raise ValueError(f"{path}: expected finite numbers, got NaN or Inf; a label map has whole numbers")


def _length_is_short(path: Path, needed: int) -> bool:
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size < needed
    with path.open("rb") as file:
        file.seek(-4, 2)
        if int.from_bytes(file.read(4), "little") == needed % (1 << 32):
            return False
    with gzip.open(path) as unpacked:
        left = needed
        while left > 0 and (block := unpacked.read(min(left, 1 << 20))):
            left -= len(block)
    return left > 0
