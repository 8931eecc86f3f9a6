"""nnU-Net's results in the zoo and back: every bit of the network, what it was trained on, and nothing that is run."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import maybe_load_checkpoint
from tiny_hosts import BACKBONES
from transfer_datasets import SOURCE_JSON, save_source, trainer_of, write_datasets

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import with_genotype, with_network
from nnunet_iac.nnunet.files.weight_source import read_weight_source
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, weight_target, write_weights
from nnunet_iac.nnunet.zoo_entries.zoo_import import folds_of, read_fold
from nnunet_iac.nnunet.zoo_entries.zoo_network import (
    check_starts,
    empty_network,
    entry_network,
    left_out,
    write_network,
)
from nnunet_iac.zoo.entry import Entry, Score
from nnunet_iac.zoo.store import Zoo

MODEL = "nnUNetTrainer__nnUNetPlans__2d"
METRICS = {"Dice": 0.8, "IoU": 0.7, "TP": 3.0}


@pytest.fixture
def fold(folders: Folders, stock_plans: dict[str, Any]) -> Path:
    """The folder of a fold that stock nnU-Net trained and validated."""
    write_datasets(folders, stock_plans)
    fold = folders.results / MODEL / "fold_0"
    (fold / "validation").mkdir(parents=True)
    save_source(fold / "checkpoint_final.pth", current_epoch=5)
    per_label = {"1": METRICS, "2": {**METRICS, "Dice": float("nan")}}
    summary = {"foreground_mean": METRICS, "mean": per_label, "metric_per_case": [{}, {}]}
    (fold / "validation" / "summary.json").write_text(json.dumps(summary))
    fingerprint = {"shapes_after_crop": [[1, 8, 8]], "spacings": [[1, 1, 1]]}
    (fold.parent / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return fold


def change(path: Path, **changes: Any) -> None:
    torch.save({**torch.load(path, weights_only=False), **changes}, path)


def stored(fold: Path, folder: Path) -> tuple[Zoo, Entry]:
    zoo, found = Zoo.create(folder / "zoo"), read_fold(fold, licence="CC0-1.0")
    return zoo, zoo.add(found.about, found.tensors).entry


def restored(zoo: Zoo, entry: Entry, path: Path) -> dict[str, torch.Tensor]:
    write_network(entry, entry_network(entry, zoo.read_weights(entry)), path)
    return read_checkpoint(path)["network_weights"]


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_an_entry_says_what_was_trained_on_what(fold: Path) -> None:
    about = read_fold(fold, licence="CC0-1.0").about

    assert about.name == f"{DATASET}/{MODEL}/fold_0" and about.dataset == DATASET
    assert (about.kind, about.configuration, about.trainer) == ("network", "2d", "nnUNetTrainer")
    assert (about.labels, about.regions, about.channels) == (("background", "RV", "LV"), False, ("cineMRI",))
    assert (about.spacing, about.patch_size, about.licence) == ((1.0, 1.0), (32, 32), "CC0-1.0")
    assert about.scores == (
        *(Score(metric, METRICS[metric], "2 validation cases of fold 0") for metric in ("Dice", "IoU")),
        *(Score(metric, METRICS[metric], "2 validation cases of fold 0", "RV") for metric in ("Dice", "IoU")),
        Score("IoU", 0.7, "2 validation cases of fold 0", "LV"),
    )
    assert about.provenance["source"] == read_weight_source(fold / "checkpoint_final.pth").origin
    assert (about.provenance["epochs"], about.provenance["fold"]) == (5, "0")
    assert about.provenance["imported_with"]["torch"] == version("torch")
    assert about.facts["fingerprint"]["cases"] == 1
    assert str(fold.parents[2]) not in json.dumps([about.provenance, about.facts]), "no path of this machine"


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_the_way_there_and_back_keeps_every_bit_and_type(fold: Path, tmp_path: Path, kind: torch.dtype) -> None:
    path = fold / "checkpoint_final.pth"
    expected = {k: v.to(kind) for k, v in torch.load(path, weights_only=False)["network_weights"].items()}
    change(path, network_weights=expected)

    zoo, entry = stored(fold, tmp_path)

    assert entry.parameters == sum(p.numel() for p in trainer_of(DATASET).network.parameters())
    assert_same(restored(zoo, entry, tmp_path / "back.pth"), expected)


def test_what_ddp_and_compile_put_before_names_is_left_out(fold: Path, tmp_path: Path) -> None:
    path = fold / "checkpoint_final.pth"
    expected = torch.load(path, weights_only=False)["network_weights"]
    change(path, network_weights={f"module._orig_mod.{k}": v for k, v in expected.items()})

    assert_same(restored(*stored(fold, tmp_path), tmp_path / "back.pth"), expected)


def test_nnunet_starts_from_an_extracted_checkpoint(fold: Path, tmp_path: Path) -> None:
    zoo, entry = stored(fold, tmp_path)
    weights = restored(zoo, entry, tmp_path / "start.pth")
    trainer = trainer_of(DATASET)

    maybe_load_checkpoint(trainer, False, False, str(tmp_path / "start.pth"))

    own = trainer.network.state_dict()
    assert all(torch.equal(own[key], value) for key, value in weights.items() if ".seg_layers." not in key)
    again = read_weight_source(tmp_path / "start.pth")
    assert again.interface.labels == entry.labels and again.plans == entry.plans


@pytest.mark.parametrize(
    "network", ["cells", "nnunet_iac.baselines.attention.AttentionUNet", "nnunet_iac.baselines.dense.DenseSkipUNet"]
)
def test_networks_of_ours_come_over_whole(
    fold: Path, stock_plans: dict[str, Any], tmp_path: Path, network: str
) -> None:
    genotype = Genotype.random(seed=0)
    plans = (
        with_genotype(stock_plans, "2d", genotype) if network == "cells" else with_network(stock_plans, "2d", network)
    )
    target = weight_target(plans, "2d", SOURCE_JSON)
    built = build_network(target)
    write_weights(fold / "checkpoint_final.pth", built, target, {})
    (fold / "search_result.json").write_text(json.dumps({"status": "decided", "host": {"checkpoint": "/secret"}}))

    zoo, entry = stored(fold, tmp_path)

    assert_same(restored(zoo, entry, tmp_path / "back.pth"), dict(built.state_dict()))
    assert entry.facts["search"]["status"] == "decided" and "secret" not in json.dumps(entry.to_dict())
    assert ("genotype" in entry.facts) is False, "it stands in the plans"


def test_the_genotype_that_folds_share_is_kept(fold: Path) -> None:
    genotype = Genotype.random(seed=1)
    (fold.parent / "genotype.json").write_text(json.dumps({"2d": genotype.to_dict()}))

    assert Genotype.from_dict(read_fold(fold).about.facts["genotype"]) == genotype


@pytest.mark.parametrize(("kind", "dimension"), [("residual", "2d"), ("plain", "3d_fullres")])
def test_residual_and_3d_hosts_come_over_too(
    fold: Path, stock_plans: dict[str, Any], tmp_path: Path, kind: str, dimension: str
) -> None:
    target = read_weight_target("991", dimension)
    architecture = target.architecture
    if kind == "residual":
        architecture["network_class_name"] = BACKBONES[kind]
        architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
        target.plans["configurations"][dimension]["architecture"] = architecture
    built = build_network(target)
    write_weights(fold / "checkpoint_final.pth", built, target, {})

    zoo, entry = stored(fold, tmp_path)

    assert (entry.dimensions, len(entry.channels)) == (int(dimension[0]), 4)
    assert_same(restored(zoo, entry, tmp_path / "back.pth"), dict(built.state_dict()))


def test_regions_have_their_names_and_scores(fold: Path) -> None:
    path = fold / "checkpoint_final.pth"
    init = torch.load(path, weights_only=False)["init_args"]
    init["dataset_json"]["labels"] = {"background": 0, "whole": [1, 2], "core": 2, "one": [1]}
    change(path, init_args=init)
    mean = {"(1, 2)": METRICS, "2": METRICS, "(1,)": METRICS}
    summary = {"foreground_mean": METRICS, "mean": mean, "metric_per_case": [{}]}
    (fold / "validation" / "summary.json").write_text(json.dumps(summary))

    about = read_fold(fold).about

    assert (about.labels, about.regions) == (("whole", "core", "one"), True)
    assert [score.label for score in about.scores if score.metric == "Dice"] == ["", "whole", "core", "one"]


class TestFolders:
    def test_a_model_folder_stands_for_its_folds(self, fold: Path) -> None:
        (fold.parent / "fold_1").mkdir()
        assert folds_of(fold) == folds_of(fold.parent) == [fold]

    def test_the_best_checkpoint_serves_where_the_last_is_missing(self, fold: Path) -> None:
        (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
        assert folds_of(fold) == [fold]
        about = read_fold(fold).about
        assert about.provenance["source"]["file"] == "checkpoint_best.pth"
        assert about.scores[0].measured_on.endswith("nnU-Net does not say whether with checkpoint_best.pth")

    def test_scores_of_fold_all_say_that_they_are_of_training_cases(self, fold: Path) -> None:
        path = fold / "checkpoint_final.pth"
        init = torch.load(path, weights_only=False)["init_args"]
        change(path, init_args={**init, "fold": "all"})
        assert read_fold(fold).about.scores[0].measured_on == "2 training cases (fold all)"

    def test_a_checkpoint_without_plans_takes_those_of_the_folder(self, fold: Path, folders: Folders) -> None:
        change(fold / "checkpoint_final.pth", init_args=None, trainer_name=None)
        with pytest.raises(FileNotFoundError, match=r"plans: expected the file .*plans\.json"):
            read_fold(fold)
        for name, source in (("plans.json", "nnUNetPlans.json"), ("dataset.json", "dataset.json")):
            (fold.parent / name).write_text((folders.preprocessed / source).read_text())
        about = read_fold(fold).about
        assert (about.labels, about.trainer) == (("background", "RV", "LV"), "nnUNetTrainer")

    def test_a_fold_that_was_not_validated_has_no_scores(self, fold: Path) -> None:
        (fold / "validation" / "summary.json").unlink()
        assert read_fold(fold).about.scores == ()

    def test_folders_without_a_checkpoint_are_named(self, fold: Path, tmp_path: Path) -> None:
        for folder, message in ((tmp_path / "none", "is none"), (tmp_path, r"expected checkpoint_final\.pth or")):
            with pytest.raises(FileNotFoundError, match=message):
                folds_of(folder)

    @pytest.mark.parametrize("content", ["{", "[]", '{"foreground_mean": {}}'])
    def test_a_damaged_summary_is_named(self, fold: Path, content: str) -> None:
        (fold / "validation" / "summary.json").write_text(content)
        with pytest.raises(ValueError, match=r"summary\.json: expected"):
            read_fold(fold)


class TestDamagedFiles:
    """Each is named, whatever type it has where another one stands in nnU-Net's files."""

    @pytest.mark.parametrize("value", [[], [1], 5, "labels", True], ids=repr)
    def test_dataset_json_of_a_checkpoint(self, fold: Path, value: Any) -> None:
        path = fold / "checkpoint_final.pth"
        change(path, init_args={**torch.load(path, weights_only=False)["init_args"], "dataset_json": value})
        with pytest.raises(ValueError, match=r"expected init_args\.dataset_json to be an object in .*final\.pth, got"):
            read_fold(fold)

    @pytest.mark.parametrize("name", ["configuration", "plans", "fold"])
    def test_other_arguments_of_a_checkpoint(self, fold: Path, name: str) -> None:
        path = fold / "checkpoint_final.pth"
        change(path, init_args={**torch.load(path, weights_only=False)["init_args"], name: [{}]})
        with pytest.raises(ValueError, match=rf"expected init_args\.{name} to be .* in .*final\.pth, got a list"):
            read_fold(fold)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("shapes_after_crop", 5),
            ("shapes_after_crop", {}),
            ("spacings", "1"),
            ("foreground_intensity_properties_per_channel", [1]),
        ],
    )
    def test_a_fingerprint(self, fold: Path, name: str, value: Any) -> None:
        path = fold.parent / "dataset_fingerprint.json"
        path.write_text(json.dumps({name: value}))
        with pytest.raises(ValueError, match=rf"fingerprint\.json: expected {name} to be (a list|an object), got"):
            read_fold(fold)

    def test_what_a_fingerprint_lacks_is_empty(self, fold: Path) -> None:
        (fold.parent / "dataset_fingerprint.json").write_text('{"spacings": [[1, 1, 1]]}')
        assert read_fold(fold).about.facts["fingerprint"]["cases"] == 0

    def test_what_nests_deeper_than_the_zoo_reads(self, fold: Path) -> None:
        (fold / "search_result.json").write_text('{"status": ' + "[" * 63 + "]" * 63 + "}")
        with pytest.raises(ValueError, match=r"entry: facts: expected what JSON can hold, got .*it nests more than 64"):
            read_fold(fold)


class TestStrangers:
    def test_a_checkpoint_from_the_middle_of_a_search_is_refused(self, fold: Path) -> None:
        path = fold / "checkpoint_final.pth"
        weights = torch.load(path, weights_only=False)["network_weights"]
        change(path, network_weights={**weights, "cells.alphas": torch.zeros(3)})
        with pytest.raises(ValueError, match=r"1 unknown \['cells\.alphas'\]; it was written in the middle"):
            read_fold(fold)

    @pytest.mark.parametrize("name", ["strange_networks.Net", "nnunet_iac.atomic.replacing", "subprocess.Popen"])
    def test_plans_cannot_name_what_is_imported_or_run(
        self, stock_plans: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / "strange_networks.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()\nclass Net: ...")
        monkeypatch.syspath_prepend(tmp_path)
        architecture = stock_plans["configurations"]["2d"]["architecture"]
        architecture["arch_kwargs"]["backbone"] = architecture["network_class_name"]
        architecture["network_class_name"] = name
        with pytest.raises(ValueError, match="expected a stock host or a network of nnunet_iac"):
            empty_network(architecture, 1, 2)
        assert not (tmp_path / "run").exists()

    def test_weights_that_are_not_those_of_the_entry_are_refused(self, fold: Path, tmp_path: Path) -> None:
        zoo, entry = stored(fold, tmp_path)
        weights = zoo.read_weights(entry)
        del weights["encoder.stages.0.0.convs.0.conv.bias"]
        with pytest.raises(ValueError, match="expected weights of the network that its plans describe"):
            entry_network(entry, weights)
        with pytest.raises(ValueError, match="without its head"):
            entry_network(entry, {"a": torch.ones(1)})

    @pytest.mark.parametrize(
        ("kind", "name"), [("network", "cells.alpha"), ("network", "more"), ("search supernet", "more")]
    )
    def test_tensors_that_nobody_expects_are_refused(self, fold: Path, tmp_path: Path, kind: str, name: str) -> None:
        found = read_fold(fold)
        tensors = {**found.tensors, name: torch.ones(1), "more.of.it": torch.ones(1)}
        entry = Zoo.create(tmp_path / "zoo").add(replace(found.about, kind=kind), tensors).entry
        with pytest.raises(ValueError, match=rf"got 2 tensor\(s\) more, such as '{name}', in a {kind}"):
            entry_network(entry, tensors)

    def test_of_a_search_only_its_cells_are_left_out(self, fold: Path, tmp_path: Path) -> None:
        found = read_fold(fold)
        tensors = {**found.tensors, "cells.beta": torch.ones(1), "cells.alpha": torch.ones(1)}
        entry = Zoo.create(tmp_path / "zoo").add(replace(found.about, kind="search supernet"), tensors).entry
        network = entry_network(entry, tensors)
        assert left_out(network, tensors) == ["cells.alpha", "cells.beta"]
        assert left_out(network, dict(found.tensors)) == []

    def test_a_target_that_it_does_not_fit_is_named(self, fold: Path, tmp_path: Path) -> None:
        zoo, entry = stored(fold, tmp_path)
        network = entry_network(entry, zoo.read_weights(entry))
        check_starts(network, entry, read_weight_target(DATASET, "2d"))
        for configuration, message in (
            ("2d", r"in 2D for 4 channel\(s\), got .* in 2D for 1"),
            ("3d_fullres", "in 3D"),
        ):
            with pytest.raises(ValueError, match=message):
                check_starts(network, entry, read_weight_target("991", configuration))
        wider = read_weight_target(DATASET, "2d")
        wider.architecture["arch_kwargs"]["features_per_stage"] = [8, 16, 64]
        with pytest.raises(ValueError, match=r"differs in \d+ tensor\(s\), the first is encoder\.stages\.2"):
            check_starts(network, entry, wider)
