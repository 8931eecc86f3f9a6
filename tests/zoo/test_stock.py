"""A plan's network is read without nnunetv2, equals nnU-Net's, and runs nothing that a plan names."""

from __future__ import annotations

from typing import Any

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from tiny_supernets import architecture

from nnunet_iac.zoo.stock import StockArchitecture


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_the_network_is_the_one_that_nnunet_builds(kind, dimension):
    section = architecture(kind, dimension)
    theirs = get_network_from_plans(
        section["network_class_name"], section["arch_kwargs"], section["_kw_requires_import"], 2, 3
    )
    ours = StockArchitecture(section).build(2, 3)
    assert str(ours) == str(theirs)


def test_old_plans_with_single_numbers_are_read():
    numbers = StockArchitecture(architecture(n_conv_per_stage=2, n_conv_per_stage_decoder=1, kernel_sizes=3))
    assert (numbers.depths, numbers.decoder_depths) == ((2, 2, 2), (1, 1))


def test_a_stem_that_is_named_follows_the_first_stage():
    resized = StockArchitecture(architecture("residual", stem_channels=8)).resized([4, 8, 8], [1, 1, 1], [1, 1])
    assert resized.arguments["stem_channels"] == 4


def test_the_plan_given_stays_as_it_was():
    section = architecture()
    StockArchitecture(section).resized([4, 8, 8], [1, 1, 1], [1, 1])
    assert section == architecture()


def with_class(name: str) -> dict[str, Any]:
    return {**architecture(), "network_class_name": name}


def without(key: str) -> dict[str, Any]:
    section = architecture()
    del section["arch_kwargs"][key]
    return section


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (with_class("nnunet_iac.cells.network.CellUNet"), "give the plan of the host if this one has cells"),
        (with_class("dynamic_network_architectures.architectures.unet.ResidualUNet"), "expected one of"),
        (with_class("evil_module.PlainConvUNet"), "expected one of .* got 'evil_module.PlainConvUNet'"),
        (architecture("residual", block="evil_module.BasicBlockD"), "block: expected BasicBlockD .* got evil_module"),
        (
            {**architecture(), "_kw_requires_import": ["conv_op", "n_stages"]},
            r"_kw_requires_import: .* got \['n_stages'\]",
        ),
        (without("strides"), r"missing \['strides'\]"),
        ({}, 'expected the section "architecture" of a plan'),
        (architecture(n_stages=1), "n_stages: expected an integer of at least 2, got 1"),
        (architecture(strides=[[1, 1], [2, 2]]), "strides: expected 3 entries, got 2"),
        (architecture(conv_op="os.system"), "arch_kwargs.conv_op: expected a module of torch.nn, got 'os.system'"),
        (architecture(norm_op="torch.nn.init.zeros_"), "arch_kwargs.norm_op: expected a module of torch.nn"),
        (architecture(norm_op="torch.nn.GroupNorm"), "norm_op: expected one of"),
        (architecture("residual", block="dna.residual.BottleneckD"), "block: expected BasicBlockD"),
        (architecture("residual", stem_channels=4), "stem_channels: expected those of the first stage, 8, got 4"),
        (architecture(norm_op_kwargs={"track_running_stats": True}), "without running statistics"),
    ],
)
def test_other_networks_are_refused_with_a_reason(section, message):
    with pytest.raises(ValueError, match=message):
        StockArchitecture(section).build(2, 3)
