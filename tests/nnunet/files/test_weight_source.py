"""Checkpoints that weights are taken from: what is read, what is refused and why."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders
from transfer_datasets import save_source, write_datasets

from nnunet_iac.nnunet.files.weight_source import read_weight_source


@pytest.fixture
def checkpoint(folders: Folders, stock_plans: dict[str, Any], tmp_path: Path) -> Path:
    write_datasets(folders, stock_plans)
    return save_source(tmp_path / "checkpoint_final.pth")


def change(path: Path, **changes: Any) -> None:
    torch.save({**torch.load(path, weights_only=False), **changes}, path)


def arguments(path: Path) -> dict[str, Any]:
    return deepcopy(torch.load(path, weights_only=False)["init_args"])


def test_a_checkpoint_of_nnunet_says_what_it_is(checkpoint: Path) -> None:
    source = read_weight_source(checkpoint)

    assert source.interface.channels == ("cineMRI",) and source.interface.labels == ("background", "RV", "LV")
    assert source.origin == {
        "file": "checkpoint_final.pth",
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "dataset": DATASET,
        "plans": "nnUNetPlans",
        "configuration": "2d",
    }


def test_plans_beside_it_serve_where_it_carries_none(checkpoint: Path, folders: Folders) -> None:
    change(checkpoint, init_args=None)
    with pytest.raises(ValueError, match=r"expected one that carries its plans .* takes them with --source-plans"):
        read_weight_source(checkpoint)

    source = read_weight_source(checkpoint, folders.preprocessed / "nnUNetPlans.json", "2d")

    assert source.plans["dataset_name"] == DATASET and source.interface.channels == ("cineMRI",)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(checkpoint: Path, share: float) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[: int(share * checkpoint.stat().st_size)])

    with pytest.raises(ValueError, match=r"checkpoint: expected .*checkpoint_final\.pth"):
        read_weight_source(checkpoint)


@pytest.mark.parametrize("weights", [{}, {"layer1.weight": torch.ones(3)}, {"decoder.seg_layers.0.weight": [1]}])
def test_weights_of_another_network_are_named(checkpoint: Path, weights: dict[str, Any]) -> None:
    change(checkpoint, network_weights=weights)

    with pytest.raises(ValueError, match=r"checkpoint: expected (the network of its plans|tensors only)"):
        read_weight_source(checkpoint)


def test_weights_that_miss_or_differ_from_the_plans_are_named(checkpoint: Path) -> None:
    weights = torch.load(checkpoint, weights_only=False)["network_weights"]
    del weights["encoder.stages.2.0.convs.0.conv.bias"]
    weights["decoder.transpconvs.0.bias"] = torch.zeros(3)
    change(checkpoint, network_weights=weights)

    with pytest.raises(
        ValueError, match=r"2 tensor\(s\) that differ.*stages.2.0.convs.0.conv.bias is missing.*got \(3"
    ):
        read_weight_source(checkpoint)


def test_nan_is_named(checkpoint: Path) -> None:
    weights = torch.load(checkpoint, weights_only=False)["network_weights"]
    weights["decoder.transpconvs.1.bias"][2] = torch.nan
    change(checkpoint, network_weights=weights)

    with pytest.raises(ValueError, match=r"NaN or Inf in 1 tensor\(s\).*the first is decoder\.transpconvs\.1\.bias"):
        read_weight_source(checkpoint)


def test_another_architecture_is_named(checkpoint: Path) -> None:
    init = arguments(checkpoint)
    init["plans"]["configurations"]["2d"]["architecture"]["network_class_name"] = "a.b.Primus"
    change(checkpoint, init_args=init)

    with pytest.raises(ValueError, match=r"backbone: expected a host .* got 'a\.b\.Primus'"):
        read_weight_source(checkpoint)


@pytest.mark.parametrize("damage", [{"2d": {}}, {"2d": 3}, {"3d": {}}])
def test_damaged_plans_are_named(checkpoint: Path, damage: dict[str, Any]) -> None:
    init = arguments(checkpoint)
    init["plans"]["configurations"] = damage
    change(checkpoint, init_args=init)

    with pytest.raises(
        ValueError,
        match=r"plans: expected the configuration 2d as nnU-Net writes it|configuration: expected one of \['3d'\]",
    ):
        read_weight_source(checkpoint)


@pytest.mark.parametrize("name", ["subprocess.Popen", "os.system", "torch.nn.functional.relu", "torch.hub.load", 3])
def test_plans_inside_a_checkpoint_cannot_name_what_is_run(checkpoint: Path, tmp_path: Path, name: Any) -> None:
    init = arguments(checkpoint)
    host = init["plans"]["configurations"]["2d"]["architecture"]["arch_kwargs"]
    host.update(nonlin=name, nonlin_kwargs={"args": ["touch", str(tmp_path / "run")]})
    change(checkpoint, init_args=init)

    with pytest.raises(ValueError, match=r"plans: expected a module of PyTorch for nonlin"):
        read_weight_source(checkpoint)
    assert not (tmp_path / "run").exists()


def test_plans_inside_a_checkpoint_cannot_name_a_module_to_import(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"from torch import nn\nopen({str(tmp_path / 'run')!r}, 'w').close()\nclass Act(nn.ReLU): ..."
    (tmp_path / "strange_activations.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    init = arguments(checkpoint)
    init["plans"]["configurations"]["2d"]["architecture"]["arch_kwargs"]["nonlin"] = "strange_activations.Act"
    change(checkpoint, init_args=init)

    with pytest.raises(ValueError, match=r"got 'strange_activations\.Act'"):
        read_weight_source(checkpoint)
    assert not (tmp_path / "run").exists()


def test_plans_that_are_not_a_plans_file_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))

    with pytest.raises(ValueError, match="plans: expected a plans file"):
        read_weight_source(checkpoint, tmp_path / "other.json")
