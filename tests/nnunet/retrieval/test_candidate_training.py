"""A zoo's sub-network on another data set: its start, and the short training that judges it."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import Folders
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from tiny_dataset import Killed, equal, final_weights, kill_at

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
from nnunet_iac.nnunet.files.weights import write_weights
from nnunet_iac.nnunet.retrieval import candidate_training
from nnunet_iac.nnunet.retrieval.candidate_training import CandidateTraining, Judgement, best_candidate
from nnunet_iac.nnunet.retrieval.retrieved_start import RetrievedStart, retrieved_start
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.zoo.entry import Description, Entry, entry_of
from nnunet_iac.zoo.subnetwork import Subnetwork, extract
from nnunet_iac.zoo.supernet import ElasticUNet

CPU = torch.device("cpu")
HELD_OUT = ("patient0_a", "patient1_b")
TRAINING = ("patient2_a", "patient2_b", "patient3_a")


@pytest.fixture
def dataset(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The tiny data set; nnU-Net validates in threads, which start at once."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: SimpleNamespace(Pool=ThreadPool))
    return tiny


def source(folders: Folders, channels: int = 3) -> tuple[Entry, Subnetwork]:
    """A supernet of the tiny plan for images of three channels, and its smallest sub-network."""
    plans = read_plans(folders.preprocessed / "tiny.json")
    torch.manual_seed(1)
    supernet = ElasticUNet(configuration_of(plans, "2d")["architecture"], channels, 2, multiple=4)
    about = Description(
        kind="supernet",
        name="s",
        dataset="Dataset001_Other",
        plans=plans,
        configuration="2d",
        trainer="test",
        channels=tuple("rgb"[:channels]),
        spacing=(1, 1),
        patch_size=(32, 32),
    )
    entry = entry_of(about, weights="0" * 64, weights_bytes=0, parameters=0)
    return entry, extract(supernet, supernet.space.smallest)


def start(folders: Folders, name: str = "retrieved_1") -> RetrievedStart:
    plans = read_plans(folders.preprocessed / "tiny.json")
    return retrieved_start(*source(folders), plans, "2d", read_object(folders.preprocessed / "dataset.json"), name=name)


def training(folders: Folders, name: str = "retrieved_1", **more: Any) -> CandidateTraining:
    found = start(folders, name)
    folders.results.mkdir(exist_ok=True)
    path = folders.results / f"{name}.pth"
    write_weights(path, found.network, found.target, {})
    arguments: dict[str, Any] = {"iterations": 2, "seed": 0, "results": folders.base / "candidates", **more}
    return CandidateTraining(name, found.target, path, 0, TRAINING, HELD_OUT, **arguments)


def test_the_start_has_the_source_s_widths_and_weights_and_the_target_s_plan(tiny: Folders) -> None:
    found = start(tiny)

    planned = configuration_of(read_plans(tiny.preprocessed / "tiny.json"), "2d")
    derived = configuration_of(found.target.plans, "2d")
    assert {k: v for k, v in derived.items() if k != "architecture"} == {
        k: v for k, v in planned.items() if k != "architecture"
    }
    assert derived["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 4, 8]
    assert found.target.plans["derived_from"] == "tiny" and found.target.plans["plans_name"] == "retrieved_1"
    own, given = found.network.state_dict(), source(tiny)[1].network.state_dict()
    second = "encoder.stages.1.0.convs.0.conv.weight"
    assert torch.equal(own[second], given[second])
    first = "encoder.stages.0.0.convs.0.conv.weight"
    assert own[first].shape[1] == 1 and given[first].shape[1] == 3, "one channel instead of three"


def test_a_candidate_is_judged_on_patients_that_nobody_trained_on(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], list[str]]] = []
    original = candidate_training.CandidateTrainer.do_split
    monkeypatch.setattr(
        candidate_training.CandidateTrainer, "do_split", lambda self: asked.append(original(self)) or asked[-1]
    )
    candidate = training(dataset)

    dice = candidate.dice(CPU)

    assert 0 <= dice <= 100 and {tuple(t) for t, _ in asked} == {TRAINING}
    masks = sorted(p.name for p in (candidate.folder / "validation").glob("*.nii.gz"))
    assert masks == [f"{case}.nii.gz" for case in HELD_OUT]
    assert not list(dataset.results.glob("Candidate*")), "nothing is written where users look for models"


def test_a_finished_training_is_not_repeated_and_an_interrupted_one_goes_on(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(map(np.str_, TRAINING))  # as nnU-Net has them where it makes the split itself
    candidate = replace(training(dataset), training_cases=names)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, IACTrainer, "perform_actual_validation", 1)
        candidate.dice(CPU)
    weights = final_weights(candidate.folder)

    dice = candidate.dice(CPU)

    assert equal(final_weights(candidate.folder), weights), "it was trained already"
    monkeypatch.setattr(IACTrainer, "run_training", None)
    assert candidate.dice(CPU) == dice


def test_candidates_are_judged_without_mirroring_and_what_was_judged_with_it_is_judged_anew(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes: list[Any] = []
    original = nnUNetPredictor._internal_maybe_mirror_and_predict

    def predict(self: nnUNetPredictor, x: torch.Tensor) -> torch.Tensor:
        axes.append(self.allowed_mirroring_axes if self.use_mirroring else None)
        return original(self, x)

    monkeypatch.setattr(nnUNetPredictor, "_internal_maybe_mirror_and_predict", predict)
    candidate = training(dataset)
    dice = candidate.dice(CPU)
    assert axes and set(axes) == {None}

    path = candidate.folder / candidate_training.RESULT
    write_json(path, {**read_object(path), "schema": 1, "dice": dice + 1})
    weights, asked = final_weights(candidate.folder), len(axes)
    assert candidate.dice(CPU) == dice and len(axes) == 2 * asked
    assert equal(final_weights(candidate.folder), weights) and read_object(path)["schema"] == 2


def test_one_held_out_patient_is_enough_and_its_cases_count_together(dataset: Folders) -> None:
    whole = training(dataset, results=dataset.base / "whole")
    whole = replace(whole, held_out_cases=("patient1_a", "patient1_b"))
    by_case = [replace(whole, held_out_cases=(case,), results=dataset.base / case) for case in whole.held_out_cases]

    assert whole.dice(CPU) == pytest.approx(sum(one.dice(CPU) for one in by_case) / 2)


def test_a_training_that_diverges_is_said_to_and_not_repeated(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = training(dataset)
    weights = read_checkpoint(candidate.start)
    weights["network_weights"] = {k: v + math.nan for k, v in weights["network_weights"].items()}
    torch.save(weights, candidate.start)

    with pytest.raises(FloatingPointError, match=r"Source: encoder, stage 0 .*NaN or Inf before this") as first:
        candidate.dice(CPU)

    monkeypatch.setattr(IACTrainer, "run_training", None)
    path = candidate.folder / candidate_training.RESULT
    for schema in (candidate_training.SCHEMA, 1):
        write_json(path, {**read_object(path), "schema": schema})
        with pytest.raises(FloatingPointError) as again:
            candidate.dice(CPU)
        assert str(again.value) == str(first.value)


def stub_trainings(
    monkeypatch: pytest.MonkeyPatch, dice: dict[str, float | None], order: str
) -> dict[int, CandidateTraining]:
    """Trainings with a known outcome; None is one that diverges."""

    def known(self: CandidateTraining, _: torch.device) -> float:
        found = dice[self.name]
        if found is None:
            raise FloatingPointError("loss: NaN")
        return found

    monkeypatch.setattr(CandidateTraining, "dice", known)
    return {
        place: CandidateTraining(name, Any, Path(), 0, (), (), 1, 0, Path())  # type: ignore[arg-type]
        for place, name in enumerate(order, start=1)
    }


def test_the_best_is_kept_and_of_equal_ones_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = stub_trainings(monkeypatch, {"a": 50.0, "b": 70.0, "c": 70.0}, "acb")

    tie = "2 candidates tie at a Dice of 70.00, so the first of them is taken"
    assert best_candidate(trainings, CPU, print) == Judgement(2, {1: 50.0, 2: 70.0, 3: 70.0}, {}, tie)
    assert not best_candidate(stub_trainings(monkeypatch, {"a": 9.0, "b": 10.0}, "ab"), CPU, print).undecided


def test_candidates_that_have_not_learned_to_segment_keep_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As measured: nearly all at exactly 0, and a tiny network that "wins" with a few points.
    trainings = stub_trainings(monkeypatch, {"a": None, "b": 0.0, "c": 0.0, "d": 5.96}, "abcd")

    found = best_candidate(trainings, CPU, print)

    assert found.best == 2 and found.dice[4] == 5.96
    assert "after 1 steps no candidate has learned to segment (the best Dice is 5.96" in found.undecided
    assert "more --iterations" in found.undecided and found.undecided in capsys.readouterr().out


def test_a_diverged_candidate_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = stub_trainings(monkeypatch, {"a": None, "b": 20.0}, "ab")

    assert best_candidate(trainings, CPU, print) == Judgement(2, {2: 20.0}, {1: "loss: NaN"})
    assert capsys.readouterr().out == "left out: a diverged in its epoch: loss: NaN\n"


def test_it_is_an_error_if_all_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = stub_trainings(monkeypatch, {"a": None, "b": None}, "ab")

    with pytest.raises(FloatingPointError, match=r"all 2 diverged .the first: loss: NaN.; look for NaN"):
        best_candidate(trainings, CPU, lambda _: None)
