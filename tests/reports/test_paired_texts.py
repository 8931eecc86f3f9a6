"""A paired result in words: signs, decimals, the smallest p-value, and the verdict."""

from __future__ import annotations

import pytest

from nnunet_iac.reports.paired_texts import difference_text, inside_text, p_text, verdict_text
from nnunet_iac.statistics.paired import Interval, PairedResult
from nnunet_iac.statistics.verdict import Verdict


def test_a_difference_has_its_interval_and_signs_everywhere() -> None:
    found = PairedResult(9, 0.126, Interval(-0.34, 1.0), 0.2, 0.4, 0.5, higher_is_better=True)
    assert difference_text(found) == "+0.13 [-0.34, +1.00]"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.000"), (0.0996, "0.100"), (0.001, "0.001"), (0.000999, "< 0.001"), (0.0, "< 0.001")]
)
def test_a_p_value_that_three_decimals_cannot_show_is_called_smaller(value: float, text: str) -> None:
    assert p_text(value) == text


@pytest.mark.parametrize(
    ("found", "text", "inside"),
    [
        (Verdict(True, True, -0.4, True), "yes (-0.40)", "yes"),
        (Verdict(True, False, -0.4, True), "yes (-0.40)", "no"),
        (Verdict(False, False, 0.7, False), "no (+0.70), trainings not counted", "no, trainings not counted"),
    ],
)
def test_a_verdict_shows_the_end_that_decides_and_what_was_not_counted(found: Verdict, text: str, inside: str) -> None:
    assert (verdict_text(found), inside_text(found)) == (text, inside)
