"""A retrieved network's depths and widths on another plan."""

from __future__ import annotations

import pytest
import torch
from tiny_supernets import architecture

from nnunet_iac.zoo.adaptation import adapted
from nnunet_iac.zoo.stock import StockArchitecture

PLAIN = StockArchitecture(architecture(features=(8, 16, 16)))


def test_on_its_own_plan_a_network_is_itself() -> None:
    found = PLAIN.resized([8, 8, 16], [1, 2, 1], [2, 1])

    assert adapted(found, PLAIN).record == found.record


def test_stages_meet_from_full_resolution_down() -> None:
    source = PLAIN.resized([8, 8, 8], [1, 2, 1], [2, 1])
    deeper = StockArchitecture(
        architecture(features=(8, 16, 32, 64), n_conv_per_stage=[2, 2, 2, 2], n_conv_per_stage_decoder=[3, 3, 3])
    )

    found = adapted(source, deeper)

    assert found.features == (8, 8, 8, 16), "a quarter of the third stage, so a quarter of the fourth"
    assert found.depths == (1, 2, 1, 2) and found.decoder_depths == (3, 2, 1)
    assert found.arguments["strides"] == deeper.arguments["strides"]


def test_a_plan_with_fewer_stages_takes_the_first() -> None:
    shallow = StockArchitecture(architecture(features=(32, 64), n_conv_per_stage=[2, 2], n_conv_per_stage_decoder=[2]))

    found = adapted(PLAIN.resized([8, 8, 16], [1, 2, 1], [2, 1]), shallow)

    assert (found.features, found.depths, found.decoder_depths) == ((8, 8), (1, 2), (1,))


@pytest.mark.parametrize("dimension", [2, 3])
def test_what_comes_out_can_be_built_and_run(dimension: int) -> None:
    target = StockArchitecture(architecture(dimension=dimension, features=(8, 16, 16)))

    network = adapted(PLAIN.resized([8, 8, 8], [1, 1, 1], [1, 1]), target).build(1, 2)

    assert network(torch.zeros(1, 1, *(16,) * dimension)).shape[1] == 2


def test_plain_and_residual_do_not_mix() -> None:
    with pytest.raises(ValueError, match="expected a ResidualEncoderUNet as in the target's plan, got a PlainConvUNet"):
        adapted(PLAIN, StockArchitecture(architecture("residual")))
