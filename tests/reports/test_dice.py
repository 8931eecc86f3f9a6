from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.reports.dice import CLASS_COLOURS, draw_dice_by_case, draw_dice_by_class
from nnunet_iac.reports.scores import SERIES, DiceByCase, DiceByClass


def test_bars_name_values_and_differences(ax):
    draw_dice_by_class(DiceByClass(("a", "mean of classes"), np.array([0.8, 0.8]), np.array([0.7, 0.9])), ax)
    assert {text.get_text() for text in ax.texts} == {"0.700", "0.900", "0.800  (+0.100)", "0.800  (-0.100)"}


def test_bars_without_a_host_stand_alone(ax):
    draw_dice_by_class(DiceByClass(("a",), np.array([0.8]), None), ax)
    assert len(ax.patches) == 1 and ax.get_legend() is None


def test_a_class_that_nobody_has_can_be_drawn(ax):
    draw_dice_by_class(DiceByClass(("a",), np.array([np.nan]), np.array([np.nan])), ax)
    ax.figure.canvas.draw()
    assert "nan" in ax.texts[0].get_text()


@pytest.mark.parametrize("name", ["$x^{2", "_hidden", "<b>"])
def test_names_of_classes_are_shown_as_they_are(ax, name):
    draw_dice_by_case(DiceByCase(((name, np.array([0.5]), np.array([0.6])),)), ax)
    draw_dice_by_class(DiceByClass((name,), np.array([0.5]), None), ax)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_texts()[0].get_text().strip().replace("\\$", "$") == name


def test_no_pair_at_all_can_be_drawn(ax):
    draw_dice_by_case(DiceByCase((("a", np.array([]), np.array([])),)), ax)
    assert ax.get_xlim()[1] > 1


def test_every_series_has_a_colour():
    assert len(set(CLASS_COLOURS)) >= SERIES
