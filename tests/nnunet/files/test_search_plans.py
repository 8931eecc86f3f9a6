"""`<plans>_iac.json`: written once for each configuration."""

from __future__ import annotations

from typing import Any

import pytest
from nnunet_folders import Folders

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.plans import genotype_of, read_plans
from nnunet_iac.nnunet.files.search_plans import output_plans_path, write_search_plans

FIRST, SECOND = Genotype.random(seed=1), Genotype.random(seed=2)


def test_the_name_in_the_file_is_the_name_of_the_file(planned: Folders, stock_plans: dict[str, Any]) -> None:
    path = write_search_plans(planned.preprocessed, stock_plans, "2d", FIRST)

    plans = read_plans(path)
    assert path == planned.preprocessed / "nnUNetPlans_iac.json"
    assert (plans["plans_name"], plans["derived_from"]) == ("nnUNetPlans_iac", "nnUNetPlans")
    assert genotype_of(plans, "2d") == FIRST


def test_a_second_configuration_joins_the_first(planned: Folders, stock_plans: dict[str, Any]) -> None:
    write_search_plans(planned.preprocessed, stock_plans, "2d_small", FIRST)

    plans = read_plans(write_search_plans(planned.preprocessed, stock_plans, "2d", SECOND))

    assert (genotype_of(plans, "2d_small"), genotype_of(plans, "2d")) == (FIRST, SECOND)


def test_what_was_found_is_never_overwritten(planned: Folders, stock_plans: dict[str, Any]) -> None:
    path = write_search_plans(planned.preprocessed, stock_plans, "2d", FIRST)
    before = path.read_bytes()

    with pytest.raises(ValueError, match=r"train it with -p nnUNetPlans_iac, or move the file away"):
        write_search_plans(planned.preprocessed, stock_plans, "2d", SECOND)
    with pytest.raises(ValueError, match="expected no genotype for 2d"):
        output_plans_path(planned.preprocessed, stock_plans, "2d")
    assert path.read_bytes() == before


def test_a_damaged_file_of_that_name_is_refused(planned: Folders, stock_plans: dict[str, Any]) -> None:
    (planned.preprocessed / "nnUNetPlans_iac.json").write_text("{")

    with pytest.raises(ValueError, match="expected JSON"):
        write_search_plans(planned.preprocessed, stock_plans, "2d", FIRST)


def test_nothing_is_written_without_a_genotype(planned: Folders, stock_plans: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected one to write, got none"):
        write_search_plans(planned.preprocessed, stock_plans, "2d", None)
    assert not (planned.preprocessed / "nnUNetPlans_iac.json").exists()
