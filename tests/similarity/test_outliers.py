"""A target that is far from all sources is recognised, as often by chance as the docstring says."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.similarity.outliers import nearness


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_a_planted_outlier_is_recognised_and_a_neighbour_is_not() -> None:
    points = np.random.default_rng(0).normal(size=(8, 3))
    among = distances(points)

    far = nearness(np.linalg.norm(points - 20, axis=1), among)
    near = nearness(np.linalg.norm(points - points[4] - 0.01, axis=1), among)

    assert far.is_outlier and far.p_value == pytest.approx(1 / 9)
    assert not near.is_outlier and near.source == 4 and near.p_value == 1.0


def test_a_target_as_far_as_the_most_remote_source_is_from_its_own_is_no_outlier() -> None:
    among = distances(np.array([[0.0], [1.0], [4.0]]))

    at, beyond = (nearness([one, 9.0, 9.0], among) for one in (3.0, np.nextafter(3.0, 4.0)))

    assert at.usual == (1.0, 1.0, 3.0) and at.p_value == 2 / 4 and not at.is_outlier
    assert beyond.p_value == 1 / 4 and beyond.is_outlier


def test_targets_like_the_sources_are_called_outliers_about_as_often_as_chance_says() -> None:
    draw = np.random.default_rng(1)
    called = []
    for _ in range(600):
        points = draw.normal(size=(6, 2))
        among = distances(points)
        called.append(nearness(among[5, :5], among[:5, :5]).is_outlier)

    assert 0.5 / 6 < np.mean(called) < 2 / 6


def test_order_and_unit_do_not_matter() -> None:
    points = np.random.default_rng(2).normal(size=(6, 3))
    among, order = distances(points), np.array([3, 0, 4, 1, 2])
    first = nearness(among[5, :5], among[:5, :5])
    other = nearness(7 * among[5, order], 7 * among[np.ix_(order, order)])

    assert order[other.source] == first.source and other.p_value == first.p_value
    assert other.distance == pytest.approx(7 * first.distance)


@pytest.mark.parametrize("count", [1, 2])
def test_of_too_few_sources_nothing_is_said(count: int) -> None:
    found = nearness([9.0] * count, np.ones((count, count)))

    assert not found.is_outlier and found.p_value == 1.0 and found.usual == ()


@pytest.mark.parametrize(
    ("target", "among", "message"),
    [
        ([], np.ones((0, 0)), "n from 1"),
        ([1.0], np.ones((2, 2)), r"got \(1,\) and \(2, 2\)"),
        ([np.nan, 1.0], np.ones((2, 2)), "NaN"),
        ([1.0, 1.0], np.array([[0, -1], [-1, 0]]), "negative"),
    ],
)
def test_wrong_distances_are_refused(target: list[float], among: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearness(target, among)
