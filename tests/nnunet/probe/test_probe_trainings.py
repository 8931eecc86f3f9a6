"""A probe on the tiny data set: whose cases it uses, where it writes, how it goes on, what it records."""

from __future__ import annotations

import json
import multiprocessing
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from tiny_dataset import Killed, equal, final_weights, kill_at, train

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.plans import read_plans, with_genotype, write_plans
from nnunet_iac.nnunet.probe.probe import run_probe
from nnunet_iac.nnunet.probe.probe_plan import Budget, Probe, plan_probe
from nnunet_iac.nnunet.probe.probe_result import probe_record
from nnunet_iac.nnunet.probe.probe_trainer import ProbeArm, ProbeTraining
from nnunet_iac.nnunet.training.trainers import IACTrainer

SHORT = Budget(epochs=2, iterations=1, search_epochs=2, share=0.5)
HOST = "nnUNetTrainerIACHost__tiny__2d"


@pytest.fixture
def hosted(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The tiny data set with a trained host of fold 0; nnU-Net validates in threads, which start at once."""
    train("nnUNetTrainerIACHost")
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: SimpleNamespace(Pool=ThreadPool))
    return tiny


def planned(folders: Folders, budget: Budget = SHORT, **more: Any) -> Probe:
    arguments: dict[str, Any] = {"folder": folders.base / "probe", **more}
    fold = arguments.pop("fold", 0)
    return plan_probe(folders.preprocessed, arguments.pop("plans", "tiny"), "2d", fold, budget, **arguments)


def run(probe: Probe, *arms: ProbeArm, seeds: tuple[int, ...] = (0,)) -> tuple[dict[Any, Any], list[str]]:
    said: list[str] = []
    return run_probe(probe, arms, seeds, device=torch.device("cpu"), say=said.append), said


def snapshot(*folders: Path) -> dict[str, float]:
    return {str(p): p.stat().st_mtime for folder in folders for p in folder.rglob("*") if p.is_file()}


class TestPlan:
    def test_without_a_host_nothing_is_done(self, tiny: Folders) -> None:
        with pytest.raises(FileNotFoundError, match="host: expected a finished stock training of the same plans"):
            planned(tiny)

        assert not (tiny.base / "probe").exists() and not tiny.results.exists()

    def test_a_given_checkpoint_is_the_host(self, hosted: Folders) -> None:
        checkpoint = hosted.results / HOST / "fold_0" / "checkpoint_final.pth"

        assert planned(hosted, host=checkpoint, fold=1).host == checkpoint
        with pytest.raises(FileNotFoundError, match="--host: expected a checkpoint of nnU-Net"):
            planned(hosted, host=checkpoint.parent)

    def test_patients_of_the_fold_s_training_cases_are_held_out(self, hosted: Folders) -> None:
        fold = json.loads((hosted.preprocessed / "splits_final.json").read_text())[0]

        probe = planned(hosted)

        assert sorted([*probe.training_cases, *probe.held_out_cases]) == sorted(fold["train"])
        sides = [{case.partition("_")[0] for case in side} for side in (probe.training_cases, probe.held_out_cases)]
        assert not sides[0] & sides[1] and probe.held_out_patients == len(sides[1]) == 2

    def test_cases_are_counted_where_patients_are_unknown(self, hosted: Folders) -> None:
        (hosted.raw / "patient_groups.json").unlink()
        # The folds that were made by patient keep cases together: all are taken for one, but counted each.
        probe = planned(hosted)

        assert probe.held_out_patients == len(probe.held_out_cases) > 2

    def test_all_is_a_fold_too(self, hosted: Folders) -> None:
        checkpoint = hosted.results / HOST / "fold_0" / "checkpoint_final.pth"
        probe = planned(hosted, fold="all", host=checkpoint)

        assert len(probe.training_cases) + len(probe.held_out_cases) == 12

    def test_plans_with_cells_and_cascades_are_refused(self, hosted: Folders) -> None:
        plans = read_plans(hosted.preprocessed / "tiny.json")
        cells = with_genotype(plans, "2d", Genotype.random(seed=0))
        write_plans(hosted.preprocessed / "cells.json", {**cells, "plans_name": "cells"})
        plans["configurations"]["2d"]["previous_stage"] = "2d_lowres"
        write_plans(hosted.preprocessed / "second.json", {**plans, "plans_name": "second"})

        with pytest.raises(ValueError, match="plans: expected a stock host, cells has cells"):
            planned(hosted, plans="cells")
        with pytest.raises(NotImplementedError, match="no second stage of a cascade"):
            planned(hosted, plans="second")

    def test_a_bad_budget_is_named_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"--epochs: .* 1, got 0; --batch-size: .* 2, got 1; --share: .* got 1.0"):
            Budget(epochs=0, batch_size=1, share=1.0)

    def test_settings_of_the_plans_are_kept_and_the_control_is_trained(self, hosted: Folders) -> None:
        plans = read_plans(hosted.preprocessed / "tiny.json")
        plans["configurations"]["2d"]["iac"] |= {
            "cell": {"nodes": 2},
            "training": {"freeze_host": True, "host_rate": 0.5},
        }
        write_plans(hosted.preprocessed / "tiny.json", plans)

        settings = planned(hosted, Budget(iterations=3, search_epochs=12)).settings(seed=7)

        assert (settings.cell.nodes, settings.search.seed, settings.training.freeze_host) == (2, 7, False)
        assert (settings.training.host_rate, settings.training.cells_first) == (1, 0)
        assert (settings.training.iterations, settings.search.epochs, settings.search.warmup_epochs) == (3, 12, 1)


def test_arms_train_and_predict_their_cases_and_write_nowhere_else(hosted: Folders) -> None:
    before = snapshot(hosted.preprocessed, hosted.results)
    probe = planned(hosted)

    seconds, said = run(probe, "identity", "random", "searched")

    assert snapshot(hosted.preprocessed, hosted.results) == before
    assert [len(of_arm) for of_arm in seconds.values()] == [1, 1, 1] and len(said) == 6
    folds = {arm: probe.training(arm, 0).folder for arm in seconds}
    weights = {arm: final_weights(fold) for arm, fold in folds.items()}
    host = final_weights(hosted.results / HOST / "fold_0")
    assert not equal(weights["identity"], host), "the control is trained on"
    for arm, fold in folds.items():
        assert any(key.startswith("cells.") for key in weights[arm]) == (arm != "identity")
        masks = {path.name.removesuffix(".nii.gz") for path in (fold / "validation").glob("*.nii.gz")}
        assert masks == set(probe.held_out_cases)
    logged = [torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"] for fold in folds.values()]
    assert len({log["train_losses"][0] for log in logged}) == 1, "all start as the host, on the same batch"
    found = json.loads((folds["searched"] / "search_result.json").read_text())
    assert sorted(found["weight_cases"] + found["architecture_cases"]) == sorted(probe.training_cases)


def test_a_search_without_a_second_patient_is_refused_before_anything_is_trained(hosted: Folders) -> None:
    with pytest.raises(ValueError, match="--searched: expected two patients or more to search on, got 1"):
        run(planned(hosted, Budget(share=0.9)), "identity", "searched")

    assert not (hosted.base / "probe").exists()


class TestAgain:
    def test_finished_trainings_are_not_repeated_and_seeds_are_added(
        self, hosted: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ran = []

        def pretend(training: ProbeTraining, host: Path, device: torch.device) -> None:
            training.folder.mkdir(parents=True, exist_ok=True)
            ran.append((training.arm, training.seed))

        monkeypatch.setattr(ProbeTraining, "run", pretend)
        run(planned(hosted), "identity", "random")
        _, said = run(planned(hosted), "identity", "random", seeds=(0, 3))

        assert ran == [("identity", 0), ("random", 0), ("identity", 3), ("random", 3)]
        assert said[:2] == [
            "[1/4] continued training, seed 0: done before, in 0 s",
            "[2/4] random cells, seed 0: done before, in 0 s",
        ]
        assert [line.partition("; ")[2] for line in said[3::2]] == ["less than a minute to go", ""]

    def test_another_budget_or_host_does_not_mix_with_finished_trainings(self, hosted: Folders) -> None:
        run(planned(hosted))
        checkpoint = hosted.results / HOST / "fold_0" / "checkpoint_final.pth"
        checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")

        with pytest.raises(ValueError, match=r"-o: expected the budget and host and settings that the trainings"):
            run(planned(hosted, Budget(epochs=3, iterations=1, search_epochs=2, share=0.5)))

    @pytest.mark.parametrize("name", ["on_epoch_end", "perform_actual_validation"])
    def test_an_interrupted_probe_ends_as_an_uninterrupted_one(
        self, hosted: Folders, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        probe, twin = planned(hosted), planned(hosted, folder=hosted.base / "twin")
        with monkeypatch.context() as patch:
            kill_at(patch, IACTrainer, name, 1, after=name == "on_epoch_end")
            with pytest.raises(Killed):
                run(probe, "random")

        run(probe, "random")
        run(twin, "random")

        weights = [final_weights(one.training("random", 0).folder) for one in (probe, twin)]
        assert equal(*weights) and list(probe.training("random", 0).folder.glob("validation/*.nii.gz"))


class TestRecord:
    def test_it_is_json_with_values_of_every_patient(self, hosted: Folders) -> None:
        probe = planned(hosted)
        seconds, _ = run(probe, "identity", "random")

        record = json.loads(json.dumps(probe_record(probe, [0], seconds, margin=0.5), allow_nan=False))

        assert record["schema"] == 1 and record["host"]["checkpoint"] == str(probe.host)
        assert record["held_out_cases"] == list(probe.held_out_cases)
        arms = record["arms"]
        values = [list(arms[arm]["dice_of_patients"].values()) for arm in ("identity", "random")]
        expected = sum(b - a for a, b in zip(*values, strict=True)) / 2
        assert arms["random"]["difference"]["difference"] == pytest.approx(expected)
        assert arms["random"]["difference"]["of_seeds"] == pytest.approx([expected])
        assert record["recommendation"]["verdict"] == "too few patients" and "--searched" in record["limits"][-1]

    def test_without_trainings_it_says_why(self, hosted: Folders) -> None:
        record = probe_record(planned(hosted), [0], {}, margin=0.5)

        assert (record["arms"], record["recommendation"]["verdict"]) == ({}, "too few patients")
