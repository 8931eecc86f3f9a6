"""Overlays: what is read and chosen is right, then drawing works without a window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_iac.reports.overlays import choose_slices, main, overlay_data, overlays_png, read_classes

CLASSES = {"ring": (1,), "disc": (2,)}


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] | None = None, vector: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array, isVector=vector)
    if spacing is not None:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A case with a disc in a ring on slices 1 to 3 of 5; the prediction misses slice 3."""
    rows, columns = np.mgrid[:16, :20]
    radius = np.hypot(rows - 8, columns - 10)
    labels = np.zeros((5, 16, 20), np.uint8)
    labels[1:4] = np.where(radius < 3, 2, np.where(radius < 6, 1, 0))
    prediction = labels.copy()
    prediction[3] = 0
    spacing = (1.0, 2.0, 8.0)
    write(tmp_path / "images" / "a_0000.nii.gz", np.arange(1600, dtype=np.int16).reshape(5, 16, 20), spacing)
    write(tmp_path / "labels" / "a.nii.gz", labels, spacing)
    write(tmp_path / "predictions" / "a.nii.gz", prediction, spacing)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "ring": 1, "disc": 2}, "file_ending": ".nii.gz"})
    )
    return tmp_path


def test_slices_with_foreground_are_chosen_with_their_pixel_shape(volume: Path) -> None:
    data = overlay_data(
        "a", volume / "images", volume / "predictions", volume / "labels", classes=CLASSES, ending=".nii.gz"
    )
    assert [s.position for s in data.slices] == [1, 2, 3]
    assert {s.aspect for s in data.slices} == {2.0}
    assert all(0 <= s.image.min() and s.image.max() <= 1 for s in data.slices)


def test_dice_is_that_of_the_volume(volume: Path) -> None:
    data = overlay_data(
        "a", volume / "images", volume / "predictions", volume / "labels", classes=CLASSES, ending=".nii.gz"
    )
    assert data.dice == pytest.approx({"ring": 0.8, "disc": 0.8})


def test_a_class_that_is_nowhere_has_no_dice(volume: Path) -> None:
    classes = {**CLASSES, "absent": (9,)}
    data = overlay_data(
        "a", volume / "images", volume / "predictions", volume / "labels", classes=classes, ending=".nii.gz"
    )
    assert data.dice["absent"] is None
    assert overlays_png([data]).startswith(b"\x89PNG")


@pytest.mark.parametrize("labels", [None, Path("nowhere")])
def test_without_references_the_prediction_is_drawn_alone(volume: Path, labels: Path | None) -> None:
    data = overlay_data("a", volume / "images", volume / "predictions", labels, classes=CLASSES, ending=".nii.gz")
    assert data.dice == {} and all(s.reference is None for s in data.slices)
    assert [s.position for s in data.slices] == [1, 2]
    assert overlays_png([data]).startswith(b"\x89PNG")


def test_the_thick_axis_is_the_one_that_is_cut(tmp_path: Path) -> None:
    write(tmp_path / "i" / "a_0000.nii.gz", np.zeros((16, 5, 20), np.int16), (1.0, 8.0, 1.0))
    write(tmp_path / "p" / "a.nii.gz", np.zeros((16, 5, 20), np.uint8), (1.0, 8.0, 1.0))
    data = overlay_data("a", tmp_path / "i", tmp_path / "p", None, classes=CLASSES, ending=".nii.gz", count=9)
    assert [s.image.shape for s in data.slices] == [(16, 20)] * 5


@pytest.mark.parametrize("colours", [(), (3,)])
def test_flat_pictures_are_drawn_in_grey_or_colour(tmp_path: Path, colours: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, *colours), dtype=np.uint8)
    mask = np.zeros((12, 16), np.uint8)
    mask[3:8, 4:9] = 1
    write(tmp_path / "i" / "a_0000.png", picture, vector=bool(colours))
    write(tmp_path / "p" / "a.png", mask)
    data = overlay_data("a", tmp_path / "i", tmp_path / "p", tmp_path / "p", classes={"cell": (1,)}, ending=".png")
    assert [s.image.shape for s in data.slices] == [picture.shape]
    assert data.dice == {"cell": 1.0}
    assert overlays_png([data]).startswith(b"\x89PNG")


def test_regions_are_outlined_as_regions(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text('{"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}}')
    assert read_classes(path) == {"whole": (1, 2, 3), "core": (2, 3)}


@pytest.mark.parametrize("content", ["[]", "{}", '{"labels": []}'])
def test_a_file_without_labels_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ValueError, match='expected "labels"'):
        read_classes(tmp_path / "dataset.json")


def test_a_prediction_of_another_shape_is_refused(volume: Path) -> None:
    write(volume / "predictions" / "a.nii.gz", np.zeros((5, 16, 21), np.uint8))
    with pytest.raises(ValueError, match=r"prediction of a: expected the image's shape \(5, 16, 20\), got"):
        overlay_data("a", volume / "images", volume / "predictions", None, classes=CLASSES, ending=".nii.gz")


def test_slices_are_spread_over_the_foreground() -> None:
    mask = np.zeros((20, 2, 2))
    mask[4:15] = 1
    assert choose_slices(mask, None, 3) == [4, 9, 14]
    assert choose_slices(np.zeros((3, 2, 2)), None, 5) == [0, 1, 2]


def test_equal_data_give_equal_pictures(volume: Path) -> None:
    data = overlay_data("a", volume / "images", volume / "predictions", None, classes=CLASSES, ending=".nii.gz")
    assert overlays_png([data]) == overlays_png([data])


def test_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        overlays_png([])


def test_the_command_draws_a_folder(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(volume / "images"), str(volume / "predictions"), "--labels", str(volume / "labels")]
    output = volume / "overlays.png"
    assert main([*folders, "--dataset", str(volume / "dataset.json"), "-o", str(output)]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    assert "(1 cases)" in capsys.readouterr().out


def test_the_command_says_what_is_missing(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(volume / "images"), str(volume / "images" / "none")]
    assert main([*folders, "--dataset", str(volume / "dataset.json"), "-o", str(volume / "x.png")]) == 2
    assert "expected predictions *.nii.gz, found none" in capsys.readouterr().err
