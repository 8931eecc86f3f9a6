"""Reading where nothing can be written: read-only folders and URLs; the index is whole, weights come on demand."""

from __future__ import annotations

import lzma
import os
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

import fsspec
import pytest
from tiny_zoo import about, contents, filled, flip, tensors

from nnunet_iac.zoo import places, schema
from nnunet_iac.zoo.exchange import export_zoo
from nnunet_iac.zoo.places import FolderPlace
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


@pytest.fixture
def url(tmp_path: Path) -> str:
    filled(tmp_path / "zoo")
    return (tmp_path / "zoo").as_uri()


def test_a_url_reads_as_the_folder_does(url: str, tmp_path: Path) -> None:
    zoo, same = Zoo(url), Zoo(tmp_path / "zoo")

    assert zoo.entries() == same.entries() and zoo.entry(same.entries()[0].id) == same.entries()[0]
    assert all(zoo.read_weights_file(e) == same.read_weights_file(e) for e in same.entries())
    assert verify(zoo).is_fine


def test_an_archive_is_read_without_unpacking_it(url: str, tmp_path: Path) -> None:
    export_zoo(Zoo(url), tmp_path / "zoo.zip")

    zoo = Zoo(f"zip://::{(tmp_path / 'zoo.zip').as_uri()}")

    assert [zoo.read_weights(entry)["steps"].item() for entry in zoo.entries()] == [7, 7]


def test_weights_are_fetched_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    filled(tmp_path / "zoo")
    memory = fsspec.filesystem("memory")
    for name, content in contents(tmp_path / "zoo").items():
        memory.pipe(f"/shelf/{name}", content)
    opened = []
    original = type(memory).open
    monkeypatch.setattr(
        type(memory), "open", lambda self, path, *a, **k: opened.append(path) or original(self, path, *a)
    )
    zoo = Zoo("memory://shelf")

    entry = zoo.entries()[0]
    assert opened == ["/shelf/zoo.sqlite"]
    zoo.read_weights(entry)
    assert opened[1:] == [f"/shelf/weights/{entry.weights}.safetensors"]
    memory.rm("/shelf", recursive=True)


def test_tampered_weights_at_a_url_are_named(url: str, tmp_path: Path) -> None:
    entry = Zoo(url).entries()[0]
    flip(tmp_path / "zoo" / "weights" / f"{entry.weights}.safetensors")

    with pytest.raises(ValueError, match=rf"file://.*{entry.weights}.*tampered"):
        Zoo(url).read_weights(entry)


def test_a_url_is_not_written_to(url: str, tmp_path: Path) -> None:
    before = contents(tmp_path)
    zoo = Zoo(url)

    for action in (
        lambda: zoo.add(about(), tensors()),
        lambda: zoo.remove(["a"]),
        lambda: verify(zoo, repair=True),
        lambda: Zoo.create(url),
    ):
        with pytest.raises(ValueError, match="expected a folder to write to"):
            action()
    assert contents(tmp_path) == before


def test_urls_that_lead_nowhere_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"found no zoo\.sqlite in file://"):
        Zoo(tmp_path.as_uri()).entries()
    with pytest.raises(ValueError, match="expected a URL that fsspec reads, got 'nowhere://zoo'"):
        Zoo("nowhere://zoo")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ValueError, match="pip install fsspec"):
        Zoo("https://example.org/zoo")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\5\6" + bytes(18), b"\x1f\x8b\x08", b"\xfd7zXZ\0\xff\xff"])
@pytest.mark.parametrize(("protocol", "ending"), [("zip", "zip"), ("tar", "tar.gz"), ("tar", "tar.xz"), ("tar", "tar")])
def test_a_damaged_archive_at_a_url_is_named(tmp_path: Path, content: bytes, protocol: str, ending: str) -> None:
    path = tmp_path / f"zoo.{ending}"
    path.write_bytes(content)

    with pytest.raises((ValueError, OSError), match=rf"zoo: expected .*{protocol}://::{path.as_uri()}"):
        Zoo(f"{protocol}://::{path.as_uri()}").entries()


def test_what_a_protocol_raises_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, expected in (
        (lzma.LZMAError("corrupt"), ValueError),
        (struct.error("short"), ValueError),
        (FileNotFoundError(2, "No such file or directory"), FileNotFoundError),
        (PermissionError(13, "Permission denied"), OSError),
    ):

        def broken(url: str, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("fsspec.core.url_to_fs", broken)
        with pytest.raises(expected, match=r"zoo: expected .*zip://::https://x/zoo\.zip"):
            Zoo("zip://::https://x/zoo.zip")


def test_an_archive_that_fsspec_does_not_read_is_to_be_imported(url: str, tmp_path: Path) -> None:
    export_zoo(Zoo(url), tmp_path / "new.tgz")

    for given in (tmp_path / "new.tgz", (tmp_path / "new.tgz").as_uri()):
        with pytest.raises(OSError, match=r"; for an archive fetch it and .* nnunet-iac zoo import$"):
            Zoo(given).entries()


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "ZIP"])
def test_an_archive_given_as_a_folder_is_told_from_one(url: str, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"new.{ending}"
    export_zoo(Zoo(url), path)
    protocol = "zip" if ending.lower() == "zip" else "tar"

    with pytest.raises(OSError, match=rf"; for an archive give {protocol}://::{path.as_uri()}$"):
        Zoo(path.as_uri()).entries()
    with pytest.raises(FileNotFoundError, match=rf"it is a file; for an archive give {protocol}://::{path.as_uri()}$"):
        Zoo(path).entries()
    assert Zoo(f"{protocol}://::{path.as_uri()}").entries() == Zoo(url).entries()


def test_a_damaged_index_at_a_url_names_the_url(url: str, tmp_path: Path) -> None:
    (tmp_path / "zoo" / schema.FILE).write_bytes(b"no database" * 100)

    with pytest.raises(ValueError, match=rf"zoo\.sqlite of {url} is damaged"):
        Zoo(url).entries()


@pytest.mark.parametrize("words", ["disk I/O error", "database or disk is full", "unable to open database file"])
def test_where_the_disk_has_no_room_for_sqlite_the_index_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    zoo = filled(tmp_path / "zoo")
    connect = schema._connect

    def full(path: Path) -> sqlite3.Connection:
        if path.is_relative_to(tmp_path):
            raise sqlite3.OperationalError(words)
        return connect(path)

    before = contents(tmp_path)
    monkeypatch.setattr(schema, "_connect", full)

    assert len(zoo.entries()) == 2 and verify(zoo).is_fine and contents(tmp_path) == before
    with pytest.raises(OSError, match=words):
        zoo.add(about(), tensors())


def test_a_copy_that_the_disk_has_no_room_for_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    zoo = Zoo(tmp_path.as_uri())
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"zoo: expected room for a copy of zoo\.sqlite.*No space left.*TMPDIR"):
        zoo.entries()


class TestReadOnlyFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A zoo in a folder that `os.access` calls read only (modes would not keep root from writing)."""
        filled(tmp_path)
        monkeypatch.setattr(places.os, "access", lambda *_: False)
        return tmp_path

    def test_it_is_read_and_nothing_is_written(self, folder: Path) -> None:
        before = contents(folder)

        assert len(Zoo(folder).entries()) == 2 and verify(Zoo(folder)).is_fine
        assert contents(folder) == before

    def test_what_a_killed_writer_had_committed_to_the_log_only_is_read(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        copy.mkdir()
        writer = sqlite3.connect(folder / schema.FILE)
        writer.execute("DELETE FROM entries WHERE name = 'cube'")
        writer.commit()
        for name in (schema.FILE, schema.WAL):
            shutil.copy(folder / name, copy)
        writer.close()
        (copy / schema.WAL).rename(copy / "aside")
        assert [entry.name for entry in Zoo(copy).entries()] == ["tiny", "cube"], "not in the file itself"
        (copy / "aside").rename(copy / schema.WAL)

        assert [entry.name for entry in Zoo(copy).entries()] == ["tiny"]

    def test_an_index_that_keeps_changing_is_not_copied(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FolderPlace, "stamp", lambda *_: os.urandom(8))
        monkeypatch.setattr(places.time, "sleep", lambda _: None)

        with pytest.raises(OSError, match=r"expected zoo\.sqlite to stand still"):
            Zoo(folder).entries()

    def test_an_older_schema_is_migrated_in_the_copy(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = contents(folder)
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE entries ADD COLUMN x TEXT",)))

        assert len(Zoo(folder).entries()) == 2
        assert contents(folder) == before
