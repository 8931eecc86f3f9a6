"""Label maps are read as nnU-Net reads them, with the spacing that it takes, and what does not fit is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from prediction_folders import SPACING, labels, write_mask

from nnunet_iac.nnunet.cases.masks import measure, measure_all, read_mask
from nnunet_iac.nnunet.files.label_set import LabelSet

LABELS = LabelSet({"ring": (1,), "core": (2,)}, None, ".nii.gz")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A prediction one slice too far, and its reference."""
    for name, shift in (("prediction", 1), ("reference", 0)):
        write_mask(tmp_path / f"{name}.nii.gz", labels(shift, axis=0))
    return tmp_path / "prediction.nii.gz", tmp_path / "reference.nii.gz"


def test_volumes_are_read_as_nnunet_reads_them(pair: tuple[Path, Path]) -> None:
    mask = read_mask(pair[0])
    array, properties = SimpleITKIO().read_seg(str(pair[0]))

    assert np.array_equal(mask.labels, array[0]) and mask.unit == "mm"
    assert list(mask.spacing) == properties["spacing"] == list(SPACING)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_what_nnunets_natural_image_writer_writes_is_in_pixels(tmp_path: Path, ending: str) -> None:
    NaturalImage2DIO().write_seg(labels()[4:5], str(tmp_path / f"a{ending}"), {})
    mask = read_mask(tmp_path / f"a{ending}")

    assert np.array_equal(mask.labels, labels()[4]) and (mask.spacing, mask.unit) == ((1, 1), "pixels")


def test_the_resolution_of_a_tiff_is_no_spacing(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.tif", labels()[4], (0.25, 0.25))

    assert read_mask(tmp_path / "a.tif").spacing == (1, 1)


def test_what_nnunets_tiff_writer_writes_has_the_spacing_beside_it(tmp_path: Path) -> None:
    Tiff3DIO().write_seg(labels(), str(tmp_path / "a.tif"), {"spacing": list(SPACING)})
    mask = read_mask(tmp_path / "a.tif")

    assert np.array_equal(mask.labels, labels()) and (mask.spacing, mask.unit) == (SPACING, "mm")


def test_distances_are_in_mm_along_the_right_axis(pair: tuple[Path, Path]) -> None:
    assert [a.hd95 for a in measure(*pair, LABELS).agreements] == [SPACING[0], SPACING[0]]


def test_regions_are_unions_of_labels(pair: tuple[Path, Path]) -> None:
    whole, core = measure(*pair, LabelSet({"whole": (1, 2), "core": (2,)}, None, ".nii.gz")).agreements

    assert whole.dice == pytest.approx(75) and core.dice == pytest.approx(50)


@pytest.mark.slow
def test_several_processes_measure_the_same_in_the_same_order(pair: tuple[Path, Path]) -> None:
    pairs = [pair, pair[::-1], (pair[1], pair[1])]

    assert list(measure_all(pairs, LABELS, 2)) == list(measure_all(pairs, LABELS))


def test_whole_numbers_stored_as_fractions_are_labels(pair: tuple[Path, Path]) -> None:
    write_mask(pair[0], labels().astype(np.float32))

    assert np.array_equal(read_mask(pair[0]).labels, labels())


@pytest.mark.parametrize(
    ("array", "spacing", "message"),
    [
        (labels() + np.float32(0.5), SPACING, "one whole number for each voxel, got fractions"),
        (np.where(labels() > 0, 255, 0).astype(np.uint8), SPACING, r"label values \[0, 1, 2\].* got \[255\]"),
        (labels()[1:], SPACING, r"the reference's shape \(8, 16, 16\), got \(7, 16, 16\)"),
        (labels(), (1.0, 2.0, 1.0), "the reference's spacing"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    pair: tuple[Path, Path], array: np.ndarray, spacing: tuple[float, ...], message: str
) -> None:
    write_mask(pair[0], array, spacing)

    with pytest.raises(ValueError, match=message) as refused:
        measure(*pair, LABELS)
    assert str(pair[0]) in str(refused.value)


def test_a_damaged_file_is_named(pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(pair[1].read_bytes()[:40])

    with pytest.raises(ValueError, match=r"reference\.nii\.gz: expected a NIfTI file, got a damaged one"):
        measure(*pair, LABELS)


@pytest.mark.parametrize("content", [{}, {"spacing": [1, 1]}, {"spacing": "wide"}])
def test_a_bad_spacing_beside_a_tiff_is_named(tmp_path: Path, content: object) -> None:
    write_mask(tmp_path / "a.tif", labels(), None)
    (tmp_path / "a.json").write_text(json.dumps(content))

    with pytest.raises(ValueError, match=r"a\.json: expected"):
        read_mask(tmp_path / "a.tif")


def test_no_process_measures_nothing() -> None:
    with pytest.raises(ValueError, match="-np: expected at least one process, got 0"):
        list(measure_all([], LABELS, 0))


class TestWhatSimpleITKReadsAsBackground:
    """It takes missing voxels, NaN and Inf for 0 in silence; each of these was measured as a small mask before."""

    def test_missing_voxels_are_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.nii.gz"
        write_mask(path, labels())
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:1000]))

        with pytest.raises(ValueError, match=r"a\.nii\.gz: expected 2400 bytes, as its header says, got fewer"):
            read_mask(path)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_not_finite_are_noticed(self, tmp_path: Path, value: float) -> None:
        path = tmp_path / "a.nii.gz"
        write_mask(path, np.where(labels() > 1, value, labels()).astype(np.float32))

        with pytest.raises(ValueError, match=r"a\.nii\.gz: expected finite numbers, got NaN or Inf"):
            read_mask(path)

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_a_whole_file_passes_also_in_several_parts(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"a{ending}"
        write_mask(path, labels().astype(np.float32))
        if ending == ".nii.gz":  # as bgzip writes it, whose last part has another length
            content = gzip.decompress(path.read_bytes())
            path.write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))

        assert (read_mask(path).labels == labels()).all()
