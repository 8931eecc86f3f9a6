"""Weights for another plan's network: nnU-Net's own `-pretrained_weights` takes them, and nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import REPOSITORY
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import maybe_load_checkpoint
from tiny_hosts import BACKBONES
from transfer_datasets import TARGET, save_source, trainer_of, write_datasets

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import with_genotype
from nnunet_iac.nnunet.files.weight_source import WeightSource, read_weight_source
from nnunet_iac.nnunet.files.weights import (
    PROVENANCE,
    build_network,
    read_weight_target,
    transfer,
    transfer_to_file,
    weight_target,
    write_weights,
)


@pytest.fixture
def source(folders: Folders, stock_plans: dict[str, Any], tmp_path: Path) -> WeightSource:
    write_datasets(folders, stock_plans)
    return read_weight_source(save_source(tmp_path / "checkpoint_final.pth"))


def same_weights(first: Any, second: Any) -> list[str]:
    return [key for key, value in first.state_dict().items() if torch.equal(value, second.state_dict()[key])]


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerIACHost"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_nnunet_loads_the_file_as_pretrained_weights(
    source: WeightSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str, configuration: str
) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", str(REPOSITORY / "trainers"))
    transfer_to_file(source, read_weight_target("991", configuration), tmp_path / "start.pth")
    started = trainer_of(TARGET, configuration, trainer)

    maybe_load_checkpoint(started, False, False, str(tmp_path / "start.pth"))

    network, _ = transfer(source, read_weight_target("991", configuration))
    different = set(network.state_dict()) - set(same_weights(network, started.network))
    assert all(".seg_layers." in key for key in different), "nnU-Net starts these anew, whatever the file holds"
    assert started.current_epoch == 0


def test_the_file_names_its_origin_and_is_read_without_running_code(source: WeightSource, tmp_path: Path) -> None:
    report = transfer_to_file(source, read_weight_target(TARGET, "2d"), tmp_path / "start.pth", seed=3)

    checkpoint = read_checkpoint(tmp_path / "start.pth")
    assert checkpoint[PROVENANCE]["source"] == source.origin
    assert checkpoint[PROVENANCE]["target"] == {
        "dataset": TARGET,
        "plans": "nnUNetPlans",
        "configuration": "2d",
        "seed": 3,
    }
    assert checkpoint[PROVENANCE]["share"] == report.share
    assert str(tmp_path) not in json.dumps(checkpoint[PROVENANCE])


def test_a_written_file_is_a_source_itself(source: WeightSource, tmp_path: Path) -> None:
    transfer_to_file(source, read_weight_target("991", "3d_fullres"), tmp_path / "start.pth")

    again = read_weight_source(tmp_path / "start.pth")

    assert again.interface.channels == ("FLAIR", "T1w", "T1gd", "T2w") and again.configuration == "3d_fullres"


def test_the_report_beside_it_has_every_tensor(source: WeightSource, tmp_path: Path) -> None:
    report = transfer_to_file(source, read_weight_target("991", "3d_fullres"), tmp_path / "start.pth")

    content = json.loads((tmp_path / "start.json").read_text())
    assert [r["name"] for r in content["records"]] == [r.name for r in report.records]
    assert (content["source"], content["tensors"]) == (source.origin, report.counts)
    assert {r["what"] for r in content["records"]} == {"copied", "adapted", "skipped"}


def test_the_same_plans_and_labels_take_every_bit_with_segmentation_layers(source: WeightSource) -> None:
    network, report = transfer(source, read_weight_target(DATASET, "2d"))

    assert report.share == 1
    assert all(torch.equal(value, source.weights[key]) for key, value in network.state_dict().items())


def test_what_is_fresh_is_the_same_for_the_same_seed(source: WeightSource) -> None:
    target = read_weight_target("991", "3d_fullres")
    state = torch.get_rng_state()

    first, second, other = (transfer(source, target, seed)[0] for seed in (0, 0, 1))

    assert len(same_weights(first, second)) == len(first.state_dict()) > len(same_weights(first, other))
    assert torch.equal(state, torch.get_rng_state())


def test_cells_come_over_between_equal_architectures_only(source: WeightSource, tmp_path: Path) -> None:
    dataset = read_weight_target(DATASET, "2d").dataset
    targets = [
        weight_target(with_genotype(source.plans, "2d", Genotype.random(seed=seed)), "2d", dataset) for seed in (0, 1)
    ]
    write_weights(tmp_path / "cells.pth", build_network(targets[0], seed=5), targets[0], {})
    with_cells = read_weight_source(tmp_path / "cells.pth")

    taken = [transfer(with_cells, target)[1] for target in targets]

    assert taken[0].share == 1
    assert [r.name for r in taken[1].records if r.what == "copied"] == [
        r.name for r in taken[0].records if not r.name.startswith("cells.")
    ]


@pytest.mark.parametrize(("place", "failing"), [(torch, "save"), (Path, "write_text")])
def test_a_full_disk_leaves_what_was_there(
    source: WeightSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, failing: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(place, failing, full)

    with pytest.raises(OSError, match="No space left"):
        transfer_to_file(source, read_weight_target("991", "2d"), folder / "start.pth")
    assert [path.name for path in folder.iterdir()] == []


class TestTargets:
    def test_residual_plans_refuse_a_plain_source(self, source: WeightSource, folders: Folders) -> None:
        path = folders.preprocessed.parent / TARGET / "nnUNetPlans.json"
        plans = json.loads(path.read_text())
        architecture = plans["configurations"]["2d"]["architecture"]
        architecture["network_class_name"] = BACKBONES["residual"]
        architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
        path.write_text(json.dumps(plans))

        with pytest.raises(ValueError, match="kind of encoder, residual, got plain"):
            transfer(source, read_weight_target("991", "2d"))

    def test_a_missing_dataset_json_is_named(self, source: WeightSource, folders: Folders) -> None:
        (folders.preprocessed.parent / TARGET / "dataset.json").unlink()

        with pytest.raises(FileNotFoundError, match=r"dataset\.json: expected it in .*Dataset991_Other"):
            read_weight_target("991", "2d")

    @pytest.mark.parametrize("damage", [{"labels": None}, {"labels": {"one": 1}}, {"channel_names": None}])
    def test_a_damaged_dataset_json_is_named(
        self, source: WeightSource, folders: Folders, damage: dict[str, Any]
    ) -> None:
        path = folders.preprocessed.parent / TARGET / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))

        with pytest.raises(ValueError, match=r"dataset\.json: expected nnU-Net's channel_names and labels"):
            read_weight_target("991", "2d")

    def test_a_configuration_that_is_not_there_is_named(self, source: WeightSource) -> None:
        with pytest.raises(ValueError, match=r"configuration: expected one of .* got '3d_lowres'"):
            read_weight_target("991", "3d_lowres")
