from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from nnunet_iac import atomic
from nnunet_iac.atomic import replacing, write_bytes, write_json, write_text

WRITERS = {
    "text": (write_text, "new é\n", "new é\n".encode()),
    "bytes": (write_bytes, b"\x00new", b"\x00new"),
    "JSON": (write_json, {"a": [1, None]}, b'{\n    "a": [\n        1,\n        null\n    ]\n}\n'),
}


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(("write", "content", "expected"), WRITERS.values(), ids=WRITERS)
class TestWriters:
    def test_a_new_file_is_written_whole(self, tmp_path, write, content, expected):
        write(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == expected and names(tmp_path) == ["file"]

    def test_an_old_file_is_replaced(self, old, write, content, expected):
        write(str(old), content)
        assert old.read_bytes() == expected and names(old.parent) == ["file"]

    @pytest.mark.parametrize("method", ["write_text", "write_bytes"])
    def test_a_full_disk_leaves_the_old_file_and_no_other(self, old, monkeypatch, method, write, content, expected):
        def full(path, *_, **__):
            with open(path, "wb") as file:
                file.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            write(old, content)
        with open(old, "rb") as file:
            assert file.read() == b"old"
        assert names(old.parent) == ["file"]

    @pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
    def test_so_does_a_failure_of_any_later_step(self, old, monkeypatch, step, write, content, expected):
        def fail(*_, **__):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, step, fail)
        with pytest.raises(OSError, match="Input/output"):
            write(old, content)
        assert old.read_bytes() == b"old" and names(old.parent) == ["file"]

    def test_a_folder_that_is_absent_is_an_error(self, tmp_path, write, content, expected):
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "absent" / "file", content)
        assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_interrupts_the_block_leaves_the_old_file(old, error):
    with pytest.raises(error), replacing(old) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert old.read_bytes() == b"old" and names(old.parent) == ["file"]


def test_until_the_block_ends_a_reader_sees_the_old_file(old):
    with replacing(old) as temporary:
        temporary.write_bytes(b"new")
        assert old.read_bytes() == b"old" and temporary.parent == old.parent and temporary.name.startswith(".")
    assert old.read_bytes() == b"new"


def test_what_json_does_not_know_writes_nothing(old):
    with pytest.raises(TypeError):
        write_json(old, {"a": object()})
    assert old.read_bytes() == b"old" and names(old.parent) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_the_file_gets_the_permissions_of_an_ordinary_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "file", {})
        (tmp_path / "ordinary").write_text("")
        assert os.umask(mask) == mask, "the mask was changed"
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "ordinary")]
    assert modes[0] == modes[1]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    name = "n" * 250
    write_json(tmp_path / name, [1])
    assert json.loads((tmp_path / name).read_text()) == [1]


class TestForgottenFiles:
    """A killed writer's temporary file is removed by the next writer of the same target, a living one's is not."""

    def leave(self, folder: Path, name: str, machine: str | None = None) -> Path:
        path = folder / f".{name}.{machine or atomic._machine()}.abc.tmp"
        path.write_text("half")
        return path

    def test_that_of_a_killed_writer_is_removed(self, old):
        child = os.fork()
        if child == 0:
            with replacing(old) as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(names(old.parent)) == 2

        write_text(old, "new")

        assert names(old.parent) == ["file"] and old.read_text() == "new"

    def test_that_of_a_living_writer_stays(self, old):
        with replacing(old) as first:
            first.write_text("first")
            write_text(old, "second")
            assert first.exists()
        assert old.read_text() == "first" and names(old.parent) == ["file"]

    @pytest.mark.parametrize("is_alone", [True, False])
    def test_what_sqlite_kept_beside_that_of_a_killed_writer_is_removed_too(self, old, is_alone):
        owner = self.leave(old.parent, "file")
        for ending in ("-wal", "-shm", "-journal"):
            owner.with_name(owner.name + ending).write_text("half")
        if is_alone:
            owner.unlink()

        write_text(old, "new")

        assert names(old.parent) == ["file"]

    def test_what_lies_beside_that_of_a_living_writer_stays(self, old):
        with replacing(old) as first:
            beside = first.with_name(f"{first.name}-journal")
            beside.write_text("half")
            write_text(old, "second")
            assert beside.exists()
            beside.unlink()

    def test_those_of_other_targets_stay(self, old):
        other = self.leave(old.parent, "other")

        write_text(old, "new")

        assert other.exists()

    def test_that_of_another_machine_stays_for_an_hour(self, old):
        young, aged = self.leave(old.parent, "file", "cafecafe"), self.leave(old.parent, "file", "beefbeef")
        os.utime(aged, (0, 0))

        write_text(old, "new")

        assert young.exists() and not aged.exists()

    def test_what_cannot_be_removed_does_not_keep_anyone_from_writing(self, old, monkeypatch):
        self.leave(old.parent, "file")
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_remove_unlocked", raising(PermissionError(13, "Permission denied")))
            write_text(old, "new")

        assert old.read_text() == "new" and len(names(old.parent)) == 2

    def test_a_fresh_file_that_was_taken_for_forgotten_is_made_anew(self, old, monkeypatch):
        lock, taken = atomic._lock, []

        def late(handle: int, *, wait: bool) -> bool:
            if wait and not taken:
                taken.extend(old.parent.glob(".file.*.tmp"))
                taken[0].unlink()
            return lock(handle, wait=wait)

        monkeypatch.setattr(atomic, "_lock", late)
        write_text(old, "new")

        assert taken and old.read_text() == "new" and names(old.parent) == ["file"]


def raising(error: Exception):
    def fail(*_, **__):
        raise error

    return fail
