"""The store: what goes in comes out, equal weights once, damage is named, newer schemas are refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo import about, contents, filled, flip, tensors

from nnunet_iac.json_files import DEEPEST
from nnunet_iac.zoo import entries, schema, weights_files
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Score
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return filled(tmp_path / "zoo")


def weights_of(zoo: Zoo, start: str = "") -> Path:
    entry = zoo.entry(start) if start else zoo.entries()[0]
    assert zoo.place.folder is not None
    return zoo.place.folder / weights_files.weights_name(entry.weights)


def sql(zoo: Zoo, statement: str) -> None:
    connection = sqlite3.connect(zoo.place.folder / schema.FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_goes_in_comes_out_in_its_type(zoo: Zoo) -> None:
    first, second = zoo.entries()

    assert (first.name, first.dimensions, first.parameters) == ("tiny", 2, 11)
    assert (second.name, second.dimensions, second.channels) == ("cube", 3, ("CT",))
    assert first.scores == about().scores and first.plans == about().plans and first.licence == "CC-BY-4.0"
    found = zoo.read_weights(first)
    assert all(torch.equal(found[name], value) for name, value in tensors().items())
    assert {name: value.dtype for name, value in found.items()} == {n: v.dtype for n, v in tensors().items()}


def test_equal_weights_are_stored_once_and_bytes_depend_on_nothing_else(zoo: Zoo, tmp_path: Path) -> None:
    reversed_order = dict(reversed(tensors().items()))
    other = zoo.add(about(trainer="Other"), reversed_order).entry

    assert other.weights == zoo.entries()[0].weights and len(zoo.entries()) == 3
    assert len(list((tmp_path / "zoo" / "weights").iterdir())) == 2


def test_tensors_that_share_memory_or_lie_elsewhere_are_stored_each(zoo: Zoo) -> None:
    memory = torch.arange(6.0)
    entry = zoo.add(about(name="x"), {"all": memory, "part": memory[::2], "turned": memory.view(2, 3).T}).entry

    found = zoo.read_weights(entry)
    assert found["part"].tolist() == [0, 2, 4] and found["turned"].shape == (3, 2)


@pytest.mark.parametrize(
    "bad", [{}, {"a": [1]}, {"a": torch.eye(2).to_sparse()}, {"a": torch.ones(1, device="meta")}], ids=str
)
def test_what_is_no_dense_tensor_is_refused_and_nothing_is_written(zoo: Zoo, tmp_path: Path, bad: Any) -> None:
    before = contents(tmp_path)

    with pytest.raises(ValueError, match="weights: expected"):
        zoo.add(about(name="bad"), bad)
    assert contents(tmp_path) == before


def nested(depth: int) -> dict[str, Any]:
    """An object with so many lists and objects inside each other."""
    value: Any = [1]
    for _ in range(depth - 2):
        value = [value]
    return {"a": value}


def test_the_deepest_entry_that_can_be_read_back_is_stored_and_a_deeper_one_is_refused(
    zoo: Zoo, tmp_path: Path
) -> None:
    deepest = zoo.add(about(facts=nested(DEEPEST - 1)), tensors(3)).entry
    assert zoo.entry(deepest.id) == deepest
    before = contents(tmp_path)

    for name in ("plans", "dataset_json", "provenance", "facts"):
        for depth in (DEEPEST, 5000):
            with pytest.raises(ValueError, match=f"entry: {name}: expected what JSON can hold, got .*nests"):
                zoo.add(about(**{name: nested(depth)}), tensors(4))
    assert contents(tmp_path) == before


def test_an_entry_that_would_not_be_read_back_is_not_written(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ValueError("no")

    before = contents(tmp_path)
    monkeypatch.setattr(entries, "parse_json", refuse)
    with pytest.raises(ValueError, match=r"entry [0-9a-f]{16}: expected one that can be read back, .*\(no\)"):
        zoo.add(about(), tensors(4))
    assert contents(tmp_path) == before


def test_the_same_network_twice_is_one_entry_and_replace_takes_over_the_scores(zoo: Zoo) -> None:
    better = about(scores=(Score("Dice", 0.9, "5 cases"),))

    assert [zoo.add(better, tensors()).what, zoo.add(better, tensors(), replace=True).what] == ["kept", "replaced"]
    assert [s.value for s in zoo.entries()[0].scores] == [0.9] and len(zoo.entries()) == 2


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(dimensions=3), ["cube"]),
        (Query(channels=2), ["tiny"]),
        (Query(dimensions=3, channels=2), []),
        (Query(dataset="Dataset991_Other"), ["cube"]),
        (Query(dataset="990"), ["tiny"]),
        (Query(dataset="Dataset99"), []),
        (Query(kind="supernet"), []),
        (Query(), ["tiny", "cube"]),
    ],
)
def test_entries_are_found_by_dimensions_channels_and_data_set(zoo: Zoo, query: Query, names: list[str]) -> None:
    assert [entry.name for entry in zoo.entries(query)] == names


def test_an_entry_is_found_by_the_start_of_its_id(zoo: Zoo) -> None:
    first = zoo.entries()[0]

    assert zoo.entry(first.id[:6]) == first
    for start in ("", "zzz"):
        with pytest.raises(ValueError, match=rf"'{start}' is that of 0; there are .*\((tiny|cube)\)"):
            zoo.entry(start)


def test_an_empty_zoo_says_how_to_fill_it(tmp_path: Path) -> None:
    zoo = Zoo.create(tmp_path)

    assert zoo.entries() == []
    with pytest.raises(ValueError, match=r"the zoo is empty: nnunet-iac zoo add"):
        zoo.entry("ab")


def test_a_missing_zoo_is_named_and_not_made_by_looking(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "none", "there is no such folder"), (tmp_path, "it has no zoo.sqlite")):
        with pytest.raises(FileNotFoundError, match=message):
            Zoo(folder).entries()
        with pytest.raises(FileNotFoundError, match=message):
            Zoo(folder).add(about(), tensors())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_made_a_zoo(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(ValueError, match=r"holds other things \(thesis\.tex\)"):
        Zoo.create(tmp_path)
    assert not (tmp_path / schema.FILE).exists()


def test_removing_deletes_weights_that_nobody_else_names(zoo: Zoo) -> None:
    twin = zoo.add(about(trainer="Other"), tensors()).entry
    first, path = next(e for e in zoo.entries() if e.trainer != "Other" and e.name == "tiny"), weights_of(zoo, twin.id)

    zoo.remove([first.id])
    assert path.is_file() and [e.name for e in zoo.entries()] == ["tiny", "cube"]
    zoo.remove([twin.id[:8]])
    assert not path.exists()
    with pytest.raises(ValueError, match="id: expected the start"):
        zoo.remove([zoo.entries()[0].id, twin.id])
    assert len(zoo.entries()) == 1


class TestDamage:
    @pytest.mark.parametrize("weights", ["'../../victim'", "'victim'", "'{}/victim'", "NULL", "x'00ff'", "7", "''"])
    def test_removing_a_row_whose_weights_are_no_hash_deletes_the_row_only(
        self, zoo: Zoo, tmp_path: Path, weights: str
    ) -> None:
        victims = [tmp_path / "victim.safetensors", tmp_path / "zoo" / "weights" / "victim.safetensors"]
        for victim in victims:
            victim.touch()
        identity = zoo.entries()[0].id
        sql(zoo, "CREATE TABLE t AS SELECT * FROM entries")  # without its NOT NULL
        sql(zoo, "DROP TABLE entries")
        sql(zoo, "ALTER TABLE t RENAME TO entries")
        sql(zoo, f"UPDATE entries SET weights = {weights.format(tmp_path)} WHERE id = '{identity}'")
        before = contents(tmp_path / "zoo" / "weights")

        assert [finding.where for finding in verify(zoo).findings if finding.is_fault] == [identity]
        zoo.remove([identity])

        assert all(victim.is_file() for victim in victims) and contents(tmp_path / "zoo" / "weights") == before
        assert verify(zoo).is_fine and [entry.name for entry in zoo.entries()] == ["cube"]

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "A" * 64, "0" * 64 + "\n", b"0" * 64, None])
    def test_weights_are_named_by_a_hash_only(self, name: Any) -> None:
        with pytest.raises(ValueError, match="weights: expected a SHA-256 of 64 digits"):
            weights_files.weights_name(name)

    def test_one_flipped_bit_of_weights_is_named(self, zoo: Zoo) -> None:
        path = weights_of(zoo)
        flip(path)

        with pytest.raises(ValueError, match=rf"got [0-9a-f]{{64}} in .*{path.name}; the file is corrupt"):
            zoo.read_weights(zoo.entries()[0])

    @pytest.mark.parametrize("content", [b"", b"x" * 4000])
    def test_a_file_of_another_size_is_named(self, zoo: Zoo, content: bytes) -> None:
        weights_of(zoo).write_bytes(content)

        with pytest.raises(ValueError, match="the file is corrupt"):
            zoo.read_weights(zoo.entries()[0])

    def test_adding_the_network_again_heals_its_file(self, zoo: Zoo) -> None:
        flip(weights_of(zoo))

        assert zoo.add(about(), tensors()).what == "kept"
        assert zoo.read_weights(zoo.entries()[0])["steps"] == 7

    def test_a_missing_file_is_named(self, zoo: Zoo) -> None:
        weights_of(zoo).unlink()

        with pytest.raises(FileNotFoundError, match=r"expected weights/[0-9a-f]{64}\.safetensors of entry"):
            zoo.read_weights(zoo.entries()[0])

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE entries SET record = replace(record, '0.75', '0.95') WHERE name = 'tiny'",
            "UPDATE entries SET dimensions = 3 WHERE name = 'tiny'",
        ],
    )
    def test_a_changed_row_is_named_and_can_be_removed(self, zoo: Zoo, change: str) -> None:
        identity = zoo.entries()[0].id
        sql(zoo, change)

        with pytest.raises(ValueError, match=rf"entry {identity} as it was written, its row is damaged"):
            zoo.entries()
        zoo.remove([identity])
        assert [entry.name for entry in zoo.entries()] == ["cube"]

    @pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 2000])
    def test_a_damaged_index_is_named_and_left_alone(self, zoo: Zoo, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "zoo" / schema.FILE
        path.write_bytes(content)

        for action in (zoo.entries, lambda: zoo.add(about(), tensors(3))):
            with pytest.raises(ValueError, match=r"zoo: expected .*zoo\.sqlite"):
                action()
        assert path.read_bytes() == content

    def test_another_sqlite_file_is_not_taken_for_a_zoo(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / schema.FILE)
        connection.execute("CREATE TABLE entries (id)")
        connection.close()

        with pytest.raises(ValueError, match="expected an index of nnunet-iac"):
            Zoo(tmp_path).entries()


class TestSchema:
    def test_a_newer_schema_is_refused_with_the_remedy(self, zoo: Zoo, tmp_path: Path) -> None:
        sql(zoo, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
        before = contents(tmp_path)

        for action in (
            zoo.entries,
            lambda: zoo.add(about(), tensors(3)),
            lambda: Zoo.create(tmp_path / "zoo").entries(),
        ):
            with pytest.raises(ValueError, match=r"written by a newer nnunet-iac: install that version"):
                action()
        assert contents(tmp_path) == before

    def test_an_older_schema_is_migrated_and_keeps_its_entries(self, zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = zoo.entries()
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE entries ADD COLUMN x TEXT",)))

        assert zoo.entries() == expected
        sql(zoo, "UPDATE entries SET x = 'there'")

    def test_a_migration_that_fails_changes_nothing(self, zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = zoo.entries()
        steps = ("ALTER TABLE entries ADD COLUMN x TEXT", "CREATE TABLE entries (id)")
        with monkeypatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, steps))
            with pytest.raises(OSError, match="already exists"):
                zoo.entries()

        assert zoo.entries() == expected
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            sql(zoo, "UPDATE entries SET x = 'there'")


def test_a_full_disk_leaves_what_was_there(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(tmp_path)
    for module, name in ((weights_files, "write_bytes"), (entries, "insert")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space left"):
                zoo.add(about(name="new"), tensors(3))
        assert contents(tmp_path) == before


def test_nothing_in_a_zoo_is_a_pickle(zoo: Zoo, tmp_path: Path) -> None:
    content = weights_of(zoo).read_bytes()

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert set(header) == set(tensors())
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".sqlite", ".safetensors", ".lock"}
