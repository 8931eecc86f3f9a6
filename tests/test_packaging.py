"""What the wheel holds, and that the README and CI say the same."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nnunet_iac.cli.main import COMMANDS as SUBCOMMANDS
from nnunet_iac.cli.main import build_parser
from nnunet_iac.cli.trainers import trainers_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_wheel_holds_trainers_and_type_marker(tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "nnunet_iac", "trainers")
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), f"{_made(source)}/"], check=True)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(source),
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run(build, check=True, capture_output=True)
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {f"nnunet_iac/trainers/{p.name}" for p in (ROOT / "trainers").glob("*.py")}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "nnunet_iac").rglob("*.py")}
    assert expected | modules | {"nnunet_iac/py.typed"} <= held
    assert not any(name.startswith(("tests", "scripts")) for name in held)


def test_trainers_folder_holds_one_class_for_each_file() -> None:
    for path in trainers_folder().glob("nnUNet*.py"):
        found = rf"class {path.stem}\((IAC|Baseline|PretrainedEncoder|Retrieved|Transfer|Auto)Trainer\):"
        assert re.search(found, path.read_text(encoding="utf-8"))


def test_readme_lists_every_trainer() -> None:
    named = set(re.findall(r"`(nnUNetTrainer(?:IAC|Attention|Dense|Pretrained|MedNNS)\w*)`", README))
    assert named == {p.stem for p in (ROOT / "trainers").glob("nnUNet*.py")}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = '--editable ".[test]" && pytest'
    assert f"pip install {command}" in README
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


STUB = """#!/bin/sh
name=$(basename "$0")
echo "$name" >> "{done}"
if [ "$name" = python3 ]; then
    mkdir -p "$3/bin"
    for tool in pip pytest ruff mypy python; do cp "$0" "$3/bin/$tool"; done
fi
[ "$name" != "{failing}" ]
"""
"""Stands for every tool of `.ci/run`: writes down that it ran, and fails if it is the one that is to."""


@pytest.mark.parametrize("failing", ["pip", "pytest", "ruff", "mypy", "python", "nobody"])
def test_ci_stops_at_the_first_thing_that_fails(failing: str, tmp_path: Path) -> None:
    """A failed installation once let it go on to the linter, without a test."""
    done, python = tmp_path / "done", tmp_path / "python3"
    python.write_text(STUB.format(done=done, failing=failing))
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    ran = subprocess.run([str(ROOT / ".ci" / "run")], env=environment, capture_output=True, check=False)
    everything = ["python3", "pip", "pytest", "ruff", "ruff", "mypy", "python", "python", "python"]
    called = done.read_text().split()
    assert (ran.returncode != 0) is (failing != "nobody")
    assert called == (everything[: everything.index(failing) + 1] if failing != "nobody" else everything)


COMMANDS = rf"nnunet-iac (?:{'|'.join(SUBCOMMANDS)})\b[^`#\n&)]*"


@pytest.mark.parametrize("line", re.findall(COMMANDS, README))
def test_readme_commands_parse(line: str) -> None:
    words = line.split()[1:]
    if words == ["configure", "--list"]:
        with pytest.raises(SystemExit) as stopped:
            build_parser().parse_args(words)
        assert stopped.value.code == 0
    else:
        assert build_parser().parse_args(words).command == words[0]


SCRIPTS = re.findall(r"`python\s+scripts/(\w+)\.py([^`]*)`", README)
"""Commands in a pair of backticks, which may be wrapped over lines."""


def test_every_script_that_the_readme_runs_is_found() -> None:
    assert len(SCRIPTS) == len(re.findall(r"python\s+scripts/", README)) > 9


@pytest.mark.parametrize(("name", "words"), SCRIPTS, ids=[name for name, _ in SCRIPTS])
def test_readme_commands_of_scripts_parse(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _parse(name, shlex.split(words), monkeypatch)


@pytest.mark.parametrize("name", sorted({name for name, _ in SCRIPTS}))
def test_an_option_that_a_script_does_not_have_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parse(name, ["--no-such-option"], monkeypatch)


class Parsed(BaseException):
    """Ends a script after its words were understood."""


def _parse(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script read its words, with all that it checks about them, and do nothing else."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module(name)
    parse = getattr(script, "_parse", getattr(script, "_arguments", None))
    if parse is not None:
        parse(words)
        return
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(*arguments: Any) -> None:
        original(*arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(Parsed):
        script.main(words)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
