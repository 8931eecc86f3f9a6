"""Plans files: genotypes go in and come out, derived plans share the data, bad files are named."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.files.plans import (
    configuration_of,
    derive,
    genotype_of,
    plans_path,
    read_plans,
    with_genotype,
    write_plans,
)

Plans = dict[str, Any]


def build(plans: Plans, configuration: str) -> Any:
    manager = PlansManager(deepcopy(plans)).get_configuration(configuration)
    return get_network_from_plans(
        manager.network_arch_class_name,
        manager.network_arch_init_kwargs,
        manager.network_arch_init_kwargs_req_import,
        1,
        3,
    )


def test_a_genotype_goes_in_and_comes_out(stock_plans: Plans) -> None:
    genotype = Genotype.random(seed=0, count=2)

    assert genotype_of(stock_plans, "2d") is None
    assert genotype_of(with_genotype(stock_plans, "2d", genotype), "2d") == genotype


def test_neither_changes_the_plans_it_was_given(stock_plans: Plans) -> None:
    before = deepcopy(stock_plans)

    with_genotype(stock_plans, "2d", Genotype.random(seed=0))
    derive(stock_plans, "2d", "new", {"search": {"epochs": 3}}, batch_size=2)

    assert stock_plans == before


@pytest.mark.parametrize("configuration", ["2d", "2d_small"])
def test_nnunet_builds_the_network_also_where_the_configuration_is_inherited(
    stock_plans: Plans, configuration: str
) -> None:
    network = build(with_genotype(stock_plans, configuration, Genotype.random(seed=0)), configuration)

    assert isinstance(network, CellUNet) and network.cells is not None


def test_a_genotype_of_an_inheriting_configuration_leaves_the_parent_alone(stock_plans: Plans) -> None:
    plans = with_genotype(stock_plans, "2d_small", Genotype.random(seed=0))

    assert plans["configurations"]["2d"] == stock_plans["configurations"]["2d"]
    assert configuration_of(plans, "2d_small")["patch_size"] == [32, 32]


def test_a_second_genotype_replaces_the_first(stock_plans: Plans) -> None:
    twice = with_genotype(with_genotype(stock_plans, "2d", Genotype.random(seed=0)), "2d", Genotype.random(seed=1))

    assert twice == with_genotype(stock_plans, "2d", Genotype.random(seed=1))


def test_derived_plans_share_the_preprocessed_data(stock_plans: Plans) -> None:
    derived = derive(stock_plans, "2d_small", "new", {"search": {"epochs": 9}}, batch_size=2)

    configuration = configuration_of(derived, "2d_small")
    assert configuration["data_identifier"] == "nnUNetPlans_2d"
    assert (configuration["batch_size"], configuration["iac"]) == (2, {"search": {"epochs": 9}})
    assert (derived["plans_name"], derived["derived_from"]) == ("new", "nnUNetPlans")
    assert "iac" not in configuration_of(derived, "2d")


def test_settings_are_merged_over_those_there_are(stock_plans: Plans) -> None:
    first = derive(stock_plans, "2d", "first", {"search": {"epochs": 9, "seed": 1}, "cell": {"nodes": 2}})
    second = derive(first, "2d", "second", {"search": {"epochs": 5}, "host": {"epochs": 1}})

    assert configuration_of(second, "2d")["iac"] == {
        "search": {"epochs": 5, "seed": 1},
        "cell": {"nodes": 2},
        "host": {"epochs": 1},
    }


def test_derived_plans_keep_the_genotype(stock_plans: Plans) -> None:
    plans = with_genotype(stock_plans, "2d", Genotype.random(seed=0))

    assert genotype_of(derive(plans, "2d", "new", {}), "2d") == Genotype.random(seed=0)


def test_an_unknown_host_is_refused(stock_plans: Plans) -> None:
    stock_plans["configurations"]["2d"]["architecture"]["network_class_name"] = "elsewhere.UMamba"

    with pytest.raises(ValueError, match=r"backbone: expected a host .*PlainConvUNet.* got 'elsewhere.UMamba'"):
        with_genotype(stock_plans, "2d", Genotype.identity())


def test_a_genotype_that_does_not_fit_the_plan_is_refused(stock_plans: Plans) -> None:
    with pytest.raises(ValueError, match=r"expected 0 \(identity\), 1 \(shared\) or 2 cells.* got 3"):
        with_genotype(stock_plans, "2d", Genotype.random(seed=0, count=3))


def test_a_genotype_in_the_plans_that_does_not_fit_is_refused(stock_plans: Plans) -> None:
    plans = with_genotype(stock_plans, "2d", Genotype.random(seed=0))
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    arguments["genotype"] = Genotype.random(seed=0, count=3).to_dict()

    with pytest.raises(ValueError, match="got 3; search again for this plan"):
        genotype_of(plans, "2d")


@pytest.mark.parametrize("record", [{"schema": 2}, {}, None, []])
def test_an_unknown_schema_is_refused(stock_plans: Plans, record: Any) -> None:
    plans = with_genotype(stock_plans, "2d", Genotype.random(seed=0))
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["genotype"] = record

    with pytest.raises(ValueError, match=r"genotype(\.schema)?: expected"):
        genotype_of(plans, "2d")


def test_an_unknown_configuration_is_named_with_those_there_are(stock_plans: Plans) -> None:
    with pytest.raises(ValueError, match=r"expected one of \['2d', '2d_small'\], got '3d'"):
        configuration_of(stock_plans, "3d")


def test_missing_plans_are_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "nnUNetResEncUNetMPlans.json").write_text("{}")

    with pytest.raises(FileNotFoundError, match=r"found none; plans in that folder: \['nnUNetResEncUNetMPlans'\]"):
        read_plans(tmp_path / "nnUNetPlans.json")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'{"plans_name": "x"}', b'{"configurations": []}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nnUNetPlans.json"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"plans: expected .*nnUNetPlans\.json"):
        read_plans(path)


def test_plans_are_written_as_they_are_read(tmp_path: Path, stock_plans: Plans) -> None:
    write_plans(tmp_path / "p.json", stock_plans)

    assert read_plans(tmp_path / "p.json") == stock_plans == json.loads((tmp_path / "p.json").read_text())


@pytest.mark.parametrize("name", ["", "a/b", "../b", ".hidden", ".."])
def test_a_name_that_is_no_file_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plans name: expected a plain file name"):
        plans_path(tmp_path, name)
