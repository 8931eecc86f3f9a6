"""Writing to a zoo's folder: what must not be written over is refused, and why nothing can be written is said."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import about, contents, filled, tensors

from nnunet_iac.zoo import schema
from nnunet_iac.zoo.exchange import export_zoo
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify
from nnunet_iac.zoo.writers import LOCK


class TestLostIndex:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A zoo whose index was lost."""
        filled(tmp_path / "zoo")
        (tmp_path / "zoo" / schema.FILE).unlink()
        return tmp_path / "zoo"

    def test_no_new_index_is_made_beside_weights(self, folder: Path) -> None:
        before = contents(folder)

        with pytest.raises(ValueError, match=r"holds weights .*restore zoo\.sqlite, .*export, .*move the folder away"):
            Zoo.create(folder)
        assert contents(folder) == before

    def test_who_reads_or_adds_is_told_that_it_is_lost(self, folder: Path) -> None:
        zoo = Zoo(folder)
        for action in (zoo.entries, lambda: zoo.add(about(), tensors()), lambda: verify(zoo, repair=True)):
            with pytest.raises(FileNotFoundError, match=r"has no zoo\.sqlite but holds weights.*restore zoo"):
                action()

    def test_a_folder_that_a_killed_maker_left_is_vacant(self, tmp_path: Path) -> None:
        (tmp_path / "weights").mkdir()
        (tmp_path / "zoo.lock").touch()

        assert Zoo.create(tmp_path).entries() == []


def refuse(number: int) -> Callable[..., Any]:
    def raising(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "there")

    return raising


class TestWhyNothingCanBeWritten:
    @pytest.mark.parametrize("name", ["file", "file/zoo"])
    def test_a_file_in_the_way_of_the_folder(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(
            OSError, match=rf"zoo: expected to write to {tmp_path / name}, got .*; a file is in the way"
        ):
            Zoo.create(tmp_path / name)

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [
            (errno.EACCES, "give a folder that you may write to"),
            (errno.EROFS, "give a folder that you may write to"),
            (errno.ENOSPC, "make room there"),
            (errno.EIO, "see whether the disk works"),
        ],
    )
    def test_the_lock_or_the_weights_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
    ) -> None:
        zoo = filled(tmp_path)
        before = contents(tmp_path)
        message = rf"zoo: expected to write to {tmp_path}, got {os.strerror(number)} \(there\); .*{remedy}"
        for target in ("writers.os.open", "weights_files.write_bytes"):
            with monkeypatch.context() as patch:
                patch.setattr(f"nnunet_iac.zoo.{target}", refuse(number))
                with pytest.raises(OSError, match=message):
                    zoo.add(about(name="new"), tensors(3))
        with monkeypatch.context() as patch:
            patch.setattr("nnunet_iac.zoo.store.create_database", refuse(number))
            with pytest.raises(OSError, match=rf"zoo: expected to write to {tmp_path}-new, got"):
                Zoo.create(f"{tmp_path}-new")
        assert contents(tmp_path) == before

    @pytest.mark.parametrize("name", ["x.zip", "x"])
    def test_the_export_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        zoo = filled(tmp_path / "zoo")
        monkeypatch.setattr("nnunet_iac.zoo.weights_files.write_bytes", refuse(errno.ENOSPC))
        monkeypatch.setattr("nnunet_iac.zoo.archives.replacing", refuse(errno.ENOSPC))

        with pytest.raises(OSError, match=r"expected to write to .*, got No space left on device .*; make room there"):
            export_zoo(zoo, tmp_path / name)

    def test_weights_that_cannot_be_deleted_are_orphans_of_an_entry_that_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zoo = filled(tmp_path)
        first, second = zoo.entries()
        with monkeypatch.context() as patch:
            patch.setattr("nnunet_iac.zoo.weights_files.remove", refuse(errno.EACCES))
            assert zoo.remove([first.id]) == [first.id]

        assert zoo.entries() == [second] and [f.what for f in verify(zoo).findings] == ["orphan weights"]


class TestLockFile:
    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        zoo = filled(tmp_path / "zoo")
        lock = tmp_path / "zoo" / LOCK
        lock.unlink(missing_ok=True)
        victim = tmp_path / "thesis.tex"
        victim.write_text("a year's work")
        for target in (victim, tmp_path / "none"):
            lock.symlink_to(target)
            for action in (lambda: zoo.add(about(), tensors()), lambda: Zoo.create(tmp_path / "zoo").remove(["a"])):
                with pytest.raises(ValueError, match=r"zoo\.lock is a link, .*; delete it"):
                    action()
            lock.unlink()
        assert victim.read_text() == "a year's work" and not (tmp_path / "none").exists()

    @pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
    @pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o077, 0o600), (0o022, 0o644)])
    def test_its_mode_follows_the_umask(self, tmp_path: Path, mask: int, mode: int) -> None:
        before = os.umask(mask)
        try:
            Zoo.create(tmp_path)
        finally:
            os.umask(before)
        for _ in range(2):
            filled(tmp_path)  # under another umask
            assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == mode
