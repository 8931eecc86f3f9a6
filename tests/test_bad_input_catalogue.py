"""The catalogue of bad input still runs: a few of its cases through the real command."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
TRIED = (
    ("plans files", "patch of zero"),
    ("settings", "search.epochs=-1"),
    ("checkpoints", "a pickle that runs a command"),
    ("zoo index", "schema of tomorrow: list"),
    ("archives", ".tar.gz: leads out"),
)


@pytest.fixture
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])


@pytest.mark.usefixtures("_scripts")
def test_some_of_its_cases_are_handled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bad_input
    from bad_input_catalogue import catalogue

    for name in ("raw", "preprocessed", "results"):  # put back afterwards
        monkeypatch.setenv(f"nnUNet_{name}", "")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cases = catalogue(random.Random(0))
    chosen = [case for case in cases if (case.kind, case.name) in TRIED]

    found = [(case, bad_input.try_case(case, world)) for case, world in bad_input._worlds(chosen, tmp_path)]

    assert len(cases) >= 500 and len(found) == len(TRIED)
    assert not [problems for _, problems in found if problems], bad_input.table(found)
    assert "| all | 5 | 5 | 0 |" in bad_input.table(found)
