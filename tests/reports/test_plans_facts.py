from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.plans import ModelName, class_names, is_ours, read_plans


def test_genotype_settings_and_parent_are_read(complete):
    facts = read_plans(complete.model, "2d")
    assert facts.genotype is not None and facts.genotype.kind == "searched"
    assert facts.settings == {"search.tau": 0.002, "search.epochs": 200}
    assert facts.derived_from == "nnUNetPlans"


def test_a_configuration_inherits_its_architecture(results):
    identity = Genotype.identity().to_dict()
    architecture = {"network_class_name": "nnunet_iac.cells.network.CellUNet", "arch_kwargs": {"genotype": identity}}
    configurations = {"a": {"architecture": architecture}, "b": {"inherits_from": "a", "batch_size": 2}}
    results.with_json("model/plans.json", {"configurations": configurations})
    assert read_plans(results.root / "model", "b").genotype == Genotype.identity()


def test_a_circle_of_configurations_ends(results):
    results.with_json("m/plans.json", {"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a"}}})
    assert read_plans(results.root / "m", "a").genotype is None


def test_the_configuration_with_cells_is_taken_in_a_renamed_folder(complete):
    assert read_plans(complete.model, None).genotype is not None


def test_stock_plans_carry_no_cells(results):
    assert not is_ours(results.with_plans(None).model)
    assert is_ours(results.with_plans(Genotype.identity().to_dict()).model)


def test_a_wrong_genotype_is_refused_with_the_path(results):
    results.with_plans({"schema": 12})
    with pytest.raises(ValueError, match=r"plans\.json: genotype\.schema"):
        read_plans(results.model, "2d")


def test_classes_and_regions_get_the_keys_that_nnunet_writes(results):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "edge": 3, "ignore": 4}
    results.with_json("m/dataset.json", {"labels": labels})
    assert class_names(results.root / "m") == {"(1, 2)": "whole", "2": "core", "3": "edge"}


def test_a_renamed_folder_has_no_name():
    assert ModelName.of(Path("Dataset004/my_model")) is None
