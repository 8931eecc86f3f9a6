"""All figures of a selection, by hand."""

from __future__ import annotations

import math

import pytest

from nnunet_iac.robustness.yardsticks import mean_yardsticks, yardsticks

DICE = {0: 0.60, 1: 0.70, 100: 0.80, 300: 0.78}


def test_all_figures_of_a_selection():
    found = yardsticks(DICE, chosen=1, trained=100)

    assert found.tis == pytest.approx(87.5)
    assert found.normalised_tis == pytest.approx(50)
    assert found.regret == pytest.approx(10)
    assert found.chance == pytest.approx(95)
    assert (found.full, found.full_regret) == (pytest.approx(97.5), pytest.approx(2))
    assert found.no_pretraining == pytest.approx(75)
    assert (found.chosen, found.trained, found.saved) == (1, 100, 200)


def test_no_pretraining_counts_in_the_maximum_and_not_in_chance():
    found = yardsticks({0: 0.8, 10: 0.4}, chosen=10, trained=10)
    assert (found.tis, found.chance, found.no_pretraining) == (50, 50, 100)


def test_the_best_choice_has_no_regret():
    found = yardsticks(DICE, chosen=100, trained=300)
    assert (found.tis, found.normalised_tis, found.regret, found.saved) == (100, 100, 0, 0)


def test_where_all_lengths_are_equal_every_choice_is_the_best():
    assert yardsticks({1: 0.5, 2: 0.5}, chosen=1, trained=1).normalised_tis == 100


def test_random_initialisation_may_be_unmeasured_and_that_is_said():
    found = yardsticks({1: 0.5, 2: 0.6}, chosen=1, trained=2)
    assert found.no_pretraining is None and "none not measured" in found.text()
    both = mean_yardsticks([found, yardsticks(DICE, chosen=1, trained=1)])
    assert both.no_pretraining is None
    assert both.tis == pytest.approx((100 * 5 / 6 + 87.5) / 2)


def test_the_text_has_every_figure():
    text = yardsticks(DICE, chosen=1, trained=100).text()
    for figure in ("87.50", "95.00", "97.50", "75.00", "50.0", "10.00", "2.00", "100.0", "200.0"):
        assert figure in text


@pytest.mark.parametrize(
    ("dice", "chosen", "trained", "message"),
    [
        ({}, 1, 1, "dice: "),
        ({0: 0.5}, 0, 0, "dice: .*after it"),
        ({1: math.nan}, 1, 1, "dice: .*nan"),
        ({1: 80.0}, 1, 1, r"dice: .*80\.0"),
        ({1: 0.0, 2: 0.0}, 1, 1, "not all 0"),
        (DICE, 50, 300, r"chosen: .*\[0, 1, 100, 300\], got 50"),
        (DICE, 100, 1, "trained: "),
        (DICE, 100, 301, "trained: "),
    ],
)
def test_what_cannot_be_judged_is_refused(dice, chosen, trained, message):
    with pytest.raises(ValueError, match=message):
        yardsticks(dice, chosen=chosen, trained=trained)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="parts"):
        mean_yardsticks([])
