"""`nnunet-iac zoo build` from end to end: three entries, kills at every step, what it refuses before it trains."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supernet_commands as commands
import torch
from nnunet_folders import DATASET, Folders
from prepared_datasets import CASES, LABELS, REGIONS, tiny_plans, write_json

from nnunet_iac.cli.main import main
from nnunet_iac.metaspace.zoo_tasks import read_tasks
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.model_folder import RECORD
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.files.splits import planned_folds
from nnunet_iac.nnunet.files.weights import (
    WeightTarget,
    build_network,
    read_weight_target,
    weight_target,
    write_weights,
)
from nnunet_iac.nnunet.retrieval.retrieved_trainer import retrieval_folder
from nnunet_iac.nnunet.supernets import supernet_build
from nnunet_iac.nnunet.supernets.supernet_build import BEFORE, CANDIDATES, FEATURES, STATE
from nnunet_iac.nnunet.supernets.supernet_data import supernet_data
from nnunet_iac.nnunet.supernets.supernet_measure import PatchMeasure
from nnunet_iac.nnunet.supernets.supernet_run import SupernetRun
from nnunet_iac.zoo import entries
from nnunet_iac.zoo.candidates import sample_candidates
from nnunet_iac.zoo.candidates_entries import find_candidates, read_supernet
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.verification import verify


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the build that several tests look at."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def prepared(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    commands.prepare(folders, stock_plans)
    return folders


@pytest.fixture
def built(prepared: Folders, stock_plans: dict[str, Any], shelf: Path) -> Zoo:
    """A copy of a finished build."""
    return Zoo(commands.take_built(prepared, stock_plans, shelf))


def by_kind(zoo: Zoo) -> dict[str, Any]:
    found = {entry.kind: entry for entry in zoo.entries()}
    assert len(found) == len(zoo.entries()) == 3
    return found


# --- what is written ------------------------------------------------------------------------------------------------


def test_three_entries_that_belong_together(built: Zoo) -> None:
    found = by_kind(built)
    candidates, supernet = find_candidates(built, found["supernet"].id), read_supernet(built, found["supernet"])
    features = built.read_weights(found["dataset features"])

    assert verify(built).findings == () and set(found) == {"supernet", "subnetworks", "dataset features"}
    assert candidates.entry == found["subnetworks"] and candidates.supernet == found["supernet"].id
    assert candidates.configurations == sample_candidates(supernet.space, 4) and candidates.space == supernet.space
    assert candidates.parameters.tolist() == [supernet.parameter_count(c) for c in candidates.configurations]
    assert candidates.responses.shape == (4, 32) and np.isfinite(candidates.loss).all()
    assert features["features"].shape[1] == 512 and len(features["features"]) == len(features["labels"])
    entry = found["supernet"]
    assert entry.labels == tuple(LABELS) and entry.channels == ("MRI",) and entry.patch_size == (16, 16)
    assert [row["phase"] for row in entry.facts["history"]] == ["full", "depth", "width"]
    assert entry.scores[0].value == candidates.dice[0] and "2 training cases" not in entry.scores[0].measured_on
    assert "case0" not in json.dumps([e.facts for e in found.values()]), "names of cases stay at home"


def test_a_licence_is_added_to_entries_that_are_there_without_one(built: Zoo, prepared: Folders, capsys: Any) -> None:
    assert [entry.licence for entry in built.entries()] == [None] * 3
    for licence, what in (("CC0-1.0", "its licence is known now"), ("CC-BY-4.0", "kept as it is")):
        assert commands.build(prepared, "--c", "--licence", licence) == 0
        assert [entry.licence for entry in built.entries()] == ["CC0-1.0"] * 3
        assert capsys.readouterr().out.count(f" is there already: {what}") == 3


def test_recorded_numbers_are_those_of_the_extracted_networks(built: Zoo) -> None:
    candidates = find_candidates(built, by_kind(built)["subnetworks"].id)
    supernet, data = read_supernet(built, by_kind(built)["supernet"]), supernet_data("990", "2d")
    measure = PatchMeasure(data, 4, 0, torch.device("cpu"))
    for index, configuration in enumerate(candidates.configurations):
        found = measure(extract(supernet, configuration).network)
        assert (found.dice, found.loss) == (candidates.dice[index], candidates.loss[index])
    assert len(set(candidates.dice.tolist())) > 1


def test_a_candidate_is_extracted_as_a_stock_checkpoint_with_its_plans(built: Zoo, tmp_path: Path, capsys: Any) -> None:
    candidates = find_candidates(built, by_kind(built)["subnetworks"].id)
    where = ["--zoo", f"{built.place.folder}", "-o", f"{tmp_path}/start.pth"]
    for number, entry, words in (
        (2, candidates.entry.id, ["--candidate", "2", "--plans-file", f"{tmp_path}/small.json"]),
        (
            1,
            candidates.supernet,
            ["--configuration", json.dumps(candidates.configurations[1].to_dict()), "--overwrite"],
        ),
        (0, candidates.supernet, ["--overwrite"]),
    ):
        assert main(["zoo", "extract", entry, *where, *words]) == 0
        written = read_checkpoint(tmp_path / "start.pth")
        plans = written["init_args"]["plans"]
        network = build_network(weight_target(plans, "2d", written["init_args"]["dataset_json"]))
        network.load_state_dict(written["network_weights"])
        found = PatchMeasure(supernet_data("990", "2d"), 4, 0, torch.device("cpu"))(network)
        assert found.dice == candidates.dice[number] and found.loss == candidates.loss[number]
        assert sum(p.numel() for p in network.parameters()) == candidates.parameters[number]
    assert "-p small -pretrained_weights" in capsys.readouterr().out
    assert json.loads((tmp_path / "small.json").read_text())["plans_name"] == "small"


@pytest.mark.parametrize("failing", ["start.pth", "small.json"])
def test_checkpoint_and_plans_are_written_both_or_neither(
    built: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    place, name = (torch, "save") if failing == "start.pth" else (Path, "write_text")
    monkeypatch.setattr(place, name, full)
    (out := tmp_path / "out").mkdir()
    words = ["--candidate", "2", "--plans-file", f"{out}/small.json", "-o", f"{out}/start.pth"]
    assert main(["zoo", "extract", by_kind(built)["supernet"].id, "--zoo", f"{built.place.folder}", *words]) == 2
    assert list(out.iterdir()) == []


def test_batch_normalisation_is_recalibrated_where_the_data_are_and_else_there_is_a_warning(
    prepared: Folders, stock_plans: dict[str, Any], capsys: Any
) -> None:
    arguments = stock_plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    arguments.update(norm_op="torch.nn.modules.batchnorm.BatchNorm2d", norm_op_kwargs={"eps": 1e-5, "affine": True})
    commands.prepare(prepared, stock_plans)
    assert commands.build(prepared) == 0
    zoo, output = Zoo(prepared.base / "zoo"), prepared.base / "start.pth"
    entry = by_kind(zoo)["supernet"]
    words = ["zoo", "extract", entry.id, "--zoo", str(zoo.place.folder), "--candidate", "1", "-o", str(output)]
    configuration = find_candidates(zoo, entry.id).configurations[1]
    largest = extract(read_supernet(zoo, entry), configuration).state_dict
    means = [key for key in largest if key.endswith("running_mean")]

    assert main(words) == 0
    written, told = read_checkpoint(output)["network_weights"], capsys.readouterr()
    assert means and all(not torch.equal(written[key], largest[key]) for key in means)
    assert all(torch.equal(written[key], largest[key]) for key in largest if key.endswith(("weight", "bias")))
    assert "recalibrated on training cases of Dataset990_Tiny" in told.out and "WARNING" not in told.err

    shutil.rmtree(prepared.preprocessed)
    assert main([*words, "--overwrite"]) == 0
    assert "WARNING: its running statistics are the largest network's (" in capsys.readouterr().err
    assert all(torch.equal(read_checkpoint(output)["network_weights"][key], largest[key]) for key in means)


@pytest.mark.parametrize(("labels", "configuration"), [(REGIONS, "2d"), (REGIONS | {"ignore": 3}, "3d_fullres")])
def test_regions_ignored_voxels_and_3d_work(
    prepared: Folders, stock_plans: dict[str, Any], labels: dict[str, Any], configuration: str
) -> None:
    commands.prepare(prepared, stock_plans, labels, configuration)
    assert commands.build(prepared, configuration=configuration) == 0

    entry = by_kind(Zoo(prepared.base / "zoo"))["supernet"]
    assert entry.regions and entry.labels == ("whole", "box") and entry.dimensions == len(entry.patch_size)
    assert entry.facts["num_classes"] == 2 and verify(Zoo(prepared.base / "zoo")).is_fine


def test_validation_cases_of_the_fold_do_not_matter_and_training_cases_do(
    built: Zoo, prepared: Folders, stock_plans: dict[str, Any]
) -> None:
    for number, (cases, is_equal) in enumerate(((CASES[4:], True), (CASES[:4], False))):
        commands.prepare(prepared, stock_plans, values=dict.fromkeys(cases, 7.0))
        assert commands.build(prepared, "-o", f"{prepared.base}/{number}", zoo=f"zoo{number}") == 0
        assert (commands.ids(prepared.base / f"zoo{number}") == [e.id for e in built.entries()]) is is_equal


# --- kill and resume ------------------------------------------------------------------------------------------------


def kill_after(patch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> None:
    original, calls = getattr(place, name), [0]

    def dying(*args: Any, **named: Any) -> Any:
        result = original(*args, **named)
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return result

    patch.setattr(place, name, dying)


STEPS: dict[str, tuple[Any, str, int]] = {
    "in the second epoch": (SupernetRun, "_step", 2),
    "after a candidate": (supernet_build, "write_state", 2),
    "between features and their file": (supernet_build, "region_features", 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_continued_it_is_the_undisturbed_build(
    built: Zoo, prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any, step: str
) -> None:
    expected = [entry.id for entry in built.entries()]
    words = ["-o", f"{prepared.base}/killed"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, *STEPS[step])
        commands.build(prepared, *words, zoo="new")
    assert commands.ids(prepared.base / "new") == [] and verify(Zoo(prepared.base / "new")).is_fine
    assert commands.build(prepared, *words, zoo="new") == 2, "it must be said that it is to go on"

    assert commands.build(prepared, "--c", *words, zoo="new") == 0

    assert f"going on after epoch {1 if 'second' in step else 3}" in capsys.readouterr().out
    assert commands.ids(prepared.base / "new") == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("entry", [1, 2, 3])
def test_killed_while_entries_are_written_the_zoo_verifies_and_a_second_run_completes_it(
    built: Zoo, prepared: Folders, monkeypatch: pytest.MonkeyPatch, entry: int
) -> None:
    expected, zoo = [e.id for e in built.entries()], Zoo(prepared.base / "new")
    child = os.fork()
    if child == 0:
        calls = [0]

        def die(*_: Any, **__: Any) -> None:
            calls[0] += 1
            if calls[0] == entry:
                os.kill(os.getpid(), signal.SIGKILL)
            insert(*_, **__)

        insert = entries.insert
        entries.insert = die  # type: ignore[assignment]
        try:
            commands.build(prepared, "--c", zoo="new")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    assert verify(zoo).is_fine and main(["zoo", "verify", "--zoo", str(prepared.base / "new")]) == 0
    assert len(zoo.entries()) == entry - 1
    monkeypatch.setattr(SupernetRun, "_step", None)
    monkeypatch.setattr(supernet_build, "functional_response", None)
    monkeypatch.setattr(supernet_build, "region_features", None)
    for _ in range(2):
        assert commands.build(prepared, "--c", zoo="new") == 0, "nothing is trained or measured again"
        assert commands.ids(prepared.base / "new") == expected
    assert verify(zoo).findings == ()


def test_going_on_with_other_arguments_is_refused_and_overwrite_starts_anew(
    built: Zoo, prepared: Folders, capsys: Any
) -> None:
    for words, message in (
        (["--seed", "1"], "plan.seed is 0 there, 1 here"),
        (["--batch-size", "3"], "data.batch_size is 2 there, 3 here"),
        (["--share", "0.5"], "data.selection_cases.count is 1 there, 2 here"),
        (["--multiple", "4"], "multiple is 2 there, 4 here"),
        (["--candidates", "5"], "candidates is 4 there, 5 here. Give its arguments again, or remove"),
        (["--measured", "5"], "measured.patches is 4 there, 5 here"),
    ):
        assert commands.build(prepared, "--c", *words) == 2
        assert message in capsys.readouterr().err
    (commands.work(prepared) / CANDIDATES).unlink()
    assert commands.build(prepared, "--c", "--candidates", "5") == 0, "as the message says"
    assert len(commands.ids(prepared.base / "zoo")) == 4, "the supernet and the features are there already"

    assert commands.build(prepared, "--overwrite", "--seed", "1", zoo="other") == 0
    assert not set(commands.ids(prepared.base / "other")) & set(commands.ids(prepared.base / "zoo"))


# --- a trained host -------------------------------------------------------------------------------------------------


def write_host(path: Path, target: WeightTarget | None = None, **changes: Any) -> Path:
    target = target or read_weight_target(DATASET, "2d")
    write_weights(path, build_network(target, 8), target, {})
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["init_args"].update(changes.pop("init_args", {}))
    torch.save({**checkpoint, **changes}, path)
    return path


def test_it_starts_from_a_trained_host(prepared: Folders, capsys: Any) -> None:
    host = write_host(prepared.base / "host.pth", current_epoch=5, init_args={"fold": 0})
    words = ["--full-epochs", "0", "--depth-epochs", "0", "--host", str(host)]
    # With a step of almost nothing the largest network is the host.
    assert commands.build(prepared, *words, "--shrinking-learning-rate", "1e-12") == 0

    entry = by_kind(Zoo(prepared.base / "zoo"))["supernet"]
    network = build_network(read_weight_target(DATASET, "2d"), 8)
    # The host has seen all training cases, and the largest network is the host: so it is measured on others.
    data = supernet_data("990", "2d", share=None)
    split = planned_folds(prepared.preprocessed, sorted(CASES))[0]
    assert (set(data.training.cases), set(data.selection.cases)) == (set(split["train"]), set(split["val"]))
    measured = PatchMeasure(data, 4, 0, torch.device("cpu"))(network)
    assert entry.scores[0].value == pytest.approx(measured.dice, abs=1e-6)
    assert entry.facts["host"]["file"] == "host.pth"
    assert "validation cases of fold 0, largest network" in entry.scores[0].measured_on
    assert entry.facts["dice_before_shrinking"] == entry.scores[0].value  # nothing was shrunk
    assert "WARNING: the host was trained on" not in capsys.readouterr().out
    assert commands.build(prepared, "--c", *words, "--shrinking-learning-rate", "1e-12", "--share", "0.5") == 2
    assert "--share: expected none with --host, whose validation cases are measured on, got 0.5" in (
        capsys.readouterr().err
    )
    other = write_host(prepared.base / "host.pth", current_epoch=6, init_args={"fold": 0})
    assert commands.build(prepared, "--c", *words[:-1], str(other), "--shrinking-learning-rate", "1e-12") == 2
    assert "host is '" in capsys.readouterr().err


def test_the_entry_names_the_data_sets_that_its_host_has_seen(prepared: Folders) -> None:
    path = prepared.results / "nnUNetTrainerMedNNS__nnUNetPlans__2d" / "fold_0" / "checkpoint_final.pth"
    path.parent.mkdir(parents=True)
    write_host(path, trainer_name="nnUNetTrainerMedNNS", current_epoch=5, init_args={"fold": 0})
    record = retrieval_folder(prepared.results.parent, DATASET, "nnUNetPlans", "2d") / RECORD
    write_json(record, {"lineage": ["Dataset002_B", "Dataset001_A"]})

    assert commands.build(prepared, "--full-epochs", "0", "--depth-epochs", "0", "--host", str(path)) == 0

    zoo = Zoo(prepared.base / "zoo")
    assert by_kind(zoo)["supernet"].facts["ancestors"] == ["Dataset001_A", "Dataset002_B"]
    assert [task.lineage for task in read_tasks(zoo)] == [(DATASET, "Dataset001_A", "Dataset002_B")]


def test_a_build_whose_candidates_have_not_learned_says_so(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(supernet_build, "DEAD", 1.1)
    assert commands.build(prepared) == 0
    entry = by_kind(Zoo(prepared.base / "zoo"))["supernet"]
    printed = capsys.readouterr().out
    before = entry.facts["dice_before_shrinking"]
    assert f"largest network before shrinking: Dice {before:.4f} on 4 held-out patches" in printed
    assert before != entry.scores[0].value
    assert "WARNING: 4 of 4 candidates have a Dice below 1.1: they have not learned to segment" in printed


def test_what_was_measured_before_shrinking_is_of_this_build(
    built: Zoo, prepared: Folders, tmp_path: Path, capsys: Any
) -> None:
    before = commands.work(prepared) / BEFORE
    kept = before.read_bytes()
    assert commands.build(prepared, "--overwrite", "--seed", "1", zoo="other") == 0
    before.write_bytes(kept)
    assert commands.build(prepared, "--c", "--seed", "1", zoo="third") == 2
    assert "plan.seed is 0 there, 1 here" in (message := capsys.readouterr().err)
    assert f"remove {before}; the figure will be missing" in message
    before.unlink()
    assert commands.build(prepared, "--c", "--seed", "1", zoo="third") == 0
    entry = by_kind(Zoo(prepared.base / "third"))["supernet"]
    assert entry.facts["dice_before_shrinking"] is None


def test_a_host_that_does_not_fit_is_refused(prepared: Folders, stock_plans: dict[str, Any], capsys: Any) -> None:
    path = prepared.base / "host.pth"
    wider = tiny_plans(stock_plans)
    wider["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 8]
    content = json.loads((prepared.preprocessed / "dataset.json").read_text())
    cases = {
        "expected one that was trained on fold 0 of Dataset990_Tiny, got fold 1": lambda: write_host(
            path, current_epoch=5, init_args={"fold": 1}
        ),
        "expected one that was trained on Dataset990_Tiny, got 5 epochs on Dataset001_Other": lambda: write_host(
            path, current_epoch=5, init_args={"fold": 0, "plans": {"dataset_name": "Dataset001_Other"}}
        ),
        "expected one that was trained on Dataset990_Tiny, got 0 epochs": lambda: write_host(path),
        "host: expected the architecture of the plans, got another one": lambda: write_host(
            path, weight_target(wider, "2d", content), current_epoch=5, init_args={"fold": 0}
        ),
        "got a truncated or damaged one": lambda: path.write_bytes(b"host"),
        "is no file": path.unlink,
    }
    for message, make in cases.items():
        make()
        assert commands.build(prepared, "--host", str(path)) == 2
        assert message in capsys.readouterr().err
    assert not (prepared.base / "zoo").exists() and not commands.work(prepared).exists()


# --- what is refused before anything is trained ---------------------------------------------------------------------


def newer_schema(base: Path) -> str:
    Zoo.create(base / "bad")
    with sqlite3.connect(base / "bad" / "zoo.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    return f"{base}/bad"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (newer_schema, "expected schema 1 or older, got 99"),
        (lambda base: "memory://zoo", "expected a folder to write to, got memory://zoo"),
        (lambda base: f"{base}/raw", "expected a zoo or an empty folder"),
        (lambda base: f"{base}/preprocessed/{DATASET}/dataset.json", "File exists"),
    ],
)
def test_a_zoo_that_cannot_be_written_to_is_refused_before_training(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any, make: Any, message: str
) -> None:
    monkeypatch.setattr(SupernetRun, "run", None)
    assert main(["zoo", "build", "-d", "990", "-c", "2d", *commands.SHORT, "--zoo", make(prepared.base)]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not commands.work(prepared).exists()


def test_a_zoo_without_permission_is_refused_before_training(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Zoo.create(prepared.base / "zoo")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "weights" and access(path, mode))
    assert commands.build(prepared) == 2
    assert "['weights'] that cannot be" in capsys.readouterr().err and not commands.work(prepared).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "77"], "-d: Could not find a dataset with the ID 77"),
        (["-c", "3d"], "configuration: expected one of"),
        (["-p", "none"], "plans in that folder: ['nnUNetPlans']"),
        (["-f", "1"], "-f: expected a fold from 0 to 0, got 1"),
        (["--patch-size", "10", "16"], "patch size: expected 2 numbers, multiples of [4, 4]"),
        (["--full-epochs", "0"], "--full-epochs: expected at least 1 where no trained host is given"),
        (["--width-epochs", "-1"], "width_epochs: expected an integer of at least 0, got -1"),
        (["--iterations", "0"], "--iterations: expected at least 1, got 0"),
        (["--candidates", "1"], "candidates: expected at least 2"),
        (["--candidates", "1000000"], "the sub-networks that this plan has, got 1000000"),
        (["--measured", "0"], "--measured: expected at least one patch, got 0"),
        (["--features", "0"], "--features: expected at least one patch, got 0"),
        (["--seed", "-1"], "--seed: expected a number from 0, got -1"),
        (["--multiple", "0"], "multiple: expected an integer of at least 1, got 0"),
        (["--share", "0"], "--batch-size, --share: expected"),
        (["--licence", ""], "licence: expected text or None, got ''"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    prepared: Folders, capsys: Any, words: list[str], message: str
) -> None:
    before = sorted(prepared.base.rglob("*"))
    assert commands.build(prepared, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac zoo: ") and message in error and "Traceback" not in error
    assert sorted(prepared.base.rglob("*")) == before


def test_damaged_files_of_a_build_are_refused_with_the_remedy(built: Zoo, prepared: Folders, capsys: Any) -> None:
    for name, remedy in ((FEATURES, "remove"), (CANDIDATES, "remove"), (STATE, "start anew with --overwrite")):
        path = commands.work(prepared) / name
        path.write_bytes(b"no state")
        assert commands.build(prepared, "--c") == 2
        error = capsys.readouterr().err
        assert f"{name}: expected the state of a run, got a damaged file" in error and remedy in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{candidates} --candidate 4", "--candidate: expected a number from 0 to 3, got 4"),
        ("{features} --candidate 0", "expected one of the kind 'subnetworks', got a 'dataset features'"),
        ("{features} --configuration {bad}", "expected one of the kind 'supernet', got a 'dataset features'"),
        ("{supernet} --configuration {bad}", "configuration: depths: expected at most (2, 2, 1) as in the plan"),
        ("{supernet} --configuration 0.5,", "--configuration: expected JSON such as"),
        ("{supernet} --plans-file {base}/new.json", "--plans-file: expected a sub-network of a supernet"),
        ("{supernet} --candidate 0 --plans-file {base}/new", "--plans-file: expected a file name that ends in .json"),
        ("{supernet} --candidate 0 --overwrite --plans-file {base}/folder.json", "--plans-file: expected a file to"),
        ("{supernet} --candidate 1 -d 990", "expected the architecture of nnUNetPlans 2d"),
        ("{candidates}", "expected weights of a network of nnU-Net, got a subnetworks without its head"),
    ],
)
def test_a_sub_network_that_is_not_there_is_one_message(
    built: Zoo, prepared: Folders, capsys: Any, words: str, message: str
) -> None:
    found = by_kind(built)
    bad = json.dumps({"schema": 1, "depths": [9, 9, 9], "decoder_depths": [1, 1], "widths": [1, 1, 1]}).replace(" ", "")
    known = {"candidates": found["subnetworks"].id, "features": found["dataset features"].id, "bad": bad}
    given = words.format(**known, supernet=found["supernet"].id, base=prepared.base).split()
    output = prepared.base / "start.pth"
    (prepared.base / "folder.json").mkdir()
    assert main(["zoo", "extract", *given, "-o", str(output), "--zoo", f"{built.place.folder}"]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not output.exists()


def test_two_processes_do_not_build_in_one_folder(prepared: Folders, capsys: Any) -> None:
    with alone_in(commands.work(prepared)):
        assert commands.build(prepared) == 2
    assert "no other process works in" in capsys.readouterr().err
    shutil.rmtree(commands.work(prepared))
