"""A run that dies anywhere and is continued ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nnunet_folders import Folders
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, train

from nnunet_iac.nnunet.files.plans import read_plans
from nnunet_iac.nnunet.training import cell_search, trainers
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.search import search

MODEL = "nnUNetTrainerIAC__tiny__2d"
DEATHS: dict[str, tuple[Any, str, int, bool]] = {
    "in the host's first epoch": (IACTrainer, "on_train_epoch_end", 1, False),
    "after an epoch of the host": (IACTrainer, "on_epoch_end", 1, True),
    "between host and search": (IACTrainer, "_settle_genotype", 1, False),
    "in the search's warm-up": (search, "append_record", 1, False),
    "after an epoch's line, before its state": (search, "append_record", 3, True),
    "between two epochs of the search": (search, "save_state", 4, True),
    "after the search, before its result": (cell_search, "write_json", 1, False),
    "before the genotype is stored": (trainers, "store_genotype", 1, False),
    "between genotype and plans": (trainers, "store_genotype", 1, True),
    "between search and training": (IACTrainer, "_implant", 1, False),
    "in the first epoch of the training": (IACTrainer, "on_train_epoch_end", 3, False),
    "after an epoch of the training": (IACTrainer, "on_epoch_end", 3, True),
    "before the last checkpoint": (IACTrainer, "on_train_end", 1, False),
}


def search_lines(fold: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (fold / "search.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("death", DEATHS)
def test_a_run_killed_and_continued_equals_an_uninterrupted_one(
    tiny: Folders, finished: Folders, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    place, name, call, after = DEATHS[death]
    with monkeypatch.context() as patch:
        kill_at(patch, place, name, call, after=after)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC")

    train("nnUNetTrainerIAC", resume=True)

    model, expected = tiny.results / MODEL, finished.results / MODEL
    assert (model / "genotype.json").read_text() == (expected / "genotype.json").read_text()
    assert read_plans(model / "plans.json") == read_plans(expected / "plans.json")
    assert search_lines(model / "fold_0") == search_lines(expected / "fold_0")
    assert equal(final_weights(model / "fold_0"), final_weights(expected / "fold_0"))


def test_every_death_leaves_no_temporary_file(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, search, "append_record", 2)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC")

    assert not list(tiny.base.rglob("*.tmp"))


@pytest.mark.parametrize("death", ["between two epochs of the search", "after an epoch of the training"])
def test_a_joint_search_continues_as_well(tiny: Folders, monkeypatch: pytest.MonkeyPatch, death: str) -> None:
    configure("joint", "search.host=joint", "host.epochs=1")
    configure("twin", "search.host=joint", "host.epochs=1")
    place, name, call, after = DEATHS[death]
    with monkeypatch.context() as patch:
        kill_at(patch, place, name, call - (name == "on_epoch_end"), after=after)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC", plans="joint")

    train("nnUNetTrainerIAC", plans="joint", resume=True)
    train("nnUNetTrainerIAC", plans="twin")

    weights = [final_weights(tiny.results / f"nnUNetTrainerIAC__{p}__2d" / "fold_0") for p in ("joint", "twin")]
    assert equal(*weights)


def test_a_search_continues_where_its_first_process_made_the_split(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of cases are NumPy's in the process in which nnU-Net makes the split, and plain afterwards."""
    for path in (tiny.preprocessed / "patient_groups.json", tiny.preprocessed / "splits_final.json"):
        path.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        kill_at(patch, search, "save_state", 3, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIACSearch")

    train("nnUNetTrainerIACSearch", resume=True)

    assert (tiny.results / "nnUNetTrainerIACSearch__tiny__2d" / "fold_0" / "search_result.json").is_file()


def test_a_search_that_was_killed_after_it_wrote_its_plans_goes_on(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, trainers, "write_search_plans", 1, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIACSearch")
    written = (tiny.preprocessed / "tiny_iac.json").read_bytes()

    train("nnUNetTrainerIACSearch", resume=True)

    assert (tiny.preprocessed / "tiny_iac.json").read_bytes() == written


@pytest.mark.parametrize("name", ["_settle_genotype", "_implant"])
def test_an_implantation_continues_with_the_host_it_had(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    train("nnUNetTrainerIACHost")
    configure("frozen", "training.freeze_host=true", plans="tiny")  # so that the host can be told from another
    with monkeypatch.context() as patch:
        kill_at(patch, IACTrainer, name, 1)
        with pytest.raises(Killed):
            train("nnUNetTrainerIACImplant", plans="frozen")

    train("nnUNetTrainerIACImplant", plans="frozen", resume=True)

    host = final_weights(tiny.results / "nnUNetTrainerIACHost__tiny__2d" / "fold_0")
    trained = final_weights(tiny.results / "nnUNetTrainerIACImplant__frozen__2d" / "fold_0")
    assert all(bool((trained[key] == value).all()) for key, value in host.items())


def test_continuing_a_finished_run_changes_nothing(continued: Folders) -> None:
    before = final_weights(continued.results / MODEL / "fold_0")

    train("nnUNetTrainerIAC", resume=True)

    assert equal(final_weights(continued.results / MODEL / "fold_0"), before)


def test_a_new_run_does_not_continue_the_search_of_an_old_one(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    for resume, place, name, call in [(False, search, "append_record", 3), (False, IACTrainer, "on_epoch_end", 2)]:
        with monkeypatch.context() as patch:
            kill_at(patch, place, name, call, after=True)
            with pytest.raises(Killed):
                train("nnUNetTrainerIAC", resume=resume)

    fold = tiny.results / MODEL / "fold_0"
    assert not (fold / "search_state.pt").exists() and (fold / "previous_search_state.pt").exists()


def test_changed_settings_are_refused_and_the_search_is_kept(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, search, "save_state", 4, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC")
    state = tiny.results / MODEL / "fold_0" / "search_state.pt"
    before = state.read_bytes()
    configure("tiny", "search.partial_channels=2")

    with pytest.raises(ValueError, match="partial_channels: was 4, is 2"):
        train("nnUNetTrainerIAC", resume=True)

    assert state.read_bytes() == before
