"""Image channels of a target and those of a source: by name, by place, shared."""

from __future__ import annotations

import pytest
import torch

from nnunet_iac.cells.image_channels import channel_mixture, mix_channels


def rows(source: list[str], target: list[str]) -> list[list[float]]:
    return [list(row) for row in channel_mixture(source, target).matrix]


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1), (4, 2), (2, 4), (3, 3)])
def test_an_image_with_equal_channels_gives_the_same_response(source, target):
    weight = torch.randn(5, source, 3, 3, generator=torch.Generator().manual_seed(0))

    mixed = mix_channels(weight, channel_mixture([""] * source, [""] * target))

    assert mixed.shape == (5, target, 3, 3)
    assert torch.allclose(mixed.sum(1), weight.sum(1), atol=1e-5)


def test_names_meet_whatever_their_case_and_order():
    assert rows(["T1", "FLAIR", "T2"], ["flair ", "t1"]) == [[0, 1, 0], [1, 0, 0]]


def test_the_same_channels_in_another_order_are_another_order_and_nothing_else():
    assert rows(["R", "G", "B"], ["B", "G", "R"]) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_a_name_that_stands_twice_meets_two_channels():
    assert rows(["CT", "CT"], ["CT", "CT"]) == [[1, 0], [0, 1]]


def test_equally_many_others_meet_by_place():
    assert rows(["MRI"], ["CT"]) == [[1]]
    assert rows(["T1", "a", "b"], ["c", "d", "T1"]) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_the_others_share_what_names_leave():
    assert rows(["FLAIR", "T1c"], ["FLAIR", "T1w", "T2w"]) == [[1, 0], [0, 0.5], [0, 0.5]]


def test_a_channel_that_nothing_is_left_for_starts_at_zero_and_says_so():
    mixture = channel_mixture(["FLAIR"], ["FLAIR", "T1"])

    assert mixture.matrix == ((1,), (0,)) and mixture.how == "channel T1 starts at zero"


def test_a_source_channel_without_a_place_is_left_out_and_named():
    mixture = channel_mixture(["FLAIR", "T1"], ["FLAIR"])

    assert mixture.matrix == ((1, 0),) and mixture.how == "channel T1 left out" and mixture.changes


def test_equal_channels_change_nothing():
    mixture = channel_mixture(["", "CT"], ["", "ct"])

    assert not mixture.changes and mixture.how == ""


@pytest.mark.parametrize(("source", "target"), [([], ["a"]), (["a"], [])])
def test_a_network_without_channels_is_refused(source, target):
    with pytest.raises(ValueError, match="channels: expected at least one on each side"):
        channel_mixture(source, target)
