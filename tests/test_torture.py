"""The torture harness sees what it looks for: files that are not whole, epochs that are lost, and its own faults."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    path = list(sys.path)
    sys.path.insert(0, str(SCRIPTS))
    yield {name: importlib.import_module(name) for name in ("torture", "torture_faults", "torture_files")}
    sys.path[:] = path


def write_whole(folder: Path) -> list[Path]:
    (folder / "a.json").write_text('{"a": [1, 2]}')
    (folder / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    torch.save({"a": torch.arange(100)}, folder / "a.pth")
    np.savez(folder / "a.npz", a=np.arange(100))
    save_file({"a": np.arange(100)}, folder / "a.safetensors")
    with sqlite3.connect(folder / "a.sqlite") as database:
        database.execute("CREATE TABLE a (b)")
        database.executemany("INSERT INTO a VALUES (?)", [("x" * 100,)] * 200)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / "a.png")
    (folder / "a.nii.gz").write_bytes(gzip.compress(bytes(1000)))
    return sorted(folder.iterdir())


def test_whole_files_are_found_whole_and_cut_ones_are_named(harness: Any, tmp_path: Path) -> None:
    paths = write_whole(tmp_path)
    assert harness["torture_files"].examine(tmp_path) == harness["torture_files"].Findings()

    for path in paths:
        content = path.read_bytes()
        path.write_bytes(
            content.replace(b'{"a": 1}\n', b'{"a"\n') if path.suffix == ".jsonl" else content[: len(content) // 2]
        )
        assert [name.split(":")[0] for name in harness["torture_files"].examine(tmp_path).ours] == [path.name]
        path.write_bytes(content)


def test_what_nnunet_writes_in_place_and_temporary_files_are_counted_apart(harness: Any, tmp_path: Path) -> None:
    (tmp_path / "debug.json").write_text("{")
    (tmp_path / ".state.pt.abc.tmp").write_text("half")

    found = harness["torture_files"].examine(tmp_path)

    assert (found.ours, len(found.of_nnunet), found.leftovers) == ((), 1, (".state.pt.abc.tmp",))


def victim(harness: Any, reached: dict[str, int]) -> Any:
    return harness["torture"].Victim(
        "search", "true", "true", lambda _: {}, progress=lambda _: reached, announced=((r"epoch (\d+)", "search"),)
    )


@pytest.mark.parametrize(("said", "before", "is_lost"), [(3, 0, False), (4, 0, True), (0, 4, True), (3, 3, False)])
def test_an_epoch_that_was_announced_or_there_before_and_is_gone_is_lost(
    harness: Any, tmp_path: Path, said: int, before: int, is_lost: bool
) -> None:
    trial = harness["torture"].Trial(0, "search", "disk full")
    attempt = harness["torture"].Attempt(-9, False, f"epoch {said}\n" * bool(said), True, False, 0, 1, 1.0)

    harness["torture"]._check(trial, victim(harness, {"search": 3}), tmp_path, [attempt], {"search": before})

    assert [what for what, _ in trial.problems] == ["lost"] * is_lost


def test_hanging_runs_processes_left_behind_and_half_files_are_noted(harness: Any, tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text("{")
    trial = harness["torture"].Trial(0, "search", "disk full")
    attempt = harness["torture"].Attempt(-9, False, "", True, True, 2, 1, 1.0)

    harness["torture"]._check(trial, victim(harness, {}), tmp_path, [attempt], {})

    assert sorted(what for what, _ in trial.problems) == ["half-written", "hung", "left behind"]
    assert "| all | 1 | 0 | 0 | 1 | 1 | 1 |" in harness["torture"].markdown([trial])


WRITE = (
    "import os, sys, time; print(time.time())\nfor n in range(4): open(os.path.join(sys.argv[1], str(n)), 'w').close()"
)
WRITE += "\nprint(time.time())"


def hurt(folder: Path, **order: Any) -> subprocess.CompletedProcess[str]:
    (folder / "work").mkdir()
    order |= {"log": str(folder / "log"), "under": str(folder / "work")}
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS / "torture_hook"), "TORTURE": json.dumps(order)}
    words = [sys.executable, "-c", WRITE, str(folder / "work")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_the_hook_kills_at_the_write_that_was_drawn(tmp_path: Path) -> None:
    done = hurt(tmp_path, do="kill", at=3, signal=int(signal.SIGKILL), delay=0.0)

    assert done.returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path / "work")) == ["0", "1"]


def test_the_hook_lets_writes_fail_from_then_on(tmp_path: Path) -> None:
    done = hurt(tmp_path, do="raise", at=2, errno=28)

    assert done.returncode == 1 and "No space left on device" in done.stderr
    assert os.listdir(tmp_path / "work") == ["0"]


def test_the_hook_moves_the_clock(tmp_path: Path) -> None:
    before, after = map(float, hurt(tmp_path, do="clock", at=1, jump=-1e6).stdout.split())

    assert before - after > 9e5
