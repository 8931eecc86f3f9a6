"""What the wheel holds, and that the README and CI say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

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
    assert expected | {"nnunet_iac/py.typed", "nnunet_iac/cells/network.py"} <= held
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


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
