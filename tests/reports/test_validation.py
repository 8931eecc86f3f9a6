from __future__ import annotations

import json
import math

import pytest

from nnunet_iac.reports.plans import ModelName
from nnunet_iac.reports.validation import find_host, read_validation


def stock(results, plans, fold="fold_0", configuration="2d"):
    return f"Dataset004_Hippocampus/nnUNetTrainer__{plans}__{configuration}/{fold}/validation/summary.json"


def summary_of(value):
    case = {"reference_file": "/a/case_1.nii.gz", "prediction_file": "/b/case_1.nii.gz"}
    return {"foreground_mean": {"Dice": value}, "metric_per_case": [{**case, "metrics": {"1": {"Dice": value}}}]}


def found(results, checkpoint=None, derived_from=None):
    host = find_host(results.fold(), ModelName.of(results.model), checkpoint, derived_from)
    return host, (host.validation.foreground_mean if host.validation else None)


def test_dice_is_read_by_case_and_class_and_absent_classes_are_nan(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(summary_of(float("nan"))))
    read = read_validation(tmp_path / "s.json")
    assert list(read.dice) == ["case_1"] and math.isnan(read.dice["case_1"]["1"])


@pytest.mark.parametrize("content", [{"foreground_mean": {}, "metric_per_case": []}, {"mean": {}}, [1]])
def test_another_form_of_summary_is_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"s\.json"):
        read_validation(tmp_path / "s.json")


def test_the_parent_plans_are_found_by_the_beginning_of_the_name(results):
    results.with_json(stock(results, "nnUNetPlans"), summary_of(0.7)).with_json(stock(results, "nn"), summary_of(0.1))
    host, dice = found(results)
    assert (dice, host.is_kin) == (0.7, True)


def test_the_plans_that_were_derived_from_come_first(results):
    results.with_json(stock(results, "nnUNetPlans"), summary_of(0.7)).with_json(stock(results, "own"), summary_of(0.8))
    host, dice = found(results, derived_from="own")
    assert (dice, host.is_kin) == (0.8, True)


def test_the_checkpoint_of_the_search_comes_before_all(results):
    elsewhere = results.with_json("elsewhere/validation/summary.json", summary_of(0.9)).root / "elsewhere"
    results.with_json(stock(results, "nnUNetPlans_iac"), summary_of(0.7))
    assert found(results, checkpoint=str(elsewhere / "checkpoint_final.pth"))[1] == 0.9


def test_a_host_of_unrelated_plans_is_found_but_not_taken_for_kin(results):
    results.with_json(stock(results, "OtherPlans"), summary_of(0.6))
    host, dice = found(results)
    assert (dice, host.is_kin) == (0.6, False)


@pytest.mark.parametrize("where", [{"fold": "fold_1"}, {"configuration": "3d_fullres"}])
def test_another_fold_or_configuration_is_no_host(results, where):
    results.with_json(stock(results, "nnUNetPlans", **where), summary_of(0.7))
    host, dice = found(results)
    assert dice is None
    assert any("nnUNetTrainer__nnUNetPlans_iac__2d" in str(path) for path in host.looked_for)


def test_a_stock_folder_with_cells_is_no_host(results):
    path = stock(results, "nnUNetPlans_iac")
    results.with_json(path, summary_of(0.7)).with_plans({"schema": 1})
    model = (results.root / path).parent.parent.parent
    (results.model / "plans.json").rename(model / "plans.json")
    record = json.loads((model / "plans.json").read_text())
    del record["configurations"]["2d"]["architecture"]["arch_kwargs"]
    (model / "plans.json").write_text(json.dumps(record))
    assert found(results)[1] is None
