"""Imports go one way: cells -> search -> nnunet -> cli, and reports -> cli (DESIGN, section 3)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nnunet_iac"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "trainers").glob("*.py")])

ALLOWED = {
    "cells": {"cells", "atomic"},
    "search": {"cells", "search", "atomic", "json_files", "multiple_testing"},
    "baselines": {"baselines", "cells"},
    "statistics": {"statistics", "multiple_testing"},
    "similarity": {"similarity", "atomic"},
    "robustness": {"robustness"},
    "zoo": {"zoo", "cells", "similarity", "atomic", "json_files"},
    "metaspace": {"metaspace", "zoo", "similarity", "atomic", "markdown"},
    "nnunet": {
        *("cells", "search", "similarity", "robustness", "zoo", "metaspace", "statistics", "nnunet"),
        *("atomic", "json_files", "dataset_names"),
    },
    "reports": {"reports", "cells", "statistics", "atomic", "json_files", "markdown"},
    "trainers": {"nnunet"},
}
"""What each folder may import of the package; ``cli`` and the modules at the top are read below."""

GROUPS = {
    "files": set(),
    "doctor": set(),
    "cases": {"files"},
    "studies": {"files"},
    "training": {"files", "cases"},
    "probe": {"files", "cases", "training"},
    "pretraining": {"files", "cases", "training"},
    "retrieval": {"files", "cases", "training", "probe", "pretraining"},
    "supernets": {"files", "cases", "retrieval"},
    "zoo_entries": {"files", "training", "retrieval"},
    "transfer": {"files", "cases", "training", "retrieval", "supernets", "zoo_entries"},
}
"""What each folder of ``nnunet`` may import of the others there."""

FORBIDDEN = {
    "cells": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "search": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "baselines": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "statistics": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "similarity": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "robustness": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "zoo": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "metaspace": {"nnunetv2", "SimpleITK", "batchgenerators"},
    "reports": {"nnunetv2", "torch"},
    "cli": {"nnunetv2", "torch", "matplotlib", "SimpleITK"},
    ".": {"nnunetv2", "torch"},
}
"""What each folder may not import of others (``cli``: not while it is imported; inside a function it may)."""


def folder_of(path: Path) -> str:
    if path.is_relative_to(ROOT / "trainers"):
        return "trainers"
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "."


def imports(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Dotted names of everything a file imports."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inside_functions:
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: a relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return visit(ast.parse(path.read_text(encoding="utf-8")))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at():
    assert {"cells", "search", "nnunet", "reports", "cli", "trainers", "."} <= {folder_of(path) for path in FILES}
    network = PACKAGE / "cells" / "network.py"
    assert {"torch", "nnunet_iac.cells.genotype.Genotype"} <= set(imports(network))


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p) in ALLOWED], ids=name_of)
def test_arrows_go_one_way(path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("nnunet_iac.")}
    below = {part for part in own if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}
    assert below <= ALLOWED[folder_of(path)]


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p) in FORBIDDEN], ids=name_of)
def test_folders_keep_to_their_libraries(path):
    folder = folder_of(path)
    libraries = {name.split(".")[0] for name in imports(path, inside_functions=folder != "cli")}
    assert not libraries & FORBIDDEN[folder]


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p) not in ("nnunet", "trainers", "cli")], ids=name_of)
def test_only_nnunet_and_trainers_know_nnunet(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "nnunetv2"]


@pytest.mark.parametrize(
    "path", [p for p in FILES if folder_of(p) == "nnunet" and p.parent.name != "nnunet"], ids=name_of
)
def test_arrows_inside_nnunet(path):
    reached = {name.split(".")[2] for name in imports(path) if name.startswith("nnunet_iac.nnunet.")}
    assert reached <= GROUPS[path.parent.name] | {path.parent.name}


def test_the_groups_of_nnunet_have_an_order():
    left = dict(GROUPS)
    while left:
        first = [name for name, below in left.items() if not below & set(left)]
        assert first, f"a circle among {sorted(left)}"
        for name in first:
            del left[name]


def test_nothing_lies_beside_the_groups_of_nnunet():
    found = {path.name for path in (PACKAGE / "nnunet").iterdir() if path.name != "__pycache__"}
    assert found == {"__init__.py", *GROUPS}


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p) == "reports"], ids=name_of)
def test_reports_read_the_genotype_and_nothing_else_of_the_cells(path):
    cells = {name.split(".")[2] for name in imports(path) if name.startswith("nnunet_iac.cells.")}
    assert cells <= {"genotype", "cell_shape"}


@pytest.mark.parametrize("path", [p for p in FILES if folder_of(p) != "cli"], ids=name_of)
def test_nothing_imports_the_command_line(path):
    assert not [name for name in imports(path) if name.startswith("nnunet_iac.cli")]


@pytest.mark.parametrize("module", ["cell_shape", "genotype"])
def test_the_genotype_is_pure_python(module):
    outside = [
        n for n in imports(PACKAGE / "cells" / f"{module}.py") if not n.startswith("nnunet_iac.cells.cell_shape")
    ]
    assert {name.split(".")[0] for name in outside} <= set(sys.stdlib_module_names) | {"__future__"}


IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    for library in ("torch", "nnunetv2", "matplotlib", "SimpleITK") if name.startswith("nnunet_iac.cli") else ():
        assert library not in sys.modules, f"importing {name} imports {library}"
"""


def test_importing_every_module_prints_nothing_and_writes_nothing(tmp_path):
    folders = {key: tmp_path / key for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "cwd")}
    for folder in folders.values():
        folder.mkdir()
    modules = sorted(
        (".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in FILES),
        key=lambda name: (not name.startswith("nnunet_iac.cli"), name),
    )
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules],
        cwd=folders["cwd"],
        env={
            **os.environ,
            **{key: str(folder) for key, folder in folders.items() if key != "cwd"},
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert all(not list(folder.iterdir()) for folder in folders.values())
