"""A configuration is a checked record that survives JSON."""

from __future__ import annotations

import json

import pytest

from nnunet_iac.zoo.configuration import SubnetConfiguration

GOOD = SubnetConfiguration((1, 2, 2), (2, 1), (0.25, 1.0, 0.75))


def test_json_gives_the_same_configuration_back():
    assert SubnetConfiguration.from_dict(json.loads(json.dumps(GOOD.to_dict()))) == GOOD


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 2), (1,), (1.0, 1.0)), "depths: expected integers of at least 1, got \\(0, 2\\)"),
        (((1, True), (1,), (1.0, 1.0)), "depths: expected integers"),
        (((1, 2), (1,), (1.5, 1.0)), "widths: expected fractions in \\(0, 1\\]"),
        (((1, 2), (1,), (float("nan"), 1.0)), "widths: expected fractions"),
        (((1, 2), (1, 1), (1.0, 1.0)), "one decoder depth less, got 2 widths, 2 depths and 2 decoder depths"),
        (([1, 2], (1,), (1.0, 1.0)), "depths: expected a tuple"),
        (((1, 2), (1,), ("wide", 1.0)), "widths: expected numbers"),
    ],
)
def test_what_does_not_fit_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        SubnetConfiguration(*arguments)


def test_all_faults_are_named_together():
    with pytest.raises(ValueError, match=r"depths: .*decoder_depths: .*widths: "):
        SubnetConfiguration((0,), (0,), (2.0,))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1], "expected a JSON object, got list"),
        ({**GOOD.to_dict(), "schema": 2}, "schema: expected 1, got 2"),
        ({**GOOD.to_dict(), "kernel": 3}, "missing or unknown: \\['kernel'\\]"),
        ({**GOOD.to_dict(), "widths": 1.0}, "expected lists, got something else for \\['widths'\\]"),
    ],
)
def test_foreign_records_are_refused(record, message):
    with pytest.raises(ValueError, match=message):
        SubnetConfiguration.from_dict(record)
