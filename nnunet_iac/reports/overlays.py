"""Overlays: slices of an image with the outlines of the prediction and of the reference.

Works on files as nnU-Net reads and writes them (everything that SimpleITK reads), 2D and 3D, with labels or regions.
``python -m nnunet_iac.reports.overlays IMAGES PREDICTIONS --dataset dataset.json -o overlays.png`` draws a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nnunet_iac.atomic import write_bytes
from nnunet_iac.json_files import read_json
from nnunet_iac.reports.canvas import new_figure, png_bytes, title_axes

COLOURS = ("#56b4e9", "#f0e442", "#e8590c", "#2bd4a4", "#e08fd0", "#7f8cff", "#c0eb75", "#ff8787")
"""One for each class, in turn; told apart on grey and by most colour-blind readers."""

Classes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class OverlaySlice:
    """One slice: ``image`` (Y, X) or (Y, X, 3) in [0, 1], ``prediction`` and ``reference`` (Y, X) of labels.

    ``aspect`` is the height of a pixel divided by its width.
    """

    position: int
    image: NDArray[Any]
    prediction: NDArray[Any]
    reference: NDArray[Any] | None
    aspect: float


@dataclass(frozen=True)
class Overlay:
    """What is drawn of one case: its slices, its classes and the Dice of each class (None: absent in both)."""

    case: str
    slices: tuple[OverlaySlice, ...]
    classes: Classes
    dice: Mapping[str, float | None]


def read_classes(dataset_json: Path) -> dict[str, tuple[int, ...]]:
    """Return the label values of each class or region of a data set, without background and the ignore label.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not the dataset.json of an nnU-Net data set.
    """
    record = read_json(dataset_json)
    labels = record.get("labels") if isinstance(record, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f'{dataset_json}: expected "labels" that name classes, got {labels!r}; is it nnU-Net\'s file?')
    values = {name: tuple(v) if isinstance(v, list) else (int(v),) for name, v in labels.items()}
    return {name: v for name, v in values.items() if v != (0,) and name != "ignore"}


def overlay_data(
    case: str, images: Path, predictions: Path, labels: Path | None, *, classes: Classes, ending: str, count: int = 4
) -> Overlay:
    """Read one case and choose ``count`` slices, evenly among those with any foreground.

    Args:
        case: name of the case.
        images: folder with ``<case>_0000<ending>``; the first channel is shown (RGB files as they are).
        predictions: folder with ``<case><ending>``.
        labels: folder with the references; None, or a missing file, draws the prediction alone.
        classes: see :func:`read_classes`.
        ending: file ending with its dot.
        count: largest number of slices.

    Raises:
        FileNotFoundError: if the image or the prediction is missing.
        ValueError: if their shapes differ.
    """
    image, spacing = _read(images / f"{case}_0000{ending}")
    prediction, _ = _read(predictions / f"{case}{ending}")
    wanted = labels / f"{case}{ending}" if labels is not None else None
    reference = _read(wanted)[0] if wanted is not None and wanted.is_file() else None
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if mask is not None and mask.shape != image.shape[:3]:
            raise ValueError(f"{name} of {case}: expected the image's shape {image.shape[:3]}, got {mask.shape}")
    axis = int(np.argmax(spacing)) if max(spacing) > 1.5 * min(spacing) else 0
    scaled = np.moveaxis(_to_unit(image), axis, 0)
    prediction = np.moveaxis(prediction, axis, 0)
    reference = np.moveaxis(reference, axis, 0) if reference is not None else None
    height, width = (s for i, s in enumerate(spacing) if i != axis)
    slices = tuple(
        OverlaySlice(z, scaled[z], prediction[z], None if reference is None else reference[z], height / width)
        for z in choose_slices(prediction, reference, count)
    )
    scores = {} if reference is None else {n: _dice(prediction, reference, v) for n, v in classes.items()}
    return Overlay(case, slices, dict(classes), scores)


def choose_slices(prediction: NDArray[Any], reference: NDArray[Any] | None, count: int) -> list[int]:
    """Return up to ``count`` positions on axis 0, evenly among those with foreground (among all if none has).

    Example:
        >>> mask = np.zeros((9, 2, 2)); mask[2:7] = 1
        >>> choose_slices(mask, None, 3)
        [2, 4, 6]
    """
    foreground = prediction > 0
    if reference is not None:
        foreground = foreground | (reference > 0)
    filled = np.flatnonzero(foreground.any(axis=(1, 2)))
    places = filled if len(filled) else np.arange(len(prediction))
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return [int(z) for z in places[chosen]]


def draw_overlay(record: OverlaySlice, classes: Classes, ax: Axes) -> None:
    """Draw one slice: prediction as solid lines in the colour of the class, reference as dashed white lines."""
    ax.imshow(record.image, cmap="gray", vmin=0, vmax=1, aspect=record.aspect, interpolation="nearest")
    ax.set_axis_off()
    for index, values in enumerate(classes.values()):
        _outline(ax, record.prediction, values, COLOURS[index % len(COLOURS)], "solid", 1.5)
    if record.reference is not None:
        for values in classes.values():
            _outline(ax, record.reference, values, "white", "dashed", 0.8)


def overlays_png(overlays: Sequence[Overlay]) -> bytes:
    """Return a PNG with one row for each case and one column for each slice.

    Raises:
        ValueError: if there is no case.
    """
    if not overlays:
        raise ValueError("overlays: expected at least one case, got none")
    columns = max(len(overlay.slices) for overlay in overlays)
    figure = new_figure(max(2.1 * columns, 5.0), 2.3 * len(overlays) + 0.5)
    grid = figure.subplots(len(overlays), columns, squeeze=False)
    for row, overlay in zip(grid, overlays, strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, record in zip(row, overlay.slices, strict=False):
            draw_overlay(record, overlay.classes, ax)
            number = ax.text(0.02, 0.02, f"{record.position}", transform=ax.transAxes, color="white", fontsize=7)
            number.set_path_effects([_edge(1.0)])
        title_axes(row[0], overlay.case + _dice_words(overlay))
    figure.legend(handles=_legend(overlays[0]), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return png_bytes(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw a folder of predictions from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nnunet_iac.reports.overlays", description="Draw predictions on their images."
    )
    parser.add_argument("images", type=Path, help="folder with <case>_0000<ending>")
    parser.add_argument("predictions", type=Path, help="folder with <case><ending>")
    parser.add_argument("--labels", type=Path, help="folder with the references")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset.json: names of classes, file ending")
    parser.add_argument("--cases", type=int, default=4, help="largest number of cases (default: %(default)s)")
    parser.add_argument("--slices", type=int, default=4, help="largest number of slices (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the PNG file to write")
    args = parser.parse_args(argv)
    try:
        overlays = _read_folder(args)
        write_bytes(args.output, overlays_png(overlays))
    except (ValueError, OSError) as error:
        print(f"overlays: {error}", file=sys.stderr)
        return 2
    print(f"overlays: {args.output} ({len(overlays)} cases)")
    return 0


def _read_folder(args: argparse.Namespace) -> list[Overlay]:
    classes = read_classes(args.dataset)
    ending = read_json(args.dataset)["file_ending"]
    cases = sorted(path.name[: -len(ending)] for path in args.predictions.glob(f"*{ending}"))
    if not cases:
        raise FileNotFoundError(f"{args.predictions}: expected predictions *{ending}, found none")
    return [
        overlay_data(
            case, args.images, args.predictions, args.labels, classes=classes, ending=ending, count=args.slices
        )
        for case in cases[: args.cases]
    ]


def _read(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return an array (Z, Y, X) or (Z, Y, X, C) and its spacing (z, y, x); a 2D file has one slice."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an image, found no file")
    image = sitk.ReadImage(str(path))
    array, spacing = sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]
    if image.GetDimension() == 2:
        return array[None], (max(spacing) * 10, *spacing)
    return array, tuple(spacing)


def _to_unit(image: NDArray[Any]) -> NDArray[Any]:
    low, high = np.percentile(image, (0.5, 99.5))
    scaled: NDArray[Any] = np.clip((image - low) / max(float(high - low), 1e-9), 0, 1)
    return scaled


def _dice(prediction: NDArray[Any], reference: NDArray[Any], values: tuple[int, ...]) -> float | None:
    first, second = np.isin(prediction, values), np.isin(reference, values)
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def _dice_words(overlay: Overlay) -> str:
    scores = [f"{name} {value:.2f}" for name, value in overlay.dice.items() if value is not None]
    return "    Dice: " + ", ".join(scores[:6]) if scores else ""


def _outline(ax: Axes, mask: NDArray[Any], values: tuple[int, ...], colour: str, style: str, width: float) -> None:
    inside = np.isin(mask, values)
    if inside.any() and not inside.all():
        lines = ax.contour(inside.astype(float), [0.5], colors=[colour], linestyles=[style], linewidths=[width])
        lines.set_path_effects([_edge(width)])  # legible on bright tissue too


def _edge(width: float) -> withStroke:
    return withStroke(linewidth=width + 0.9, foreground="#00000099")


def _legend(overlay: Overlay) -> list[Line2D]:
    lines = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=2, label=name)
        for i, name in enumerate(overlay.classes)
    ]
    if overlay.dice:
        lines.append(Line2D([], [], color="#9aa3ad", linewidth=1, linestyle="dashed", label="reference"))
    return lines


if __name__ == "__main__":
    sys.exit(main())
