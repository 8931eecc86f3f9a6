"""Where a run's host comes from, decided once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from nnunet_folders import DATASET, Folders

from nnunet_iac.nnunet.training.host_source import HostSource, find_host_source, load_host_source, save_host_source

PLANS = {"plans_name": "tiny", "dataset_name": DATASET, "derived_from": "nnUNetPlans"}


def decide(
    wanted: Literal["train", "trained", "either"], pretrained: bool = False, plans: dict[str, Any] = PLANS
) -> HostSource:
    return find_host_source(wanted, pretrained=pretrained, plans=plans, configuration="2d", fold=0, epochs=7)


def put_host(folders: Folders, plans: str, trainer: str = "nnUNetTrainer") -> Path:
    fold = folders.results / f"{trainer}__{plans}__2d" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").write_bytes(b"weights")
    return fold / "checkpoint_final.pth"


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_trainer_that_trains_its_host_never_looks_for_one(folders: Folders, pretrained: bool) -> None:
    put_host(folders, "tiny")

    source = decide("train", pretrained)

    assert (source.checkpoint, source.epochs, source.heads_only, source.trains) == (None, 7, False, True)
    assert ("-pretrained_weights" in source.message) == pretrained


@pytest.mark.parametrize("wanted", ["trained", "either"])
def test_given_weights_come_before_a_trained_host(folders: Folders, wanted: Literal["trained", "either"]) -> None:
    put_host(folders, "tiny")

    assert decide(wanted, pretrained=True).heads_only


@pytest.mark.parametrize("wanted", ["trained", "either"])
def test_a_host_of_the_same_plans_comes_before_one_of_their_origin(
    folders: Folders, wanted: Literal["trained", "either"]
) -> None:
    origin = put_host(folders, "nnUNetPlans")
    assert decide(wanted) == HostSource(str(origin), 0, False, f"weights of {origin}")

    own = put_host(folders, "tiny", "nnUNetTrainerIACHost")
    assert decide(wanted).checkpoint == str(own) and not decide(wanted).trains


def test_plans_that_were_not_derived_find_their_own_hosts_only(folders: Folders) -> None:
    put_host(folders, "nnUNetPlans")

    with pytest.raises(FileNotFoundError, match="expected a finished stock training"):
        decide("trained", plans={key: PLANS[key] for key in ("plans_name", "dataset_name")})


def test_without_a_host_one_is_trained_or_the_run_refused(folders: Folders) -> None:
    assert decide("either").trains and decide("either").epochs == 7
    with pytest.raises(FileNotFoundError, match="host: expected a finished stock training"):
        decide("trained")


def test_the_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    source = HostSource("somewhere.pth", 0, False, "weights of somewhere.pth")
    assert load_host_source(tmp_path) is None

    save_host_source(tmp_path, source)

    assert load_host_source(tmp_path) == source


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"checkpoint": null, "other": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "host.json").write_text(content)

    with pytest.raises(ValueError, match=r"host\.json: expected the record of a run"):
        load_host_source(tmp_path)
