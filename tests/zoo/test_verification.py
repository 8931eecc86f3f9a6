"""Verification: every fault is found and named, and repair deletes nothing that an entry names."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tiny_zoo import contents, filled, flip

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


def test_a_missing_zoo_is_no_good_zoo(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"zoo\.sqlite"):
        verify(Zoo(tmp_path), repair=True)
