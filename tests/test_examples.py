"""The numbered examples run, and say what they are to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
SAID = {
    "example_1_implant_cells": ["the same logits, bit by bit: True"],
    "example_2_search_cells": ["search.jsonl search_state.pt", "the search ended undecided:"],
    "example_3_supernet_and_zoo": ["the supernet's logits: True", "tensor by tensor: True", "faults: 0"],
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in SCRIPTS.glob("example_*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_and_shows_it(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / f"{name}.py")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert [words for words in SAID[name] if words not in ran.stdout] == [] and list(tmp_path.iterdir()) == []
