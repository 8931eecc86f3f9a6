"""Regret and correlation of an order, and what a random order has in the mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nnunet_iac.metaspace.order_scores import random_scores, ranking_scores


def test_the_true_order_has_no_regret_and_the_reverse_has_the_most() -> None:
    dice = np.random.default_rng(0).uniform(size=30)

    best, worst = ranking_scores(dice, dice), ranking_scores(-dice, dice)

    assert (best.spearman, best.kendall) == (pytest.approx(1), pytest.approx(1)) and set(best.regret.values()) == {0.0}
    assert worst.spearman == pytest.approx(-1)
    assert worst.regret == {k: pytest.approx(dice.max() - np.sort(dice)[k - 1]) for k in (1, 5, 10)}


def test_equal_scores_have_no_correlation_and_keep_the_order() -> None:
    found = ranking_scores(np.zeros(12), np.linspace(0, 1.1, 12))

    assert found.spearman is None and found.kendall is None
    assert [found.regret[k] for k in (1, 5, 10)] == pytest.approx([1.1, 0.7, 0.2])


def test_random_regret_is_the_mean_over_all_choices() -> None:
    dice = np.array([0.1, 0.9, 0.4, 0.4, 0.7, 0.2, 0.3])

    found = random_scores(dice)

    every = [0.9 - max(chosen) for chosen in combinations(dice, 5)]
    assert found.regret == {1: pytest.approx(0.9 - dice.mean()), 5: pytest.approx(np.mean(every)), 10: 0.0}


def test_random_regret_of_very_many_candidates_is_a_number() -> None:
    expected = 1 - (10 * 5001 / 11 - 1) / 4999  # the mean of the largest of 10 of 5,000 places

    assert random_scores(np.linspace(0, 1, 5000)).regret[10] == pytest.approx(expected)
