"""A paired result in words: signs, decimals, the smallest p-value, and the verdict of the bound."""

from __future__ import annotations

import pytest

from nnunet_iac.reports.paired_texts import difference_text, p_text, verdict_text
from nnunet_iac.statistics.paired import Interval, PairedResult


def result(*, bound: float = -0.4, non_inferior: bool = True) -> PairedResult:
    return PairedResult(9, 0.126, Interval(-0.34, 1.0), 0.2, 0.4, bound, 0.5, non_inferior)


def test_a_difference_has_its_interval_and_signs_everywhere() -> None:
    assert difference_text(result()) == "+0.13 [-0.34, +1.00]"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.000"), (0.0996, "0.100"), (0.001, "0.001"), (0.000999, "< 0.001"), (0.0, "< 0.001")]
)
def test_a_p_value_that_three_decimals_cannot_show_is_called_smaller(value: float, text: str) -> None:
    assert p_text(value) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [(result(), "yes (-0.40)"), (result(bound=0.7, non_inferior=False), "no (+0.70)")],
)
def test_a_verdict_shows_the_bound_and_is_not_derived_from_its_sign(found: PairedResult, text: str) -> None:
    assert verdict_text(found) == text
