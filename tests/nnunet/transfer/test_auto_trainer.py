"""`nnUNetTrainerIACAuto`: from a zoo to trained cells in one flag, every decision in the log."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train
from tiny_sources import fill, move_away

from nnunet_iac.nnunet.cases.image_samples import PreparedData
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.model_folder import RECORD, RETRIEVAL
from nnunet_iac.nnunet.files.plans import configuration_of, genotype_of, read_plans
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.retrieval import retrieval
from nnunet_iac.nnunet.retrieval.candidate_training import CandidateTraining
from nnunet_iac.nnunet.retrieval.retrieval_request import Request
from nnunet_iac.nnunet.retrieval.retrieval_trainings import CANDIDATES
from nnunet_iac.nnunet.retrieval.retrieved_trainer import START
from nnunet_iac.nnunet.transfer.auto_trainer import AutoTrainer
from nnunet_iac.zoo.store import Zoo

TRAINER = "nnUNetTrainerIACAuto"


@pytest.fixture
def zoo(tiny: Folders) -> Zoo:
    """Supernets around the tiny data set; plans `auto` that name the zoo and take the first, which trains nothing."""
    made = Zoo.create(tiny.base / "zoo")
    fill(tiny, made)
    settings = (f"transfer.zoo={tiny.base / 'zoo'}", "retrieval.patches=8", "retrieval.protocol=T1")
    configure("auto", *settings, plans="tiny")
    return made


def model(folders: Folders, plans: str = "auto") -> Path:
    return folders.results / f"{TRAINER}__{plans}__2d"


def requested(wanted: dict[str, Any], *, several: bool = False) -> Request:
    """What a trainer with these settings of the retrieval asks for."""
    trainer = AutoTrainer.__new__(AutoTrainer)
    trainer.settings = Settings.from_block({"retrieval": wanted})
    trainer.is_ddp, trainer.device = several, torch.device("cpu")
    return trainer._request()


@pytest.mark.parametrize(
    ("set_to", "several", "protocol"),
    [(None, False, "T5"), (None, True, "T1"), ("T10", False, "T10"), ("T1", True, "T1")],
)
def test_the_target_is_asked_unless_several_processes_train_and_then_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, set_to: str | None, several: bool, protocol: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AutoTrainer, "_say", lambda self, text: said.append(text))
    assert requested({} if set_to is None else {"protocol": set_to}, several=several).protocol == protocol
    assert [("nobody asks the target" in text) for text in said] == [True] * (set_to is None and several)


def test_the_target_is_looked_at_with_training_cases_of_the_fold_only(
    tiny: Folders, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PreparedData] = []

    def look(data: PreparedData, **_: Any) -> None:
        looked.append(data)
        raise Killed

    monkeypatch.setattr("nnunet_iac.nnunet.retrieval.retrieval_target.region_features", look)
    for fold in (0, 1):
        with pytest.raises(Killed):
            make_trainer(TRAINER, plans="auto", fold=fold).initialize()

    splits = json.loads((tiny.preprocessed / "splits_final.json").read_text())
    assert [set(data.cases) for data in looked] == [set(split["train"]) for split in splits[:2]]
    assert not any(set(data.cases) & set(split["val"]) for data, split in zip(looked, splits, strict=False))


def test_the_retrieved_network_gets_searched_cells_and_is_left_for_prediction(tiny: Folders, zoo: Zoo) -> None:
    trainer = train(TRAINER, plans="auto")

    log, record = log_of(model(tiny) / "fold_0"), json.loads((model(tiny) / RETRIEVAL / RECORD).read_text())
    assert "Auto: Dataset001_Source is the nearest of 3 data sets" in log and "Auto: Chosen: Dataset0" in log
    assert "Start: Dataset001_Source is the nearest" in log and not record["outlier"]
    assert "Auto: the cells are searched from a fresh draw: no search of the zoo serves." in log
    plans = read_plans(model(tiny) / "plans.json")
    retrieved = read_plans(model(tiny) / RETRIEVAL / "plans.json")
    widths = [
        configuration_of(p, "2d")["architecture"]["arch_kwargs"]["features_per_stage"] for p in (plans, retrieved)
    ]
    assert widths[0] == widths[1] == trainer.cell_network.encoder.output_channels
    assert genotype_of(plans, "2d") is not None and plans["plans_name"] == "auto"
    assert (
        read_plans(tiny.preprocessed / "auto.json")["configurations"]["2d"].get("architecture")
        != plans["configurations"]["2d"]["architecture"]
    ), "the user's plans are untouched"


def test_killed_and_continued_without_the_zoo_it_ends_as_if_undisturbed(
    tiny: Folders, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(TRAINER, plans="auto")
    undisturbed = final_weights(model(tiny) / "fold_0")
    shutil.rmtree(model(tiny))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, AutoTrainer, "on_epoch_end", 3, after=True)
        train(TRAINER, plans="auto")
    shutil.rmtree(tiny.base / "zoo")

    train(TRAINER, plans="auto", resume=True)

    assert equal(final_weights(model(tiny) / "fold_0"), undisturbed)


def test_weights_of_the_fit_and_a_stored_space_are_settings() -> None:
    request = requested({"rank": 0.5, "fid": 0.0})
    assert request.space.settings.weights == {"performance": 1.0, "rank": 0.5} and not request.space.entry
    assert requested({"space": "abc"}).space.entry == "abc"
    assert Request().space == requested({}).space


def test_another_fold_takes_the_network_of_the_first(tiny: Folders, zoo: Zoo) -> None:
    train(TRAINER, plans="auto")
    record = (model(tiny) / RETRIEVAL / RECORD).read_bytes()

    train(TRAINER, plans="auto", fold=1)

    assert (model(tiny) / RETRIEVAL / RECORD).read_bytes() == record
    assert "NOTE: retrieved by the training images of fold 0" in log_of(model(tiny) / "fold_1")
    shapes = [{k: v.shape for k, v in final_weights(model(tiny) / f"fold_{n}").items()} for n in (0, 1)]
    assert shapes[0] == shapes[1]


def test_a_stranger_to_the_zoo_is_trained_as_by_the_trainer_without_one(tiny: Folders, zoo: Zoo) -> None:
    move_away(zoo)

    train(TRAINER, plans="auto")
    train("nnUNetTrainerIAC", plans="auto")

    assert "Auto: No source is near" in log_of(model(tiny) / "fold_0")
    assert not (model(tiny) / RETRIEVAL / START).exists()
    other = tiny.results / "nnUNetTrainerIAC__auto__2d" / "fold_0"
    assert equal(final_weights(model(tiny) / "fold_0"), final_weights(other))


def test_a_stranger_to_the_zoo_is_given_a_network_if_that_is_asked_for(tiny: Folders, zoo: Zoo) -> None:
    move_away(zoo)
    configure("anyway", "retrieval.anyway=true", plans="auto")

    train(TRAINER, plans="anyway")

    assert "Retrieved all the same, as asked for (anyway)." in log_of(model(tiny, "anyway") / "fold_0")
    assert (model(tiny, "anyway") / RETRIEVAL / START).is_file()


def test_a_zoo_without_supernets_leaves_the_network_as_planned(tiny: Folders) -> None:
    Zoo.create(tiny.base / "empty")
    configure("auto", f"transfer.zoo={tiny.base / 'empty'}", plans="tiny")

    train(TRAINER, plans="auto")

    assert "has no supernets; network and initialisation are those of the plans" in log_of(model(tiny) / "fold_0")
    assert not (model(tiny) / RETRIEVAL / START).exists()

    # It is remembered: supernets that come later do not change the model's network under its folds.
    fill(tiny, Zoo(tiny.base / "empty"))
    train(TRAINER, plans="auto", fold=1)
    shapes = [{k: v.shape for k, v in final_weights(model(tiny) / f"fold_{n}").items()} for n in (0, 1)]
    assert shapes[0] == shapes[1]


def test_too_few_relatives_leave_the_network_as_planned(tiny: Folders, zoo: Zoo) -> None:
    zoo.remove([entry.id for entry in zoo.entries() if entry.dataset not in (DATASET, "Dataset001_Source")])

    train(TRAINER, plans="auto")

    assert "fewer than 2 data sets that can serve this one" in log_of(model(tiny) / "fold_0")


def test_killed_between_the_files_of_a_retrieval_it_retrieves_again(
    tiny: Folders, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, retrieval, "write_json", 1)
        train(TRAINER, plans="auto")
    assert not (model(tiny) / RETRIEVAL / RECORD).exists()

    train(TRAINER, plans="auto", resume=True)

    assert (model(tiny) / RETRIEVAL / RECORD).exists()


def test_trainings_of_candidates_that_are_no_longer_chosen_are_done_anew(
    tiny: Folders, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: SimpleNamespace(Pool=ThreadPool))
    configure(
        "auto",
        "retrieval.protocol=T5",
        "retrieval.iterations=1",
        "retrieval.share=0.5",
        f"transfer.zoo={zoo.place.name}",
        plans="tiny",
    )
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, CandidateTraining, "dice", 3)
        train(TRAINER, plans="auto")
    earlier = json.loads((model(tiny) / RETRIEVAL / CANDIDATES).read_text())
    zoo.remove([earlier["candidates"][0]["supernet"]])

    train(TRAINER, plans="auto", resume=True)

    record = json.loads((model(tiny) / RETRIEVAL / RECORD).read_text())
    assert len(record["candidates"]) == 5
    assert earlier["candidates"][0]["supernet"] not in {c["supernet"] for c in record["candidates"]}
    told = "Auto: the short trainings of an interrupted retrieval are removed and done anew: other candidates."
    assert told in log_of(model(tiny) / "fold_0")


def test_a_damaged_zoo_is_no_reason_for_a_fresh_draw(tiny: Folders, zoo: Zoo) -> None:
    configure("typo", "transfer.source=ffff", plans="auto")

    with pytest.raises(ValueError, match="ffff"):
        train(TRAINER, plans="typo")


def test_without_a_zoo_and_with_limits_that_nothing_meets_nothing_is_trained(tiny: Folders, zoo: Zoo) -> None:
    configure("none", plans="tiny")
    with pytest.raises(ValueError, match=r"transfer\.zoo: expected the folder or URL of a zoo, got null"):
        train(TRAINER, plans="none")
    configure("small", "retrieval.max_macs=1", plans="auto")
    with pytest.raises(ValueError, match="limits: expected one of the first 18 candidates within them, got none"):
        train(TRAINER, plans="small")

    assert not list(tiny.results.glob("*/fold_0/checkpoint*"))


def test_the_start_is_that_of_the_candidate(tiny: Folders, zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, AutoTrainer, "on_epoch_start", 1)
        seen = []
        original = AutoTrainer._settle_host
        patch.setattr(
            AutoTrainer,
            "_settle_host",
            lambda self: (
                original(self),
                seen.append({k: v.clone() for k, v in self.cell_network.state_dict().items()}),
            ),
        )
        train(TRAINER, plans="auto")

    assert equal(seen[0], dict(read_checkpoint(model(tiny) / RETRIEVAL / START)["network_weights"]))
