from __future__ import annotations

import numpy as np

from nnunet_iac.reports.course import (
    active_operations_data,
    draw_active_operations,
    draw_epoch_seconds,
    draw_losses,
    draw_search_dice,
    epoch_seconds_data,
    losses_data,
    search_dice_data,
)


def test_active_operations_add_up_to_the_total(trace):
    record = active_operations_data(trace(epochs=30, groups=3))
    assert np.array_equal(record.by_operation.sum(axis=1), record.total)
    assert record.edges == 3 * 14


def test_the_title_tells_how_many_are_left(trace, ax):
    read = trace(epochs=30)
    draw_active_operations(active_operations_data(read), ax)
    assert ax.get_title(loc="right") == f"112 → {read.active_operations[-1]}"


def test_seconds_add_up(trace, ax):
    read = trace(epochs=4)
    draw_epoch_seconds(epoch_seconds_data(read), ax)
    assert ax.get_title(loc="right").startswith(f"{read.seconds.sum():.1f} s")


def test_a_warm_up_has_only_one_loss(trace, ax):
    draw_losses(losses_data(trace(epochs=3, warmup=6)), ax)
    assert len(ax.lines) == 1


def test_the_dice_is_drawn_where_it_was_measured(trace, simulate, ax):
    lines = simulate(epochs=4)
    assert not search_dice_data(trace(lines)).is_known
    lines[1]["dice"], lines[2]["dice"] = 0.25, 0.5
    record = search_dice_data(trace(lines))
    draw_search_dice(record, ax)
    assert record.is_known and ax.lines[0].get_xydata().tolist() == [[1, 0.25], [2, 0.5]]
    assert ax.get_title(loc="right") == "0.500"
