"""Settings from the "iac" block: defaults, and every problem in one message."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
from nnunet_iac.nnunet.files.settings import Settings, setting_names

DEFAULTS = {
    "search.epochs": 200,
    "search.partial_channels": 4,
    "search.prune": True,
    "search.host": "frozen",
    "search.seed": 0,
    "cell.nodes": 4,
    "cell.shared": True,
    "cell.second_input": "decoder",
    "cell.projection": "zero",
    "training.epochs": 1000,
    "training.iterations": 250,
    "training.validation_iterations": 50,
    "training.augment": True,
    "training.freeze_host": False,
    "training.host_rate": 1.0,
    "training.cells_first": 0.0,
    "training.deterministic": False,
    "search.keep_host": False,
    "search.select": "weights",
    "search.select_batches": 32,
    "search.validation_iterations": 0,
    "transfer.zoo": None,
    "transfer.source": "nearest",
    "transfer.temperature": 2.0,
    "transfer.weights": True,
    "transfer.host": True,
    "transfer.rate": 1.0,
    "transfer.rate_epochs": 3,
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_what_is_left_out_keeps_its_default(name: str, value: Any) -> None:
    section, key = name.split(".")

    assert Settings.from_block({}).to_block()[section][key] == value


def test_a_block_written_out_reads_back_the_same() -> None:
    settings = Settings.from_block({"search": {"epochs": 7, "tau": 0.01}, "training": {"freeze_host": False}})

    assert Settings.from_block(settings.to_block()) == settings


def test_all_problems_are_named_together() -> None:
    block = {"search": {"epochs": 0, "epoch": 5, "host": "cold"}, "cell": 3, "zoo": {}, "host": {"epochs": "many"}}

    with pytest.raises(ValueError) as caught:
        Settings.from_block(block)

    message = str(caught.value)
    assert "6 problem(s)" in message
    for part in (
        "search.epochs: expected an integer of at least 2, got 0",
        "search.epoch: unknown; expected one of ['epochs'",
        'search.host: expected one of "frozen", "joint", got \'cold\'',
        "cell: expected a JSON object, got 3",
        "zoo: unknown; expected one of ['host', 'search', 'cell', 'training', 'transfer', 'retrieval']",
        "host.epochs: expected an integer of at least 1, got 'many'",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("search", "epochs", True),
        ("search", "epochs", 2.0),
        ("search", "iterations", 0),
        ("search", "partial_channels", 3),
        ("search", "partial_channels", True),
        ("search", "prune", 1),
        ("search", "tau", 0),
        ("search", "tau", float("nan")),
        ("search", "seed", -1),
        ("search", "drift", float("inf")),
        ("search", "select", "chance"),
        ("search", "select_batches", 1),
        ("search", "validation_iterations", -1),
        ("cell", "width", 1.5),
        ("cell", "nodes", 0),
        ("cell", "nodes", 17),
        ("training", "augment", 1),
        ("training", "augment", None),
        ("training", "freeze_host", "no"),
        ("training", "validation_iterations", 0),
        ("transfer", "zoo", ""),
        ("transfer", "zoo", 3),
        ("transfer", "source", None),
        ("transfer", "temperature", 0),
        ("transfer", "temperature", "hot"),
        ("transfer", "temperature", float("inf")),
        ("transfer", "rate", 0),
        ("transfer", "rate", 2),
        ("transfer", "rate_epochs", -1),
    ],
)
def test_a_value_out_of_range_is_refused(section: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"settings: 1 problem\(s\): {section}\.{key}: expected"):
        Settings.from_block({section: {key: value}})


@pytest.mark.parametrize("temperature", [0.5, 1, 1e6, "inf"])
def test_a_temperature_is_positive_or_infinite(temperature: Any) -> None:
    block = {"transfer": {"temperature": temperature}}
    assert Settings.from_block(block).transfer.temperature == temperature


def test_a_warm_up_as_long_as_the_search_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search\.warmup_epochs: expected fewer than search\.epochs = 5, got 5"):
        Settings.from_block({"search": {"epochs": 5}})


@pytest.mark.parametrize("block", [[], "search", 3, None])
def test_a_block_that_is_no_object_is_refused(block: Any) -> None:
    with pytest.raises(ValueError, match='expected an "iac" block that is a JSON object'):
        Settings.from_block(block)


def test_assignments_read_json_values_and_plain_words() -> None:
    texts = ["search.epochs=50", "search.host=joint", "search.prune=false", "training.freeze_host=null"]

    assert parse_assignments(texts) == {
        "search": {"epochs": 50, "host": "joint", "prune": False},
        "training": {"freeze_host": None},
    }


def test_all_malformed_assignments_are_named_together() -> None:
    wrong = ["search.epochs", "epochs=5", ".epochs=5", "search.=5", ""]

    with pytest.raises(ValueError) as caught:
        parse_assignments(["search.epochs=5", *wrong])

    assert str(wrong) in str(caught.value)


def test_the_list_of_names_holds_all_documented_settings() -> None:
    assert DEFAULTS.keys() < set(setting_names())
