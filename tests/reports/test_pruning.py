from __future__ import annotations

import numpy as np

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.reports.pruning import draw_final_state, draw_pruning_times, final_state_data, pruning_times_data


def test_every_pruned_operation_has_its_epoch_and_no_other(trace):
    read = trace(epochs=40, groups=2)
    record = pruning_times_data(read, 1)
    told = {(p.edge, p.operation): p.epoch for p in read.pruned if p.group == 1}
    assert {(int(e), int(o)): record.epochs[e, o] for e, o in np.argwhere(~np.isnan(record.epochs))} == told
    assert record.title == "level 1"


def test_a_lost_pruning_line_is_made_up_for_by_the_mask(trace, simulate):
    lines = simulate(epochs=5, undecided=True)
    for line in lines[3:]:
        line["mask"][0][2][4] = 0
    assert pruning_times_data(trace(lines), 0).epochs[2, 4] == 3


def test_an_operation_that_came_back_counts_as_active(trace, simulate):
    lines = simulate(epochs=5, undecided=True)
    lines[2]["pruned"] = [[0, 0, "none"]]
    assert np.isnan(pruning_times_data(trace(lines), 0).epochs[0, 0])


def test_the_drawn_table_names_the_epochs(trace, ax):
    record = pruning_times_data(trace(epochs=40), 0)
    draw_pruning_times(record, ax)
    drawn = sorted(int(text.get_text()) for text in ax.texts)
    assert drawn == sorted(record.epochs[~np.isnan(record.epochs)].astype(int).tolist())


def test_the_genotype_marks_what_it_took(trace, ax):
    cell = ((("sep_conv_3x3", 0), ("skip_connect", 1)), (("max_pool_3x3", 2),))
    record = final_state_data(trace(epochs=8, nodes=2), 0, cell=cell)
    expected = [(0, "sep_conv_3x3"), (1, "skip_connect"), (4, "max_pool_3x3")]
    assert list(record.chosen) == [(edge, OPERATIONS.index(name)) for edge, name in expected]
    draw_final_state(record, ax)
    assert len([text for text in ax.texts if text.get_text() != ""]) == 5 * (len(OPERATIONS) + 1)


def test_a_cell_of_another_size_marks_only_what_fits(trace):
    assert final_state_data(trace(epochs=3, nodes=1), 0, cell=((("none", 0),), (("none", 2),))).chosen == ((0, 0),)
