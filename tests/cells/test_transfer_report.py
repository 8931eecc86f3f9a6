"""The report of a transfer: counts, shares, the table and its JSON form."""

from __future__ import annotations

import json

from nnunet_iac.cells.transfer_report import TensorRecord, TransferReport

REPORT = TransferReport(
    (
        TensorRecord("a", "copied", "", (2, 3), (2, 3), 6, 0),
        TensorRecord("b", "adapted", "1 more input channels (zero)", (2, 1), (3, 2), 2, 2),
        TensorRecord("c", "skipped", "the source has no such layer", None, (8,), 0, 8),
        TensorRecord("d", "skipped", "the target has no such layer", (), None, 0, 0),
    )
)


def test_tensors_and_numbers_are_counted() -> None:
    assert REPORT.counts == {"copied": 1, "adapted": 1, "fresh": 1, "left over": 1}
    assert REPORT.parameters == {"total": 20, "from source": 8, "zero": 2, "fresh": 10}
    assert REPORT.share == 8 / 20


def test_the_table_has_a_line_for_each_tensor() -> None:
    lines = REPORT.table().splitlines()

    assert [line.split()[:4] for line in lines[1:5]] == [
        ["copied", "a", "2x3", "2x3"],
        ["adapted", "b", "2x1", "3x2"],
        ["skipped", "c", "-", "8"],
        ["skipped", "d", "scalar", "-"],
    ]
    assert lines[2].endswith("1 more input channels (zero)")
    assert lines[-1].startswith("8 of 20 parameters (40.0 %) come from the source")


def test_the_json_form_is_complete() -> None:
    content = json.loads(json.dumps(REPORT.to_dict()))

    assert (content["schema"], content["share"], len(content["records"])) == (1, 0.4, 4)
    assert content["records"][1]["target_shape"] == [3, 2]
    assert "records" not in REPORT.summary()


def test_a_report_of_nothing_has_share_zero() -> None:
    assert TransferReport(()).share == 0
