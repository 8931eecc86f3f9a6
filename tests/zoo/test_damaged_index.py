"""A damaged index: one bad byte or cell is one damaged entry, which is named and can be removed; the rest works on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tiny_zoo import about, filled, tensors

from nnunet_iac.cli.main import main
from nnunet_iac.zoo import schema
from nnunet_iac.zoo.entries import COLUMNS
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify

TEXTS = [name for name in COLUMNS if name not in ("dimensions", "channels", "parameters")]


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return filled(tmp_path)


def sql(zoo: Zoo, statement: str) -> None:
    connection = sqlite3.connect(zoo.place.folder / schema.FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def check_that_one_is_damaged_and_goes(zoo: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    """`tiny` is damaged and `cube` is whole; the id that `verify` shows removes it."""
    where = ["--zoo", str(zoo.place.folder)]
    damaged = next(f.where for f in verify(zoo).findings if f.what == "damaged entry")
    assert main(["zoo", "verify", *where]) == 1
    out = capsys.readouterr().out
    assert f"damaged entry: {damaged}: zoo: expected entry {damaged} as it was written" in out and out.isascii()

    assert main(["zoo", "list", *where]) == 2
    assert f"expected entry {damaged} as it was written" in capsys.readouterr().err
    whole = filled(Path(f"{zoo.place.folder}.whole")).entries()[1]
    assert main(["zoo", "show", whole.id, *where]) == 0
    assert main(["zoo", "export", whole.id, "-o", f"{zoo.place.folder}.zip", *where]) == 0
    assert main(["zoo", "remove", damaged, *where]) == 0
    assert f"removed {damaged}\n" in capsys.readouterr().out
    assert Zoo(where[1]).entries() == [e for e in Zoo(where[1]).entries() if e.name == "cube"] != []
    assert verify(zoo).is_fine


@pytest.mark.parametrize("column", TEXTS)
def test_a_text_that_is_not_utf_8_is_one_damaged_entry(
    zoo: Zoo, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = f"CAST(x'c3' || substr(CAST({column} AS BLOB), 2) AS TEXT)"
    sql(zoo, f"UPDATE entries SET {column} = {broken} WHERE dimensions = 2")

    check_that_one_is_damaged_and_goes(zoo, capsys)


@pytest.mark.parametrize("column", ["id", "dataset", "weights", "name"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_flipped_bit_in_the_table_or_the_search_tree(zoo: Zoo, tmp_path: Path, column: str, number: int) -> None:
    entry = zoo.entries()[0]
    path = tmp_path / schema.FILE
    content = bytearray(path.read_bytes())
    text = str(getattr(entry, column)).encode()
    places = [place for place in range(len(content)) if content.startswith(text, place)]
    if number >= len(places):
        pytest.skip("it is stored once")
    content[places[number] + 3] ^= 0x80
    path.write_bytes(bytes(content))

    found = verify(zoo).findings
    assert found and {f.what for f in found} <= {"damaged index", "damaged entry"} | {"orphan weights"}
    identity = next((f.where for f in found if f.what == "damaged entry"), entry.id)
    assert zoo.remove([identity]) == [identity]
    assert verify(zoo).is_fine and [e.name for e in zoo.entries()] == ["cube"]


@pytest.mark.parametrize("cell", ["x'0080ff'", "NULL", "''", "char(27) || '[31m'", "7.5"])
def test_an_id_that_is_no_text_is_shown_and_removed(zoo: Zoo, cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    sql(zoo, f"UPDATE entries SET id = {cell} WHERE dimensions = 2")

    check_that_one_is_damaged_and_goes(zoo, capsys)


def test_a_damaged_search_tree_does_not_hide_weights_that_are_in_use(zoo: Zoo, tmp_path: Path) -> None:
    twin = zoo.add(about(trainer="Other"), tensors()).entry
    path = tmp_path / schema.FILE
    content = path.read_bytes()
    tree = [place for place in range(len(content)) if content.startswith(twin.weights.encode(), place)]
    for place in tree:
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert not verify(zoo, repair=True).is_fine
        assert (tmp_path / "weights" / f"{twin.weights}.safetensors").is_file()


def test_what_sqlite_cannot_read_is_called_damaged_and_only_a_busy_or_full_disk_is_not(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.01)
    holder = sqlite3.connect(tmp_path / schema.FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match=r"database is locked; is another process writing"):
        zoo.add(about(name="new"), tensors(3))
    holder.execute("ROLLBACK")
    holder.close()

    sql(zoo, "ALTER TABLE entries RENAME COLUMN record TO other")
    with pytest.raises(ValueError, match=r"is damaged \(no such column: record\); restore it from an export"):
        zoo.entries()
