"""Any trace, result, validation and plans are read or refused in words that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import dumped, few, files, jsons, takes_or_says
from hypothesis import given

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.plans import class_names, read_plans
from nnunet_iac.reports.result import read_result
from nnunet_iac.reports.trace import read_trace
from nnunet_iac.reports.validation import host_origin_of, read_validation

EDGES = {"probabilities": [[[0.5] * 8] * 2], "mask": [[[1] * 8] * 2], "jsd": [[None, 0.5]]}
LINE = {"schema": 1, "epoch": 0, "phase": "search", "seconds": 1.0, "weight_loss": 0.5, "arch_loss": None, **EDGES}
LINE |= {"edge_weights": [[0.5, 0.5]], "pruned": [[0, 0, "none"]], "decided": [[False, True]], "active_operations": 16}
LINE |= {"dice": 0.5}
RESULT = {"schema": 1, "status": "decided", "message": "m", "epochs": 3, "seconds": 1.0, "seed": 0, "decided_edges": 1}
RESULT |= {
    "edges": 1,
    "genotype": Genotype.random(seed=0, shape=CellShape(nodes=1)).to_dict(),
    "host": {},
    "settings": {"search": {"tau": 1}},
}
CASE = {"metrics": {"1": {"Dice": 0.5}}, "reference_file": "a/b.nii.gz", "prediction_file": "c/b.nii.gz"}
SUMMARY = {"foreground_mean": {"Dice": 0.5}, "metric_per_case": [CASE]}
ARCHITECTURE = {"network_class_name": "a.B", "arch_kwargs": {"genotype": RESULT["genotype"]}}
PLANS = {
    "derived_from": "a",
    "configurations": {"2d": {"iac": {}, "architecture": ARCHITECTURE}, "3d": {"inherits_from": "2d"}},
}


@pytest.mark.parametrize(
    ("name", "valid", "read"),
    [
        ("search.jsonl", LINE, lambda path: read_trace(path)),
        ("search_result.json", RESULT, lambda path: read_result(path)),
        ("summary.json", SUMMARY, lambda path: read_validation(path)),
        ("host.json", {"message": "m", "checkpoint": None}, lambda path: host_origin_of(path.parent)),
        ("plans.json", PLANS, lambda path: read_plans(path.parent, "2d")),
        ("dataset.json", {"labels": {"a": 1, "b": [1, 2]}}, lambda path: class_names(path.parent)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_any_content(tmp_path: Path, name: str, valid: Any, read: Any) -> None:
    path = tmp_path / name

    @few
    @given(jsons(valid).map(dumped) | files(dumped(valid)))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        takes_or_says(read, path, named=(name,))

    path.write_text(json.dumps(valid))
    read(path)
    check()


@pytest.mark.parametrize("value", [3, "a", {"architecture": 3}, {"architecture": {"arch_kwargs": "a"}}, {"iac": 3}])
def test_plans_with_something_else_as_configuration_are_named(tmp_path: Path, value: Any) -> None:
    (tmp_path / "plans.json").write_text(json.dumps({"configurations": {"2d": value}}))

    with pytest.raises(ValueError, match=r"plans\.json: expected configurations"):
        read_plans(tmp_path, "2d")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seconds", "fast"), ("pruned", 3), ("epoch", 10**30), ("active_operations", float("inf")), ("weight_loss", [1])],
)
def test_a_trace_with_a_value_of_another_kind_is_named(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "search.jsonl").write_text(json.dumps({**LINE, key: value}))

    with pytest.raises(ValueError, match=rf"search\.jsonl, line 1: {key}: expected"):
        read_trace(tmp_path / "search.jsonl")
