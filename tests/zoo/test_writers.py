"""Writing to a zoo's folder: what must not be written over is refused, and why nothing can be written is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_zoo import about, contents, filled, tensors

from nnunet_iac.zoo import schema
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


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
