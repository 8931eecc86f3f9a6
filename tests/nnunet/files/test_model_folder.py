"""What folds share: one genotype, one plans file, two locks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.model_folder import locked, store_genotype, store_plans, stored_genotype
from nnunet_iac.nnunet.files.plans import with_genotype

GENOTYPE = Genotype.random(seed=2)


def test_there_is_none_in_an_empty_folder(tmp_path: Path) -> None:
    assert stored_genotype(tmp_path, "2d") is None


def test_a_stored_genotype_is_found(tmp_path: Path) -> None:
    store_genotype(tmp_path, "2d", GENOTYPE)

    assert stored_genotype(tmp_path, "2d") == GENOTYPE


def test_a_model_from_elsewhere_has_it_in_its_plans(tmp_path: Path, stock_plans: dict[str, Any]) -> None:
    store_plans(tmp_path, stock_plans)
    assert stored_genotype(tmp_path, "2d") is None

    store_plans(tmp_path, with_genotype(stock_plans, "2d", GENOTYPE))
    assert stored_genotype(tmp_path, "2d") == GENOTYPE


def test_nothing_is_written_where_nothing_was_found(tmp_path: Path) -> None:
    store_genotype(tmp_path, "2d", None)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"3d_fullres": GENOTYPE.to_dict()})])
def test_a_damaged_file_or_one_of_another_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "genotype.json").write_text(content)

    with pytest.raises(ValueError, match=r"genotype\.json: expected the genotype of 2d"):
        stored_genotype(tmp_path, "2d")


def test_who_finds_the_lock_taken_says_so_and_waits(tmp_path: Path) -> None:
    messages: list[str] = []
    said = threading.Event()
    order: list[str] = []

    def log(text: str) -> None:
        messages.append(text)
        said.set()

    def second() -> None:
        with locked(tmp_path, "search.lock", log, "Waiting for the fold that searches"):
            order.append("second")

    with locked(tmp_path, "search.lock", pytest.fail, "never said"):
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(20)
        order.append("first")
    thread.join(20)

    assert order == ["first", "second"] and messages == ["Waiting for the fold that searches (0 min so far)"]


def test_a_process_that_dies_leaves_no_lock_behind(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\nfrom filelock import FileLock\nFileLock(sys.argv[1]).acquire(timeout=0)\nos._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "search.lock")]).returncode == 9

    with locked(tmp_path, "search.lock", pytest.fail, "the lock is still held"):
        assert (tmp_path / "search.lock").exists()


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path, "search.lock", print, ""):
        raise KeyError

    with locked(tmp_path, "search.lock", pytest.fail, "the lock is still held"):
        pass
