"""A licence that somebody gave, and a name, are not lost because the next one who adds does not say them again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tiny_zoo import about, filled, tensors

from nnunet_iac.zoo.entry import Score
from nnunet_iac.zoo.exchange import export_zoo, import_zoo
from nnunet_iac.zoo.licences import with_licence
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Added, Zoo

BETTER = (Score("Dice", 0.9, "5 cases"),)


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return filled(tmp_path / "zoo")


def named(zoo: Zoo, name: str) -> Added:
    return Added(next(entry for entry in zoo.entries() if entry.name == name), "kept")


def test_replacing_keeps_a_licence_that_is_not_said_again(zoo: Zoo) -> None:
    added = zoo.add(about(licence=None, scores=BETTER), tensors(), replace=True)

    assert added.what == "replaced" and added.entry == zoo.entry(added.entry.id)
    assert (added.entry.licence, added.entry.scores) == ("CC-BY-4.0", BETTER)


def test_replacing_takes_another_licence_over(zoo: Zoo) -> None:
    assert zoo.add(about(licence="CC0-1.0"), tensors(), replace=True).entry.licence == "CC0-1.0"


@pytest.mark.parametrize(("keep_name", "expected"), [(True, "tiny"), (False, "default")])
def test_replacing_keeps_the_name_where_it_is_asked_to(zoo: Zoo, keep_name: bool, expected: str) -> None:
    added = zoo.add(about(name="default", scores=BETTER), tensors(), replace=True, keep_name=keep_name)

    assert (added.entry.name, added.entry.scores) == (expected, BETTER)
    assert zoo.entry(added.entry.id).name == expected


def test_a_new_entry_has_its_own_name_and_licence(zoo: Zoo) -> None:
    entry = zoo.add(about(name="new", licence=None), tensors(3), replace=True, keep_name=True).entry

    assert (entry.name, entry.licence) == ("new", None)


def test_of_a_damaged_entry_nothing_is_kept(zoo: Zoo, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "zoo" / FILE)
    connection.execute("UPDATE entries SET record = replace(record, 'CC-BY-4.0', 'forged') WHERE name = 'tiny'")
    connection.commit()
    connection.close()

    assert zoo.add(about(licence=None), tensors(), replace=True).entry.licence is None
    assert [entry.licence for entry in zoo.entries()] == [None, None]


def test_imports_and_exports_that_replace_keep_it_too(zoo: Zoo, tmp_path: Path) -> None:
    silent = Zoo.create(tmp_path / "silent")
    silent.add(about(licence=None, scores=BETTER), tensors())

    import_zoo(tmp_path / "zoo", tmp_path / "silent", replace=True)
    assert next((e.licence, e.scores) for e in zoo.entries()) == ("CC-BY-4.0", BETTER)
    export_zoo(silent, tmp_path / "zoo")
    assert zoo.entries()[0].licence == "CC-BY-4.0"


def test_a_licence_is_set_where_there_is_none(zoo: Zoo) -> None:
    added = with_licence(zoo, named(zoo, "cube"), "CC0-1.0")

    assert (added.what, added.entry.licence) == ("licensed", "CC0-1.0")
    assert zoo.entry(added.entry.id) == added.entry
    assert zoo.read_weights(added.entry)["steps"] == 7


def test_a_licence_that_is_there_is_left_alone(zoo: Zoo) -> None:
    before = zoo.entries()

    assert with_licence(zoo, named(zoo, "tiny"), "CC0-1.0") == named(zoo, "tiny")
    assert with_licence(zoo, named(zoo, "cube"), None) == named(zoo, "cube")
    assert zoo.entries() == before


def test_what_is_no_licence_is_refused(zoo: Zoo) -> None:
    with pytest.raises(ValueError, match="licence: expected text or None"):
        with_licence(zoo, named(zoo, "cube"), " ")
