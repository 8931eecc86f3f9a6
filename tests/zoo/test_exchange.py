"""Export and import: nothing is lost on the way, and an archive from elsewhere can do nothing but hold a zoo."""

from __future__ import annotations

import io
import re
import sqlite3
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_zoo import about, contents, filled, flip, tensors

from nnunet_iac.zoo import archives
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.exchange import export_zoo, import_zoo
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Added, Zoo
from nnunet_iac.zoo.verification import verify

NAMES = ("zoo.zip", "zoo.tar.gz", "zoo.tgz", "folder")


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return filled(tmp_path / "zoo")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_imported_as_it_was(zoo: Zoo, tmp_path: Path, name: str) -> None:
    assert len(export_zoo(zoo, tmp_path / name)) == 2

    assert [one.what for one in import_zoo(tmp_path / "other", tmp_path / name)] == ["added"] * 2
    other = Zoo(tmp_path / "other")
    assert other.entries() == zoo.entries() and verify(other).findings == ()
    assert [one.what for one in import_zoo(tmp_path / "other", tmp_path / name)] == ["kept"] * 2


@pytest.mark.parametrize("name", NAMES)
def test_chosen_entries_only(zoo: Zoo, tmp_path: Path, name: str) -> None:
    first = zoo.entries()[0]
    export_zoo(zoo, tmp_path / name, [first.id[:5], first.id])

    import_zoo(tmp_path / "other", tmp_path / name)

    assert Zoo(tmp_path / "other").entries() == [first]


def test_an_exported_folder_is_a_zoo_that_takes_more(zoo: Zoo, tmp_path: Path) -> None:
    first, second = zoo.entries()
    for entry in (first, second):
        export_zoo(zoo, tmp_path / "folder", [entry.id])

    assert Zoo(tmp_path / "folder").entries() == [first, second]


def test_import_replaces_only_if_it_is_asked_to(zoo: Zoo, tmp_path: Path) -> None:
    mine = Zoo.create(tmp_path / "mine")
    mine.add(about(licence=None), tensors())

    import_zoo(tmp_path / "mine", tmp_path / "zoo")
    assert mine.entries()[0].licence is None
    import_zoo(tmp_path / "mine", tmp_path / "zoo", replace=True)
    assert mine.entries() == zoo.entries()


def test_nothing_is_made_for_what_is_not_there(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "taken.zip").touch()
    before = contents(tmp_path)
    for action, error in (
        (lambda: export_zoo(Zoo(tmp_path / "none"), tmp_path / "x.zip"), FileNotFoundError),
        (lambda: export_zoo(zoo, tmp_path / "x", ["zzz"]), ValueError),
        (lambda: export_zoo(zoo, tmp_path / "taken.zip"), FileExistsError),
        (lambda: export_zoo(zoo, tmp_path / "none" / "x.zip"), FileNotFoundError),
        (lambda: import_zoo(tmp_path / "other", tmp_path / "none"), FileNotFoundError),
        (lambda: import_zoo(tmp_path / "other", tmp_path / "taken.zip"), ValueError),
        (lambda: import_zoo(tmp_path / "other", tmp_path / "zoo", ["zzz"]), ValueError),
    ):
        with pytest.raises(error):
            action()
    assert contents(tmp_path) == before and not (tmp_path / "other").exists()


def test_corrupt_weights_are_neither_exported_nor_imported(zoo: Zoo, tmp_path: Path) -> None:
    flip(tmp_path / "zoo" / "weights" / f"{zoo.entries()[1].weights}.safetensors")

    with pytest.raises(ValueError, match="the file is corrupt"):
        export_zoo(zoo, tmp_path / "x.zip")
    with pytest.raises(ValueError, match="the file is corrupt"):
        import_zoo(tmp_path / "other", tmp_path / "zoo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "zoo"], "no archive, nothing temporary"
    assert [entry.name for entry in Zoo(tmp_path / "other").entries()] == ["tiny"]


def many(folder: Path) -> Zoo:
    """A zoo with four entries, by number."""
    zoo = Zoo.create(folder)
    for number in range(4):
        zoo.add(about(name=str(number)), tensors(number))
    return zoo


def damage(zoo: Zoo, folder: Path, *, weights: int, row: int) -> list[Entry]:
    """Damage the weights of one entry and the row of another; return all of them as they were."""
    found = zoo.entries()
    flip(folder / "weights" / f"{found[weights].weights}.safetensors")
    connection = sqlite3.connect(folder / FILE)
    connection.execute("UPDATE entries SET trainer = 'forged' WHERE id = ?", (found[row].id,))
    connection.commit()
    connection.close()
    return found


@pytest.mark.parametrize("is_import", [True, False])
def test_what_is_wrong_with_some_entries_is_listed_and_the_others_are_copied(tmp_path: Path, is_import: bool) -> None:
    zoo, heard = many(tmp_path / "zoo"), list[Added]()
    zero, one, two, three = damage(zoo, tmp_path / "zoo", weights=0, row=2)

    with pytest.raises(ValueError) as raised:
        if is_import:
            import_zoo(tmp_path / "other", tmp_path / "zoo", listener=heard.append)
        else:
            export_zoo(zoo, tmp_path / "other", listener=heard.append)

    first, *lines = str(raised.value).splitlines()
    assert first.endswith(f"2 could not be copied, the other 2 are in {tmp_path / 'other'}:") and "4 whole" in first
    assert len(lines) == 2 and f"entry {two.id} as it was written" in lines[0]
    assert lines[1].startswith(f"{zero.id} ({zero.name}): weights: expected") and "corrupt" in lines[1]
    assert [added.entry for added in heard] == Zoo(tmp_path / "other").entries() == [one, three]


def test_nothing_is_made_if_no_entry_is_whole(tmp_path: Path) -> None:
    zoo = many(tmp_path / "zoo")
    others = zoo.entries()[2:]
    zoo.remove([entry.id for entry in others])
    damage(zoo, tmp_path / "zoo", weights=0, row=1)

    for action in (
        lambda: import_zoo(tmp_path / "other", tmp_path / "zoo"),
        lambda: export_zoo(zoo, tmp_path / "other"),
        lambda: export_zoo(zoo, tmp_path / "other.zip"),
    ):
        with pytest.raises(ValueError, match=r"could not be copied, nothing was written:\n"):
            action()
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


@pytest.mark.parametrize("name", NAMES[:3])
def test_an_archive_is_whole_or_not_there(tmp_path: Path, name: str) -> None:
    zoo, heard = many(tmp_path / "zoo"), list[Added]()
    last = sorted(zoo.entries(), key=lambda entry: entry.weights)[-1]
    flip(tmp_path / "zoo" / "weights" / f"{last.weights}.safetensors")

    with pytest.raises(ValueError, match=rf"{last.id} \({last.name}\): .*corrupt.*; no archive was written"):
        export_zoo(zoo, tmp_path / name, listener=heard.append)
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"] and heard == []


def test_one_who_waits_too_long_for_the_target_does_not_wait_again(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def wait(*_: object, **__: object) -> None:
        calls.append(1)
        raise TimeoutError("held")

    monkeypatch.setattr(Zoo, "add_entry", wait)
    with pytest.raises(TimeoutError, match="held"):
        import_zoo(tmp_path / "other", tmp_path / "zoo")
    assert len(calls) == 1


def test_what_is_wrong_with_the_target_is_said_once(zoo: Zoo, tmp_path: Path) -> None:
    Zoo.create(tmp_path / "newer")
    connection = sqlite3.connect(tmp_path / "newer" / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(ValueError, match="written by a newer nnunet-iac") as raised:
        import_zoo(tmp_path / "newer", tmp_path / "zoo")
    assert "could not be copied" not in str(raised.value)


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_two_archives_of_one_zoo_are_the_same_bytes_whenever_and_whoever_wrote_them(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    export_zoo(zoo, tmp_path / f"a.{ending}")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    export_zoo(zoo, tmp_path / f"b.{ending}")
    ids = [entry.id for entry in reversed(zoo.entries())]
    export_zoo(zoo, tmp_path / f"c.{ending}", ids)

    first, *others = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
    assert [other == first for other in others] == [True, True]


def test_headers_hold_no_name_and_no_time(zoo: Zoo, tmp_path: Path) -> None:
    export_zoo(zoo, tmp_path / "a.tar.gz")
    export_zoo(zoo, tmp_path / "a.zip")

    header = (tmp_path / "a.tar.gz").read_bytes()[:10]
    assert header[3] == 0 and header[4:8] == bytes(4), "no flags, so no name; no time"
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        known = {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in archive}
        assert known == {(0, 0, "", "", 0, 0o644)} and all(not m.pax_headers for m in archive)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert {m.date_time for m in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not any(m.extra or m.comment for m in packed.infolist()) and packed.comment == b""


def rewritten(archive: Path, member: Callable[[tarfile.TarFile], None]) -> Path:
    """The archive with one more member."""
    target = archive.with_name("more.tar.gz")
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for item in old:
            new.addfile(item, old.extractfile(item))
        member(new)
    return target


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.size, item.linkname = kind, size, link
    return item


GOOD = f"weights/{'ab' * 32}.safetensors"


class TestHostileTars:
    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (tar_member("../outside"), r"names inside the zoo, got '\.\./outside'"),
            (tar_member("weights/../../outside"), "names inside the zoo"),
            (tar_member("/etc/outside"), "names inside the zoo"),
            (tar_member(GOOD, tarfile.SYMTYPE, link="/etc/passwd"), "is a link, a device"),
            (tar_member(GOOD, tarfile.LNKTYPE, link="zoo.sqlite"), "is a link, a device"),
            (tar_member(GOOD, tarfile.CHRTYPE), "is a link, a device"),
            (tar_member(GOOD, tarfile.FIFOTYPE), "is a link, a device"),
            (tar_member(GOOD, tarfile.GNUTYPE_SPARSE), "is a link, a device|damaged"),
            (tar_member("evil.py"), r"got 'evil\.py'"),
            (tar_member("weights/evil.pth"), r"got 'weights/evil\.pth'"),
            (tar_member("zoo.sqlite"), "each file once"),
            (tar_member(GOOD), "differs at weights/abab"),
        ],
        ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else None,
    )
    def test_what_a_zoo_has_not_is_refused(self, zoo: Zoo, tmp_path: Path, item: tarfile.TarInfo, message: str) -> None:
        export_zoo(zoo, tmp_path / "zoo.tar.gz")
        archive = rewritten(tmp_path / "zoo.tar.gz", lambda new: new.addfile(item, io.BytesIO()))

        with pytest.raises(ValueError, match=message):
            import_zoo(tmp_path / "a" / "other", archive)
        assert not (tmp_path / "a").exists() and not (tmp_path / "outside").exists()

    def test_a_bomb_is_stopped_before_it_unpacks(
        self, zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archives, "FREE", 1 << 18)
        export_zoo(zoo, tmp_path / "zoo.tar.gz")
        size = 8 << 20
        bomb = rewritten(
            tmp_path / "zoo.tar.gz", lambda new: new.addfile(tar_member(GOOD, size=size), io.BytesIO(bytes(size)))
        )
        assert size > 100 * bomb.stat().st_size

        with pytest.raises(ValueError, match="at most 100 times its"):
            archives.unpack(bomb, tmp_path / "out")
        assert sum(map(len, contents(tmp_path / "out").values())) < 1 << 18

    def test_a_header_that_asks_for_much_is_on_the_budget_too(
        self, zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archives, "FREE", 1 << 18)
        export_zoo(zoo, tmp_path / "zoo.tar.gz")
        item = tar_member("x" * (1 << 21))
        archive = rewritten(tmp_path / "zoo.tar.gz", lambda new: new.addfile(item))

        with pytest.raises(ValueError, match="at most 100 times its"):
            archives.unpack(archive, tmp_path / "out")


def zip_member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    item = zipfile.ZipInfo(name)
    item.external_attr, item.create_system = mode << 16, 3
    item.compress_type = zipfile.ZIP_DEFLATED
    return item


class TestHostileZips:
    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (zip_member("../outside"), "names inside the zoo"),
            (zip_member("/outside"), "names inside the zoo"),
            (zip_member("C:outside"), "names inside the zoo"),
            (zip_member(GOOD, stat.S_IFLNK | 0o777), "is a link, a device"),
            (zip_member(GOOD, stat.S_IFIFO), "is a link, a device"),
            (zip_member("weights/deeper/", stat.S_IFDIR), "got 'weights/deeper/'"),
            (zip_member("evil.py"), r"got 'evil\.py'"),
            (zip_member(GOOD), "differs at weights/abab"),
        ],
        ids=lambda value: value.filename if isinstance(value, zipfile.ZipInfo) else None,
    )
    def test_what_a_zoo_has_not_is_refused(self, zoo: Zoo, tmp_path: Path, item: zipfile.ZipInfo, message: str) -> None:
        export_zoo(zoo, tmp_path / "zoo.zip")
        with zipfile.ZipFile(tmp_path / "zoo.zip", "a") as archive:
            archive.writestr(item, b"")

        with pytest.raises(ValueError, match=message):
            import_zoo(tmp_path / "a" / "other", tmp_path / "zoo.zip")
        assert not (tmp_path / "a").exists() and not (tmp_path / "outside").exists()

    def test_a_bomb_is_stopped_before_it_unpacks(
        self, zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archives, "FREE", 1 << 18)
        export_zoo(zoo, tmp_path / "zoo.zip")
        with zipfile.ZipFile(tmp_path / "zoo.zip", "a") as archive:
            archive.writestr(zip_member(GOOD), bytes(8 << 20))

        with pytest.raises(ValueError, match="at most 100 times its"):
            archives.unpack(tmp_path / "zoo.zip", tmp_path / "out")
        assert sum(map(len, contents(tmp_path / "out").values())) < 1 << 18


@pytest.mark.parametrize("name", ["zoo.zip", "zoo.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_named_and_nothing_is_imported(
    zoo: Zoo, tmp_path: Path, name: str, share: float
) -> None:
    path = tmp_path / name
    export_zoo(zoo, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    with pytest.raises(ValueError, match=r"archive: expected"):
        import_zoo(tmp_path / "other", path)
    assert not (tmp_path / "other").exists()


def with_broken_method(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("zoo.sqlite", bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(bytes(content))


def with_seek_before_the_start(path: Path) -> None:
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    content[end + 16 : end + 20] = b"\xff\xff\xff\x7f"  # where its list of names is said to begin
    path.write_bytes(bytes(content))


def with_a_name_that_is_no_text(path: Path) -> None:
    content = path.read_bytes().replace(b"zoo.sqlite", b"zoo.\xffqlite")
    place = content.rindex(b"PK\1\2") if b"\xff" in content[content.rindex(b"PK\1\2") :] else content.index(b"PK\1\2")
    flags = bytearray(content)
    flags[place + 9] |= 8  # says that the name is UTF-8
    path.write_bytes(bytes(flags))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: with_broken_method(path, zipfile.ZIP_LZMA),
        lambda path: with_broken_method(path, zipfile.ZIP_BZIP2),
        with_seek_before_the_start,
        with_a_name_that_is_no_text,
    ],
)
def test_an_archive_damaged_in_any_way_is_named(zoo: Zoo, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "zoo.zip"
    export_zoo(zoo, path)
    damage(path)

    with pytest.raises(ValueError, match=rf"archive: expected .*{path}.* is damaged"):
        import_zoo(tmp_path / "other", path)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (struct.error("unpack requires"), "is damaged"),
        (ValueError("invalid literal for int()"), "is damaged"),
        (MemoryError(), "is damaged"),
        (OSError(28, "No space left on device"), r"archive: expected to write to .*No space left"),
    ],
)
def test_what_a_reader_of_archives_raises_is_said_in_words(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def broken(*_: object) -> None:
        raise error

    export_zoo(zoo, tmp_path / "zoo.zip")
    monkeypatch.setattr(archives, "_zip_members", broken)

    with pytest.raises((ValueError, OSError), match=message):
        import_zoo(tmp_path / "other", tmp_path / "zoo.zip")


@pytest.mark.parametrize("name", ["zoo.zip", "zoo.tar.gz"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET trainer = 'x'",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 1",
        "DROP TABLE entries",
    ],
)
def test_what_is_wrong_with_the_index_of_an_archive_names_the_archive(
    zoo: Zoo, tmp_path: Path, name: str, statement: str
) -> None:
    connection = sqlite3.connect(tmp_path / "zoo" / "zoo.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    files = [path for path in (tmp_path / "zoo").rglob("*") if path.suffix in (".sqlite", ".safetensors")]
    members = [(path.relative_to(tmp_path / "zoo").as_posix(), path.read_bytes()) for path in sorted(files)]
    archives.pack(members, tmp_path / name)

    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))) as caught:
        import_zoo(tmp_path / "other", tmp_path / name)
    assert tempfile.gettempdir() not in str(caught.value).replace(str(tmp_path), "")


def test_an_archive_without_an_index_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(GOOD, b"")

    with pytest.raises(ValueError, match=r"holds no zoo\.sqlite"):
        import_zoo(tmp_path / "other", tmp_path / "x.zip")
