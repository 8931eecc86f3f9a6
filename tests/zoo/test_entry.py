"""Entries: what they hold survives JSON, what does not fit is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_zoo import about

from nnunet_iac.zoo.entry import Entry, Score, entry_of, identity


def entry(**changes: Any) -> Entry:
    return entry_of(about(**changes), weights="ab" * 32, weights_bytes=10, parameters=3)


def test_an_entry_survives_json_and_keeps_the_order_of_regions() -> None:
    again = Entry.from_dict(json.loads(json.dumps(entry().to_dict())))

    assert again == entry(**{}) or again.created != entry().created
    assert list(again.dataset_json["labels"]) == ["whole", "core"]
    assert again.scores[1] == Score("Dice", 0.5, "the same", "RV") and again.spacing == (1.5, 1.0)


def test_the_id_is_that_of_the_network_not_of_its_scores_or_names() -> None:
    same = (entry(scores=()), entry(licence=None), entry(name="other"), entry(provenance={}))
    others = (entry(trainer="Mine"), entry(dataset="Dataset001_B"), entry(plans={}), entry(channels=("CT", "T2")))

    assert {e.id for e in same} == {entry().id}
    assert len({e.id for e in (*others, entry())}) == 5
    assert identity(about(), "cd" * 32) != entry().id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": ""}, "kind: expected text, got ''"),
        ({"channels": ()}, "channels: expected at least one"),
        ({"channels": "CT"}, "channels: expected names, got 'CT'"),
        ({"patch_size": (8,)}, "patch_size: expected 2 or 3 positive numbers"),
        ({"patch_size": (8, 0)}, "patch_size: expected 2 or 3 positive numbers"),
        ({"spacing": (1, 1, 1)}, "spacing: expected a positive number for each axis"),
        ({"spacing": (1, float("nan"))}, "spacing: expected a positive number"),
        ({"spacing": (1, 10**400)}, "spacing: expected a positive number"),
        ({"scores": (Score("Dice", float("nan"), "x"),)}, "scores: expected a metric, a finite value"),
        ({"licence": " "}, "licence: expected text or None"),
        ({"plans": {"a": object()}}, "plans: expected what JSON can hold"),
        ({"facts": [1]}, "facts: expected a JSON object, got a list"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        about(**changes)


def test_all_faults_are_named_together() -> None:
    with pytest.raises(ValueError, match=r"name: .*; channels: .*; spacing: "):
        about(name="", channels=(), spacing=(1,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "0" * 16}, "id: expected [0-9a-f]{16}, that of its content"),
        ({"weights": "../../etc/passwd"}, "weights: expected a SHA-256"),
        ({"weights_bytes": -1}, "weights_bytes: expected a number from 0"),
        ({"weights_bytes": 1 << 50}, "weights_bytes: expected a number from 0 to 1099511627776"),
        ({"parameters": 10**20}, "parameters: expected a number from 0 to 1099511627776"),
        ({"created": "\udc80"}, "created: expected a date"),
        ({"more": 1}, r"missing or unknown: \['more'\]"),
        ({"scores": [{"metric": "Dice"}]}, "expected scores with metric, value"),
    ],
)
def test_a_forged_record_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Entry.from_dict({**entry().to_dict(), **changes})


def test_an_entry_for_other_channels_or_axes_says_what_helps() -> None:
    entry().check_fit(dimensions=2, channels=2)
    for target in ({"dimensions": 3, "channels": 2}, {"dimensions": 2, "channels": 1}):
        with pytest.raises(ValueError, match=r"got tiny in 2D for 2 \(T1, T2\); .* nnunet-iac transfer"):
            entry().check_fit(**target)
