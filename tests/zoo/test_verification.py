"""Verification: every fault is found and named, and repair deletes nothing that an entry names."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import contents, filled, flip, forge

from nnunet_iac.zoo import schema
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return filled(tmp_path)


def weights(folder: Path, zoo: Zoo, number: int = 0) -> Path:
    return folder / "weights" / f"{zoo.entries()[number].weights}.safetensors"


def test_a_good_zoo_is_fine(zoo: Zoo) -> None:
    found = verify(zoo)

    assert found.is_fine and found.findings == () and (found.entries, found.files) == (2, 2)
    assert json.loads(json.dumps(found.to_dict()))["is_fine"] is True


def test_all_faults_are_found_and_repair_removes_leftovers_only(zoo: Zoo, tmp_path: Path) -> None:
    damaged, missing = weights(tmp_path, zoo), weights(tmp_path, zoo, 1)
    flip(damaged)
    missing.unlink()
    (tmp_path / "weights" / f"{'ab' * 32}.safetensors").write_bytes(b"orphan")
    (tmp_path / "weights" / ".abc.safetensors.x.tmp").write_bytes(b"half")
    (tmp_path / ".zoo.sqlite.x.tmp-wal").touch()
    (tmp_path / "README.txt").write_text("a user's own")
    expected = ["corrupt weights", "missing weights", "orphan weights", "leftover", "leftover"]

    first = verify(zoo)
    assert [f.what for f in first.findings] == expected and not any(f.removed for f in first.findings)
    repaired = verify(zoo, repair=True)
    assert [f.what for f in repaired.findings if f.removed] == expected[2:] and not repaired.is_fine
    assert [f.what for f in verify(zoo).findings] == expected[:2]
    assert damaged.is_file() and (tmp_path / "README.txt").is_file() and len(zoo.entries()) == 2
    assert damaged.name in first.findings[0].where and missing.name in first.findings[1].where


def test_where_rows_are_damaged_repair_deletes_nothing(zoo: Zoo, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / schema.FILE)
    connection.execute(f"UPDATE entries SET weights = '{'cd' * 32}' WHERE name = 'tiny'")
    connection.commit()
    connection.close()
    before = contents(tmp_path)

    found = verify(zoo, repair=True)

    assert [f.what for f in found.findings] == ["damaged entry", "orphan weights"] and not found.is_fine
    assert contents(tmp_path) == before


def test_a_flipped_bit_of_the_index_is_noticed_or_harmless(zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / schema.FILE
    whole, expected = path.read_bytes(), zoo.entries()
    record = whole.index(b'"plans_name"')
    named = (3, 19, 63, 71, record, record + 200, whole.index(b"CREATE TABLE"))
    for place in (*named, *range(100, len(whole), 5003)):
        path.write_bytes(whole)
        flip(path, place)
        try:
            is_noticed = not verify(zoo).is_fine
        except (ValueError, OSError) as error:
            is_noticed = "zoo" in str(error)
        assert is_noticed or (place not in named and zoo.entries() == expected), place


def test_what_cannot_be_read_is_a_fault_and_the_others_are_looked_at(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, locked = weights(tmp_path, zoo), weights(tmp_path, zoo, 1)
    folder.unlink()
    folder.mkdir()
    opened = Path.open

    def refused(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)  # modes would not keep root from reading

    found = verify(zoo)
    assert [f.what for f in found.findings] == ["unreadable weights"] * 2 and not found.is_fine
    assert [Path(f.where).name for f in found.findings] == [folder.name, locked.name]
    assert "Is a directory" in found.findings[0].detail and "Permission denied" in found.findings[1].detail
    assert (found.entries, found.files) == (2, 0)
    for entry in zoo.entries():
        with pytest.raises(OSError, match=rf"weights: expected to read weights/{entry.weights}\.safetensors of entry"):
            zoo.read_weights(entry)


def test_what_cannot_be_removed_is_said_and_the_others_are(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "weights" / f"{'0' * 64}.safetensors").mkdir()
    (tmp_path / "weights" / f"{'1' * 64}.safetensors").touch()

    found = verify(zoo, repair=True).findings
    assert [(f.what, f.removed) for f in found] == [("orphan weights", False), ("orphan weights", True)]
    assert "no entry names it; it could not be removed: " in found[0].detail


def test_only_files_that_were_read_count_as_hashed(zoo: Zoo, tmp_path: Path) -> None:
    weights(tmp_path, zoo).unlink()
    flip(weights(tmp_path, zoo, 1))

    assert verify(zoo).files == 1


@pytest.mark.parametrize("size", [10**20, 1 << 50, 10**400])
@pytest.mark.parametrize("name", ["weights_bytes", "parameters"])
def test_a_size_that_no_weights_have_is_a_damaged_entry(zoo: Zoo, tmp_path: Path, name: str, size: int) -> None:
    entry = zoo.entries()[0]
    forge(tmp_path, entry.id, **{name: size})

    assert [(f.what, f.where) for f in verify(zoo).findings] == [("damaged entry", entry.id)]


def test_a_size_that_the_file_has_not_is_read_without_room_for_it(zoo: Zoo, tmp_path: Path) -> None:
    entry = zoo.entries()[0]
    forge(tmp_path, entry.id, weights_bytes=1 << 40)
    tracemalloc.start()

    assert zoo.read_weights(zoo.entry(entry.id))["steps"] == 7 and verify(zoo).is_fine
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_missing_zoo_is_no_good_zoo(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"zoo\.sqlite"):
        verify(Zoo(tmp_path), repair=True)
