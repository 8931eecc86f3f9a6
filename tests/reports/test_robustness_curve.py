"""The curve of a watched pretraining: every epoch, random weights, the one that was kept."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from nnunet_iac.reports.robustness_curve import draw_robustness, robustness_png


@pytest.mark.parametrize(("losses", "best"), [((0.5, 0.3, 0.1, 0.2), 2), ((0.2, 0.4), 1), ((0.5, 0.5), 1)])
def test_it_shows_every_epoch_random_weights_and_the_kept_one(losses: tuple[float, ...], best: int) -> None:
    ax = Figure().subplots()

    draw_robustness(losses, best, ax)

    random_weights, curve, kept = ax.lines
    assert list(curve.get_ydata()) == list(losses) and list(curve.get_xdata()) == list(range(len(losses)))
    assert set(random_weights.get_ydata()) == {losses[0]}
    assert kept.get_xydata().tolist() == [[best, losses[best]]]
    assert f"kept: epoch {best}" in ax.get_title("right") and "lower is more robust" in ax.get_title("left")


def test_epochs_are_whole_numbers() -> None:
    ax = Figure().subplots()
    draw_robustness((0.5, 0.4, 0.3), 2, ax)
    ax.figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_it_is_a_png_and_the_same_each_time() -> None:
    picture = robustness_png((0.5, 0.3, 0.4), 1)
    assert picture.startswith(b"\x89PNG") and picture == robustness_png((0.5, 0.3, 0.4), 1)
