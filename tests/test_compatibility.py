"""What setup.py promises, .ci/oldest.txt pins and the code needs are the same; CI's cells answer to their names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "compatibility"
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
REQUIREMENT = re.compile(r'"([A-Za-z0-9-]+)>=([0-9.]+)[^"]*"')
NAMES = {"PIL": "pillow", "ot": "pot"}
"""Modules that are called otherwise than their distribution."""
LAZY = {"fsspec"}
"""Modules that are used where they are there (a zoo at a URL); torch brings them."""


def requirements() -> dict[str, str]:
    """Lower bounds in setup.py."""
    return {name.lower(): bound for name, bound in REQUIREMENT.findall(SETUP)}


def pins() -> dict[str, str]:
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    return {name.lower(): version for name, version in (line.split("==") for line in lines if "==" in line)}


def test_the_oldest_set_pins_the_lower_bound_of_every_requirement() -> None:
    def numbers(version: str) -> list[int]:
        found = [int(part) for part in version.split(".")]
        return found[: max(place for place, part in enumerate(found, 1) if part)]

    bounds = requirements()
    assert bounds.keys() == pins().keys() and len(bounds) > 15
    assert {name: numbers(bound) for name, bound in bounds.items()} == {n: numbers(v) for n, v in pins().items()}


def test_every_import_of_the_package_is_a_requirement() -> None:
    found = set()
    for path in (*(ROOT / "nnunet_iac").rglob("*.py"), *(ROOT / "trainers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    others = found - set(sys.stdlib_module_names) - {"nnunet_iac"} - LAZY
    assert {NAMES.get(name, name).lower().replace("_", "-") for name in others} <= requirements().keys()


@pytest.mark.parametrize("folder", ["nnunet_iac", "trainers", "tests", "scripts"])
def test_the_code_parses_as_python_3_10(folder: str) -> None:
    assert 'python_requires=">=3.10"' in SETUP
    for path in (ROOT / folder).rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 10))


def compatibility(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where no interpreter can be found."""
    environment = {"PATH": str(path), "HOME": str(path)}
    return subprocess.run(["/bin/bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True)


def test_cells_are_listed(tmp_path: Path) -> None:
    cells = compatibility("--list", path=tmp_path).stdout.split()
    assert cells[:4] == ["oldest", "newest", "nnunet-2.8.0", "nnunet-2.8.1"]
    assert cells[4:] == [f"python-3.{minor}" for minor in (10, 11, 12, 13)]


@pytest.mark.parametrize("cell", ["python-3.10", "python-3.13"])
def test_a_cell_whose_interpreter_is_missing_says_so_and_is_neither_passed_nor_failed(
    cell: str, tmp_path: Path
) -> None:
    done = compatibility(cell, path=tmp_path)
    assert (done.returncode, done.stdout) == (77, f"{cell.replace('-', '')}: not on this machine, not run\n")


def test_a_cell_of_another_name_is_an_error(tmp_path: Path) -> None:
    done = compatibility("python-2.7", path=tmp_path)
    assert done.returncode == 2 and "expected one of oldest newest" in done.stderr


def test_the_tests_that_cells_run_exist() -> None:
    block = re.search(r"^TESTS=\((.*?)^\)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    for word in block[1].replace('"', "").split():
        name, _, test = word.partition("::")
        assert (ROOT / name).exists() and test in ((ROOT / name).read_text(encoding="utf-8") if test else "")
