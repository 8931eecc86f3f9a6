from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.reports.trajectory import (
    decided_at,
    divergence_data,
    draw_divergence,
    draw_probabilities,
    probabilities_data,
)


def test_probabilities_end_where_an_operation_is_pruned(trace):
    read = trace(epochs=40)
    event = read.pruned[0]
    record = probabilities_data(read, event.group, event.edge)
    values = record.values[:, event.operation]
    assert np.isfinite(values[: event.epoch]).all() and np.isnan(values[event.epoch :]).all()


def test_the_leader_has_the_highest_probability_at_the_end(trace):
    read = trace(epochs=30)
    record = probabilities_data(read, 0, 6)
    assert record.leader == read.probabilities[-1, 0, 6].argmax()
    assert record.edge == "skip→n3"


def test_decided_at_is_the_epoch_from_which_an_edge_stayed_decided(trace, simulate):
    lines = simulate(epochs=5)
    for epoch, decided in enumerate([False, True, False, True, True]):
        lines[epoch]["decided"][0][0] = decided
        lines[epoch]["decided"][0][1] = epoch < 4
        lines[epoch]["decided"][0][2] = True
    read = trace(lines)
    assert [decided_at(read, 0, edge) for edge in (0, 1, 2)] == [3, None, 0]


def test_one_line_is_drawn_for_each_operation(trace, ax):
    read = trace(epochs=4, undecided=True)
    draw_probabilities(probabilities_data(read, 0, 0), ax)
    assert len(ax.lines) == len(OPERATIONS)
    assert ax.get_title(loc="left") == "decoder→n1"


def test_tau_is_drawn_where_it_is_known(trace, ax):
    read = trace(epochs=20)
    draw_divergence(divergence_data(read, 0, 3, tau=0.002), ax)
    assert any(np.allclose(line.get_ydata(), 0.002) for line in ax.lines)


def test_an_unfilled_window_is_said(trace, ax):
    draw_divergence(divergence_data(trace(epochs=2), 0, 0), ax)
    assert "window not filled" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_search_that_has_just_begun_can_be_drawn(trace, ax, epochs):
    draw_probabilities(probabilities_data(trace(epochs=epochs, warmup=6), 0, 0), ax)
    assert ax.get_xlim() == (-0.5, epochs - 0.5)
