from __future__ import annotations

import json

import numpy as np
import pytest

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.reports.trace import Pruned, read_trace


@pytest.mark.parametrize(("groups", "nodes", "edges"), [(1, 4, 14), (3, 4, 14), (2, 2, 5)])
def test_arrays_have_the_axes_of_the_search(trace, groups, nodes, edges):
    read = trace(groups=groups, nodes=nodes, epochs=9)
    assert read.probabilities.shape == read.mask.shape == (9, groups, edges, 8)
    assert read.edge_weights.shape == read.divergence.shape == read.decided.shape == (9, groups, edges)
    assert (read.groups, read.nodes, len(read.edges)) == (groups, nodes, edges)


def test_null_becomes_nan(trace):
    read = trace(epochs=8, warmup=6)
    assert np.isnan(read.arch_loss[:6]).all() and np.isfinite(read.arch_loss[6:]).all()
    assert np.isnan(read.divergence[0]).all()


def test_a_search_has_its_dice_where_it_was_measured(trace, simulate):
    lines = simulate(epochs=3)
    assert np.isnan(trace(lines).dice).all()
    lines[1]["dice"] = 0.25
    assert trace(lines).dice == pytest.approx([np.nan, 0.25, np.nan], nan_ok=True)


def test_pruned_operations_keep_their_epoch_and_become_numbers(trace, simulate):
    lines = simulate(epochs=3, undecided=True)
    lines[2]["pruned"] = [[0, 5, "max_pool_3x3"]]
    assert trace(lines).pruned == (Pruned(2, 0, 5, OPERATIONS.index("max_pool_3x3")),)


def test_a_torn_last_line_is_left_out_and_counted(trace):
    read = trace(epochs=5, torn='{"schema": 1, "epoch": 5, "proba')
    assert list(read.epochs) == [0, 1, 2, 3, 4]
    assert read.damaged_lines == 1


def test_a_character_torn_in_the_middle_is_no_error(tmp_path, simulate):
    line = json.dumps(simulate(epochs=1)[0])
    (tmp_path / "search.jsonl").write_bytes(line.encode() + b"\n" + "ü".encode()[:1])
    assert read_trace(tmp_path / "search.jsonl").damaged_lines == 1


def test_a_resumed_search_replaces_the_epochs_it_repeats(trace, simulate):
    lines = simulate(epochs=6)
    again = {**lines[3], "seconds": 99.0}
    read = trace([*lines, again])
    assert list(read.epochs) == [0, 1, 2, 3]
    assert read.seconds[-1] == 99.0
    assert read.superseded_lines == 3


def test_an_empty_file_holds_no_trace(tmp_path):
    (tmp_path / "search.jsonl").write_text("")
    assert read_trace(tmp_path / "search.jsonl") is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": 2}, "schema"),
        ({"epoch": "3"}, "epoch"),
        ({"probabilities": [[[0.5, 0.5]]]}, "probabilities"),
        ({"mask": [[1, 2], [3]]}, "mask"),
        ({"dice": 1.5}, "dice"),
        ({"dice": None}, "dice"),
        ({"jsd": [[0.1]]}, "jsd"),
        ({"pruned": [[0, 99, "none"]]}, "pruned"),
        ({"pruned": [[0, 1, "no_such"]]}, "pruned"),
    ],
)
def test_a_line_that_does_not_follow_the_schema_is_named(trace, simulate, change, named):
    lines = simulate(epochs=2)
    with pytest.raises(ValueError, match=rf"line 2.*{named}"):
        trace([lines[0], {**lines[1], **change}])


def test_missing_keys_are_named_together(trace, simulate):
    line = simulate(epochs=1)[0]
    del line["jsd"], line["mask"]
    with pytest.raises(ValueError, match=r"missing: \['jsd', 'mask'\]"):
        trace([line])
