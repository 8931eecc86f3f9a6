"""Tables in Markdown."""

from __future__ import annotations

import pytest

from nnunet_iac.markdown import table_text


def test_a_table_has_a_head_a_rule_and_a_line_for_each_row() -> None:
    assert table_text(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines() == [
        *("| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 | 4 |")
    ]
    assert table_text(["a"], []).splitlines() == ["| a |", "| --- |"]


def test_a_bar_within_a_cell_does_not_end_it() -> None:
    assert table_text(["a|b"], [["|"]]).splitlines() == ["| a\\|b |", "| --- |", "| \\| |"]


@pytest.mark.parametrize("row", [["1"], ["1", "2", "3"], []])
def test_a_row_of_another_length_is_refused(row: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"body: expected rows of 2 cells, got one of {len(row)}"):
        table_text(["a", "b"], [["1", "2"], row])
