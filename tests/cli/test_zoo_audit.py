"""`nnunet-iac zoo audit`: networks trained alone, what they say about the supernet, kill and go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import supernet_commands as commands
import torch
from nnunet_folders import Folders
from prepared_datasets import CASES, write_json

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network
from nnunet_iac.nnunet.supernets import supernet_audit
from nnunet_iac.nnunet.supernets.supernet_audit import RESULT, AuditPlan, SupernetAudit
from nnunet_iac.nnunet.supernets.supernet_data import supernet_data
from nnunet_iac.nnunet.supernets.supernet_entries import extract_subnetwork, subnetwork_target
from nnunet_iac.nnunet.supernets.supernet_measure import PatchMeasure
from nnunet_iac.nnunet.supernets.supernet_run import SupernetRun
from nnunet_iac.zoo.candidates_entries import Candidates, find_candidates
from nnunet_iac.zoo.store import Zoo

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the build that the tests look at."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def built(folders: Folders, stock_plans: dict[str, Any], shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    zoo = Zoo(commands.take_built(folders, stock_plans, shelf))
    return find_candidates(zoo, next(e.id for e in zoo.entries() if e.kind == "supernet"))


def audit(folders: Folders, candidates: Candidates, *words: str) -> int:
    budget = "--networks 3 --epochs 2 --iterations 1 --device cpu".split()
    return main(["zoo", "audit", candidates.entry.id, "--zoo", f"{folders.base}/zoo", *budget, *words])


def folder(folders: Folders, candidates: Candidates) -> Path:
    return folders.results / "supernet_audit__nnUNetPlans__2d" / candidates.entry.id


def test_the_record_says_what_was_trained_and_the_words_that_it_is_too_little(
    built: Candidates, folders: Folders, capsys: Any
) -> None:
    assert audit(folders, built) == 0

    record = json.loads((folder(folders, built) / RESULT).read_text())
    rows = {row["candidate"]: row for row in record["networks"]}
    assert len(rows) == 3 and all(row["estimated"] == built.dice[k] for k, row in rows.items())
    assert record["supernet"] == built.supernet and record["plan"]["epochs"] == 2
    out = capsys.readouterr().out
    assert "NO CONCLUSION: 3 networks are too few" in out and "regret of picking by the estimate" in out
    assert not list(folder(folders, built).glob("network_*")), "states of finished networks are not kept"


def test_networks_are_fresh_stock_ones(built: Candidates, folders: Folders) -> None:
    data, zoo = supernet_data("990", "2d"), Zoo(folders.base / "zoo")
    measure = PatchMeasure(data, 4, 0, CPU)
    run = SupernetAudit(built, data, AuditPlan(3, 1, 1, seed=5), measure, folders.base)
    for index in range(len(built.configurations)):
        entry, subnetwork = extract_subnetwork(zoo, built.supernet, candidate=index)
        theirs = build_network(subnetwork_target(entry, subnetwork), 5).state_dict()
        ours = run.network(index).state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_killed_in_a_network_it_goes_on_and_finished_ones_are_not_repeated(
    built: Candidates, folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert audit(folders, built, "--json", "-o", f"{folders.base}/whole") == 0
    expected = json.loads(capsys.readouterr().out)
    steps: list[int] = []
    step = SupernetRun._step

    def dying(self: Any, *args: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:  # the second epoch of the second network
            raise Killed
        return step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SupernetRun, "_step", dying)
        audit(folders, built)
    assert audit(folders, built) == 2 and "go on with --c" in capsys.readouterr().err
    monkeypatch.setattr(SupernetRun, "_step", dying)

    assert audit(folders, built, "--c", "--json") == 0

    assert json.loads(capsys.readouterr().out) == expected
    assert len(steps) == 4 + 3, "the rest of the second network, and the third"


def test_more_networks_are_added_to_those_that_are_finished(
    built: Candidates, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit(folders, built) == 0
    trained: list[int] = []
    alone = SupernetAudit._train_alone

    def counting(self: SupernetAudit, index: int, log: Any) -> Any:
        trained.append(index)
        return alone(self, index, log)

    monkeypatch.setattr(SupernetAudit, "_train_alone", counting)
    assert audit(folders, built, "--c", "--networks", "4") == 0
    assert len(trained) == 1


def test_a_perfect_supernet_is_found_faithful(
    built: Candidates, folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def told(self: SupernetAudit, index: int, log: Any) -> Any:
        return supernet_audit.Estimate(float(built.dice[index]) + 0.1, 1.0)

    monkeypatch.setattr(SupernetAudit, "_train_alone", told)
    assert audit(folders, built, "--json", "--networks", "4") == 0
    fidelity = json.loads(capsys.readouterr().out)["fidelity"]
    assert fidelity["spearman"]["value"] == pytest.approx(1) and fidelity["regret"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--networks", "2"], "--networks, --epochs, --iterations, --seed: expected at least 3, 1, 1 and 0, got 2"),
        (["--networks", "5"], "--networks: expected at most the 4 candidates, got 5"),
        (["--epochs", "0"], "expected at least 3, 1, 1 and 0, got 3, 0"),
        (["--learning-rate", "0"], "learning_rate: expected a positive number"),
    ],
)
def test_a_mistake_is_one_message(
    built: Candidates, folders: Folders, capsys: Any, words: list[str], message: str
) -> None:
    assert audit(folders, built, *words) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not folder(folders, built).exists()


def test_other_data_than_the_entrys_are_refused(
    built: Candidates, folders: Folders, stock_plans: dict[str, Any], capsys: Any
) -> None:
    write_json(folders.preprocessed / "splits_final.json", [{"train": CASES[:5], "val": CASES[5:]}])
    assert audit(folders, built) == 2
    assert "expected the data that its candidates were measured on, got others" in capsys.readouterr().err
    commands.prepare(folders, stock_plans)
    path = folders.preprocessed / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 8]
    write_json(path, plans)
    assert audit(folders, built) == 2
    assert "expected the architecture that its supernet was built for" in capsys.readouterr().err
