"""What `dataset.json` says a network reads and answers."""

from __future__ import annotations

from typing import Any

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_iac.cells.weight_transfer import Interface
from nnunet_iac.nnunet.files.interfaces import interface_of

LABELS = {"background": 0, "RV": 3, "MYO": 1, "LV": 2, "ignore": 4}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def test_channels_are_ordered_by_number_and_classes_by_value() -> None:
    dataset = {"channel_names": {"10": "k", "2": "c"}, "labels": LABELS}

    assert interface_of(dataset, 2, 4) == Interface(("c", "k"), ("background", "MYO", "LV", "RV"))


def test_regions_stand_as_in_the_file_without_background() -> None:
    assert interface_of({"labels": REGIONS}, 1, 2) == Interface(("",), ("whole", "core"), regions=True)


@pytest.mark.parametrize(("labels", "order"), [(LABELS, None), (REGIONS, [1, 2])])
def test_there_are_as_many_names_as_nnunet_has_outputs(labels: dict[str, Any], order: list[int] | None) -> None:
    outputs = LabelManager(labels, order).num_segmentation_heads

    assert len(interface_of({"labels": labels}, 1, outputs).labels) == outputs


def test_the_stage_before_of_a_cascade_has_channels_of_its_own() -> None:
    found = interface_of({"channel_names": {"0": "CT"}}, 3, 2).channels

    assert found == ("CT", "previous stage 1", "previous stage 2")


@pytest.mark.parametrize("dataset", [{}, {"channel_names": {"0": "a", "1": "b"}, "labels": {"background": 0}}])
def test_names_that_are_missing_or_do_not_fit_are_unknown(dataset: dict[str, Any]) -> None:
    assert interface_of(dataset, 1, 2) == Interface(("",))


@pytest.mark.parametrize("dataset", [{"channel_names": ["CT"]}, {"labels": {"a": "one"}}, {"channel_names": {"x": 1}}])
def test_a_damaged_file_is_named(dataset: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.json: expected nnU-Net's channel_names and labels"):
        interface_of(dataset, 1, 2)
