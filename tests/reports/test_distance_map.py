"""The heat map of distances: a number in every cell, dark where far."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnunet_iac.reports.distance_map import distances_png, draw_distances

NAMES = ["Dataset501_ACDC", "Dataset508_a$b$"]


def test_every_distance_is_a_number_in_its_cell() -> None:
    ax = Figure().subplots()

    draw_distances([[1.0, 2.5], [0.03, 4.0]], NAMES, ["x", "y"], "title", ax)

    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "1", (1, 0): "2.5", (0, 1): "0.03", (1, 1): "4"}
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]
    assert ax.get_title("left") == "title"


def test_far_is_dark_and_its_number_light() -> None:
    ax = Figure().subplots()
    draw_distances([[0.0, 1.0]], ["a"], ["b", "c"], "", ax)
    image, (near, far) = ax.images[0], ax.texts

    brightness = [float(np.mean(image.cmap(image.norm(value))[:3])) for value in (0.0, 1.0)]

    assert brightness[0] > brightness[1]
    assert (near.get_color(), far.get_color()) == ("#22272e", "white")


def test_a_distance_that_is_not_there_stays_white_and_empty() -> None:
    ax = Figure().subplots()
    draw_distances([[math.nan, 1.0], [1.0, math.nan]], NAMES, NAMES, "", ax)
    assert len(ax.texts) == 2


@pytest.mark.parametrize("values", [[[0.0]], [[math.nan]], [[0.0, math.nan]], [[3.0], [3.0]], [[math.inf, 1.0]]])
def test_odd_tables_are_drawn(values: list[list[float]]) -> None:
    rows, columns = [f"r{n}" for n in range(len(values))], [f"c{n}" for n in range(len(values[0]))]
    assert distances_png(values, rows, columns, "t").startswith(b"\x89PNG")


def test_the_picture_grows_with_the_names() -> None:
    small, large = (distances_png(np.ones((1, n)), ["name"], ["name"] * n, "t") for n in (6, 9))
    widths = [int.from_bytes(picture[16:20], "big") for picture in (small, large)]
    assert widths[1] > widths[0]
