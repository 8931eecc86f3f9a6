"""A search as an entry of the zoo: finished or running, frozen or joint, smoothed or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from nnunet_folders import DATASET, Folders
from tiny_dataset import Killed, configure, final_weights, kill_at, train

from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.model_folder import CHOICE, RECORD, RETRIEVAL
from nnunet_iac.nnunet.transfer.serving_source import lineage_of, problem_of
from nnunet_iac.nnunet.zoo_entries.search_import import KIND, has_search, read_search
from nnunet_iac.search import search
from nnunet_iac.zoo.store import Zoo

MODEL = "nnUNetTrainerIAC__tiny__2d"


def killed_search(folders: Folders, patch: pytest.MonkeyPatch, *settings: str) -> Path:
    """Begin a training and let it die two epochs into its search."""
    configure("begun", "host.epochs=1", *settings)
    with patch.context() as context:
        kill_at(context, search, "save_state", 3, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC", plans="begun")
    return folders.results / "nnUNetTrainerIAC__begun__2d" / "fold_0"


def test_a_finished_search_becomes_an_entry(finished: Folders, tmp_path: Path) -> None:
    fold = finished.results / MODEL / "fold_0"
    about, tensors = read_search(fold, licence="CC0-1.0")

    assert (about.kind, about.dataset, about.configuration) == (KIND, DATASET, "2d")
    assert about.labels == ("background", "shell", "box") and about.trainer == "nnUNetTrainerIAC"
    facts, result = about.facts, json.loads((fold / "search_result.json").read_text())
    assert facts["operations"] == list(OPERATIONS) and facts["smoothing"] is None and facts["levels"] == 2
    assert facts["cell"] == {"nodes": 4, "shared": True, "second_input": "decoder", "width": 0.5}
    assert {key: facts["search"][key] for key in ("status", "epochs", "decided_edges", "edges", "seed")} == {
        key: result[key] for key in ("status", "epochs", "decided_edges", "edges", "seed")
    }
    assert Genotype.from_dict(facts["genotype"]) == Genotype.from_dict(result["genotype"])
    state = torch.load(fold / "search_state.pt", weights_only=True)["network"]
    assert all(torch.equal(tensors[f"cells.{name}"], value) for name, value in state.items())
    assert facts["mask"] == tensors["cells.architecture.mask"].int().tolist()
    host, trained = {n: v for n, v in tensors.items() if not n.startswith("cells.")}, final_weights(fold)
    assert host and all(torch.equal(trained[name], value) for name, value in host.items())
    assert facts["host"]["is"] == "trained on after the search", "the training moved it, and the entry says so"
    words = json.dumps([about.facts, about.provenance])
    assert str(finished.base) not in words and "patient0" not in words, "no path of this machine and no case"
    zoo = Zoo.create(tmp_path / "zoo")
    entry = zoo.add(about, tensors).entry
    assert zoo.read_weights(entry).keys() == tensors.keys() and problem_of(entry, 4) == ""


def test_an_entry_names_the_data_sets_of_what_its_search_and_its_host_started_from(continued: Folders) -> None:
    fold = continued.results / MODEL / "fold_0"
    assert read_search(fold)[0].facts["ancestors"] == []
    for path, names in (
        (fold / CHOICE, ["Dataset003_C", "Dataset001_A"]),
        (fold.parent / RETRIEVAL / RECORD, ["Dataset002_B", "Dataset001_A"]),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"lineage": names}))

    about, tensors = read_search(fold)

    assert about.facts["ancestors"] == ["Dataset001_A", "Dataset002_B", "Dataset003_C"]
    entry = Zoo.create(continued.base / "zoo").add(about, tensors).entry
    assert lineage_of(entry) == (DATASET, "Dataset001_A", "Dataset002_B", "Dataset003_C")


def test_a_running_smoothed_search_is_read_with_the_host_it_sees(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = killed_search(tiny, monkeypatch, "search.perturbation=random", "search.keep_host=true")

    about, tensors = read_search(fold)

    assert about.facts["search"]["status"] == "running" and about.facts["search"]["epochs"] == 2
    assert about.facts["smoothing"] == {"name": "SmoothDARTS", "perturbation": "random", "perturbation_size": 0.3}
    assert about.facts["host"] == {"mode": "frozen", "file": "search_host.safetensors", "is": "as the search saw it"}
    (fold / "search_host.safetensors").unlink()
    again, same = read_search(fold)
    assert (
        again.facts["host"]["file"] == "checkpoint_latest.pth" and again.facts["host"]["is"] == "as the search saw it"
    )
    assert tensors.keys() == same.keys() and all(torch.equal(tensors[name], same[name]) for name in tensors)
    (fold / "checkpoint_latest.pth").unlink()
    (fold / "checkpoint_best.pth").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="expected the host of the search in"):
        read_search(fold)


def test_a_joint_search_brings_the_host_that_it_trained(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = killed_search(tiny, monkeypatch, "search.host=joint", "cell.shared=false", "cell.nodes=1")

    about, tensors = read_search(fold)

    state = torch.load(fold / "search_state.pt", weights_only=True)["network"]
    assert set(tensors) - set(state) == {"cells.architecture.variation"}
    assert all(torch.equal(state[name], value) for name, value in tensors.items() if name in state)
    assert about.facts["host"]["is"] == "trained with the cells in the search"
    assert len(about.facts["mask"]) == 2 and problem_of(Zoo.create(fold / "z").add(about, tensors).entry, 1) == ""


def test_the_genotype_is_the_one_that_was_trained_not_the_argmax(continued: Folders) -> None:
    """As with `search.select=draw` or `removal`: the state does not know it, the result does."""
    fold = continued.results / MODEL / "fold_0"
    path = fold / "search_result.json"
    record = json.loads(path.read_text())
    drawn = Genotype.random(seed=5).to_dict()
    record["genotype"] = drawn | {"kind": "searched", "origin": {"select": "draw", "status": "undecided"}}
    path.write_text(json.dumps(record))

    facts = read_search(fold)[0].facts
    assert facts["genotype"]["cells"] == drawn["cells"] and facts["genotype"]["origin"]["select"] == "draw"

    path.write_text(json.dumps({key: value for key, value in record.items() if key != "genotype"}))
    with pytest.raises(ValueError, match=r"search_result\.json: genotype\.schema: expected 1, got None"):
        read_search(fold)

    # A result of another length is not that of this state.
    path.write_text(json.dumps(record | {"epochs": record["epochs"] + 1}))
    assert read_search(fold)[0].facts["genotype"]["cells"] != drawn["cells"]


class TestBadInput:
    @pytest.fixture
    def fold(self, continued: Folders) -> Path:
        return continued.results / MODEL / "fold_0"

    def test_a_fold_without_a_search_is_named(self, fold: Path) -> None:
        assert has_search(fold)
        (fold / "search_state.pt").unlink()
        assert not has_search(fold)
        with pytest.raises(FileNotFoundError, match=r"expected search_state\.pt in .*the fold that searched"):
            read_search(fold)

    def test_a_damaged_state_is_named(self, fold: Path) -> None:
        path = fold / "search_state.pt"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"expected a whole file, got a damaged one at .*search_state\.pt"):
            read_search(fold)

    def test_a_state_of_another_version_is_named(self, fold: Path) -> None:
        path = fold / "search_state.pt"
        torch.save({**torch.load(path, weights_only=True), "schema": 1}, path)
        with pytest.raises(ValueError, match="expected schema 2, got 1"):
            read_search(fold)

    def test_plans_of_another_network_are_named(self, fold: Path) -> None:
        plans = json.loads((fold.parent / "plans.json").read_text())
        arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        arguments["features_per_stage"] = [16, 32, 64]
        (fold.parent / "plans.json").write_text(json.dumps(plans))
        with pytest.raises(
            ValueError, match=r"expected cells for the plans of its model in .*tensor\(s\) differ .*different runs"
        ):
            read_search(fold)

    def test_a_folder_that_nnunet_did_not_name_is_refused(self, fold: Path) -> None:
        fold.parent.rename(fold.parent.with_name("mine"))
        with pytest.raises(ValueError, match="expected a fold in a folder <trainer>__<plans>__<configuration>"):
            read_search(fold.parent.with_name("mine") / "fold_0")


def test_searches_are_added_on_the_command_line_with_features_of_their_data_set(
    continued: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo, model = str(tmp_path / "zoo"), str(continued.results / MODEL)

    assert main(["zoo", "add", model, "--searches", "--zoo", zoo, "--licence", "CC0-1.0"]) == 0
    found = {(entry.kind, entry.licence) for entry in Zoo(zoo).entries()}
    assert found == {(KIND, "CC0-1.0"), ("dataset features", "CC0-1.0")} and "WARNING" not in capsys.readouterr().err

    shutil.rmtree(continued.preprocessed / "nnUNetPlans_2d")
    assert main(["zoo", "add", model, "--searches", "--zoo", str(tmp_path / "other")]) == 0
    assert "transfer.source=nearest skips its searches" in capsys.readouterr().err
    assert main(["zoo", "add", str(tmp_path), "--searches", "--zoo", zoo]) == 2
    assert "in which cells were searched, found no" in capsys.readouterr().err
