"""`nnunet-iac zoo build --multi` from end to end: one entry without heads, kills, what it refuses before it trains."""

from __future__ import annotations

import json
from typing import Any

import multi_commands as commands
import pytest
import torch
from multi_commands import FIRST, SECOND, SETTINGS
from nnunet_folders import Folders
from prepared_datasets import CASES

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.training import cell_search
from nnunet_iac.nnunet.transfer import multi_data as multi
from nnunet_iac.nnunet.transfer.multi_data import multi_data
from nnunet_iac.search import search
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def prepared(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    commands.prepare_two(folders, stock_plans)
    return folders


def kill_after(patch: pytest.MonkeyPatch, saves: int) -> None:
    """Let the process die after so many states were written."""
    save, calls = search.save_state, [0]

    def dying(*arguments: Any) -> None:
        save(*arguments)
        calls[0] += 1
        if calls[0] == saves:
            raise Killed

    patch.setattr(search, "save_state", dying)


# --- what is written ------------------------------------------------------------------------------------------------


def test_killed_or_not_it_becomes_one_entry_without_heads_that_every_action_of_the_zoo_takes(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    smooth = ["search.perturbation=random", "search.validation_iterations=1", *SETTINGS, "--licence", "CC0-1.0"]
    assert commands.build(prepared, "--set", *smooth) == 0
    assert "search on several data sets does not measure its Dice" in capsys.readouterr().out
    zoo, entry = commands.found(prepared)
    tensors, facts = zoo.read_weights(entry), entry.facts

    assert not [name for name in tensors if "seg_layers" in name], "heads stay behind"
    assert {name.partition(".")[0] for name in tensors} == {"cells", "encoder", "decoder"}
    state = torch.load(commands.work(prepared) / "search_state.pt", weights_only=True)["network"]
    assert len(state["decoder.seg_layers.1.weight"]) == 3 + 2, "classes of one and regions of the other"
    assert all(torch.equal(state[name], value) for name, value in tensors.items() if name in state)
    assert set(tensors) - set(state) == {"cells.architecture.variation"}
    assert facts["datasets"] == [FIRST, SECOND] and facts["heads"] == {FIRST: 3, SECOND: 2}
    assert facts["smoothing"] == {"name": "SmoothDARTS", "perturbation": "random", "perturbation_size": 0.3}
    assert facts["search"]["mode"] == "joint" and facts["operations"] == list(OPERATIONS)
    assert facts["search"]["epochs"] == 3 and facts["cases"] == {"weight": 4, "architecture": 4}
    assert (entry.dataset, entry.labels, entry.channels) == (f"{FIRST} + {SECOND}", (), ("MRI",))
    words = json.dumps([dict(entry.facts), dict(entry.provenance), dict(entry.plans)])
    assert str(prepared.base) not in words and "case0" not in words, "no path of this machine and no case"

    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 3)
        commands.build(prepared, "--set", *smooth, "-o", f"{prepared.base}/killed", zoo="other")
    assert Zoo(prepared.base / "other").entries() == [], "nothing half-written"
    again = ["--set", *smooth, "-o", f"{prepared.base}/killed"]
    assert commands.build(prepared, *again, zoo="other") == 2, "it must be said that it is to go on"
    torch.manual_seed(5)
    assert commands.build(prepared, *again, "--c", zoo="other") == 0
    assert "resumed after epoch 2 of 3" in capsys.readouterr().out
    assert commands.found(prepared, "other")[1].id == entry.id, "the id is a digest of the weights: equal bits"
    assert commands.build(prepared, *again, "--c", zoo="other") == 0
    assert "is there already: kept as it is" in capsys.readouterr().out

    model, imported = commands.work(prepared).parent, ["--zoo", f"{prepared.base}/imported", "--licence", "CC0-1.0"]
    assert main(["zoo", "add", "--searches", str(model), *imported]) == 0
    taken, same = commands.found(prepared, "imported")
    assert (same.id, same.facts, same.name) == (entry.id, entry.facts, entry.name) and taken.read_weights(same)
    (model / "fold_0" / "search_state.pt").rename(prepared.base / "search_state.pt")
    splits = prepared.preprocessed.parent / SECOND / "splits_final.json"
    known = splits.read_text()
    splits.write_text(json.dumps([{"train": CASES[1:5], "val": CASES[:1]}]))
    assert main(["zoo", "add", "--searches", str(prepared.base), *imported]) == 2
    error = capsys.readouterr().err
    assert f"is of nnunet-iac zoo build --multi, on {FIRST}, {SECOND} together" in error and "--c, where they" in error
    splits.write_text(known)

    where = ["--zoo", f"{prepared.base}/zoo"]
    for dataset in ("991", "992", SECOND):
        assert main(["zoo", "list", *where, "-d", dataset]) == 0
        assert f"{FIRST} + {SECOND}/multi__nnUNetPlans__2d/fold_0/search" in capsys.readouterr().out
    for dataset in ("99", "990", "Second"):
        assert main(["zoo", "list", *where, "-d", dataset]) == 0
        assert "no entry fits" in capsys.readouterr().out
    assert main(["zoo", "show", *where, entry.id[:6]]) == 0
    assert json.dumps([FIRST, SECOND]) in capsys.readouterr().out
    assert main(["zoo", "export", *where, "-o", f"{prepared.base}/out.zip"]) == 0
    assert main(["zoo", "import", "--zoo", f"{prepared.base}/third", f"{prepared.base}/out.zip"]) == 0
    taken, same = commands.found(prepared, "third")
    assert same == entry and all(torch.equal(taken.read_weights(same)[name], tensors[name]) for name in tensors)
    for name in ("zoo", "other", "third"):
        assert main(["zoo", "verify", "--zoo", f"{prepared.base}/{name}"]) == 0
        assert verify(Zoo(prepared.base / name)).findings == ()
    assert main(["zoo", "extract", *where, entry.id, "-o", f"{prepared.base}/start.pth"]) == 2
    assert "got a search supernet without its head" in capsys.readouterr().err


def test_going_on_with_other_data_or_settings_is_refused_and_overwrite_starts_anew(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 1)
        commands.build(prepared)
    where = ["-o", str(commands.work(prepared)), "--c"]
    for words, message in (
        (["-d", "992", "991"], "batches"),
        (["--batch-size", "3"], "batches"),
        (["--seed", "1"], "seed: was 0, is 1"),
        (["--set", "search.perturbation=random", *SETTINGS], "perturbation: was 'none', is 'random'"),
    ):
        assert commands.build(prepared, *where, *words) == 2
        error = capsys.readouterr().err
        assert "expected the search that is in" in error and message in error
    with alone_in(commands.work(prepared)):
        assert commands.build(prepared, "--c") == 2
    assert "no other process works in" in capsys.readouterr().err
    assert commands.build(prepared, "--overwrite", "--seed", "1") == 0
    assert commands.found(prepared)[1].facts["search"]["seed"] == 1


# --- what it learns from --------------------------------------------------------------------------------------------


def test_both_streams_are_balanced_and_of_separate_patients(prepared: Folders) -> None:
    data = multi_data(["991", "992"], "2d", fraction=0.5)
    streams = data.search_data(0, torch.device("cpu"))
    assert not set(streams.weights) & set(streams.architecture)
    assert sorted(streams.weights + streams.architecture) == sorted(
        f"{dataset}/{case}" for dataset in (FIRST, SECOND) for case in CASES[:4]
    ), "training cases of the fold, no validation case"
    for cases, stream in ((streams.weights, 2), (streams.architecture, 3)):
        batches = streams.open_stream(cases, stream, 0, True)
        drawn = [next(batches) for _ in range(6)]
        assert [batch["target"].number for batch in drawn] == [0, 1, 0, 1, 0, 1]
        for batch in drawn:
            dataset = data.datasets[batch["target"].number]
            assert {f"{dataset}/{key}" for key in batch["keys"]} <= set(cases)
            channels = batch["target"].target[0].shape[1]
            assert channels == (1 if dataset == FIRST else 2), "label maps of classes, one mask for each region"
        later = next(streams.open_stream(cases, stream, 5, True))
        assert torch.equal(torch.as_tensor(later["data"]), torch.as_tensor(drawn[5]["data"]))


def test_every_data_set_and_side_draws_from_a_stream_of_its_own(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    monkeypatch.setattr(multi, "open_stream", lambda *_, stream, **__: opened.append(stream) or iter(()))
    streams = multi_data(["991", "992"], "2d", fraction=0.5).search_data(0, torch.device("cpu"))

    streams.open_stream(streams.weights, 2, 0, True)
    streams.open_stream(streams.architecture, 3, 0, True)

    assert len(opened) == len(set(opened)) == 4


def test_the_network_of_the_first_serves_a_data_set_of_another_plan(
    folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    commands.prepare_two(folders, stock_plans)
    path = folders.preprocessed.parent / SECOND / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plan = plans["configurations"]["2d"]
    plan.update(patch_size=[16, 24], batch_size=5)
    arguments = plan["architecture"]["arch_kwargs"]
    arguments.update(n_stages=4, n_conv_per_stage=[1] * 4, n_conv_per_stage_decoder=[1] * 3)
    arguments.update(features_per_stage=[4, 8, 8, 8], kernel_sizes=[[3, 3]] * 4, strides=[[1, 1], *[[2, 2]] * 3])
    path.write_text(json.dumps(plans))

    data = multi_data(["991", "992"], "2d", batch_size=3)
    streams = data.search_data(0, torch.device("cpu"))
    turns = streams.open_stream(streams.weights, 2, 0, True)

    for batch in (next(turns), next(turns)):
        assert batch["data"].shape == (3, 1, 16, 16)
        assert [one.shape[-1] for one in batch["target"].target] == [16, 8]


def test_names_of_channels_that_differ_are_left_open(folders: Folders, stock_plans: dict[str, Any]) -> None:
    commands.prepare(folders, stock_plans, FIRST, channels=("CT", "PET"))
    commands.prepare(folders, stock_plans, SECOND, channels=("MRI", "PET"))
    assert multi_data(["991", "992"], "2d").channels == ("", "PET")


# --- what is refused before anything is trained ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "991"], "-d: expected two or more different data sets with --multi"),
        (["-d", "991", "992", "991"], "-d: expected two or more different data sets with --multi"),
        (["-d", "991", "77"], "-d: Could not find a dataset with the ID 77"),
        (["-d", "991", "993"], f"expected 1 image channel(s) in 2D as {FIRST} has, got 2 in 2D of Dataset993_Two"),
        (["-d", "991", "994", "993"], "got 1 in 3D of Dataset994_Deep; expected 1 image channel(s)"),
        (["-d", "991", "995"], "Dataset995_Lonely: cases: expected at least two patients"),
        (["-c", "3d"], "configuration: expected one of"),
        (["-f", "1"], "-f: expected a fold from 0 to 0, got 1"),
        (["--patch-size", "10", "16"], "patch size: expected 2 numbers, multiples of [4, 4]"),
        (["--batch-size", "0"], "--batch-size, --share: expected at least 1"),
        (["--epochs", "0"], "search.epochs: expected an integer of at least 2, got 0"),
        (["--iterations", "0"], "search.iterations: expected an integer of at least 1, got 0"),
        (["--seed", "-1"], "search.seed: expected an integer of at least 0, got -1"),
        (["--set", "search.epochs=9", "search.seed=1"], "give search.epochs with --epochs, search.seed with --seed"),
        (["--set", "search.host=frozen"], "--set: expected search.host=joint"),
        (["--set", "search.perturbation=wild"], 'search.perturbation: expected one of "none", "random", "adversarial"'),
        (["--set", "nodes=4"], "--set: expected section.key=value"),
        (["--candidates", "5", "--share", "0.5"], "--multi: expected options of a search, got --share, --candidates"),
        (["--host", "host.pth"], "--multi: expected options of a search, got --host"),
        (["--licence", ""], "licence: expected text or None, got ''"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    prepared: Folders,
    stock_plans: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    words: list[str],
    message: str,
) -> None:
    commands.prepare(prepared, stock_plans, "Dataset993_Two", channels=("CT", "PET"))
    commands.prepare(prepared, stock_plans, "Dataset995_Lonely")
    lonely = prepared.preprocessed.parent / "Dataset995_Lonely"
    (lonely / "patient_groups.json").write_text(json.dumps({"one": CASES}))
    deep = commands.prepare(prepared, stock_plans, "Dataset994_Deep", configuration="3d_fullres")
    plans = json.loads((deep / "nnUNetPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, 1.0]
    plans["configurations"]["2d"] = plans["configurations"]["3d_fullres"]
    (deep / "nnUNetPlans.json").write_text(json.dumps(plans))
    monkeypatch.setattr(cell_search, "run_search", lambda *_, **__: pytest.fail("searched before it refused"))
    before = sorted(prepared.base.rglob("*"))

    assert commands.build(prepared, *words) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac zoo: ") and message in error and "Traceback" not in error
    assert sorted(prepared.base.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-d", "991", "992"], "-d: expected one data set, got 991, 992; search on them together with --multi"),
        (["-d", "991", "--epochs", "5"], "--epochs: expected only with --multi"),
        (["-d", "991", "--set", "search.prune=false"], "--set: expected only with --multi"),
    ],
)
def test_without_multi_it_is_one_data_set_and_a_supernet(
    prepared: Folders, capsys: Any, words: list[str], message: str
) -> None:
    assert main(["zoo", "build", "-c", "2d", "--zoo", f"{prepared.base}/zoo", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_zoo_that_cannot_be_written_to_is_refused_before_the_search(
    prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(cell_search, "run_search", lambda *_, **__: pytest.fail("searched before it refused"))
    assert commands.build(prepared, zoo="raw") == 2
    assert "expected a zoo or an empty folder" in capsys.readouterr().err
    assert not commands.work(prepared).exists()
