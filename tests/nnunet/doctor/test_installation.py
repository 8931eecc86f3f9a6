"""Each trap on a machine that has it: folders, variables and programs are fakes, the processes are real."""

from __future__ import annotations

import importlib.metadata
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nnunet_iac.nnunet.doctor import installation
from nnunet_iac.nnunet.doctor.finding import Answer, Machine, ask_python
from nnunet_iac.nnunet.doctor.installation import (
    check_augmentation_processes,
    check_folder,
    check_graphviz,
    check_libraries,
    check_program,
    check_version,
    script_interpreter,
)

REPOSITORY = Path(__file__).parents[3]


def machine(trainers: Path | None = None, python: str = sys.executable, **variables: str) -> Machine:
    return Machine({**os.environ, **variables}, python, trainers)


@pytest.mark.parametrize("version", ["2.8", "2.8.0", "2.8.1", "2.8.12.post1"])
def test_a_version_within_the_range_is_fine(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)

    assert check_version(machine()).ok


@pytest.mark.parametrize("version", ["1.7.0", "2.7.3", "2.9.0", "2.80", "3.8", "unknown"])
def test_a_version_outside_the_range_is_wrong(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)

    finding = check_version(machine())
    assert not finding.ok and version in finding.detail
    assert finding.fix.endswith('-m pip install "nnunetv2>=2.8,<2.9"')


def test_a_missing_nnunetv2_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    assert "not installed" in check_version(machine()).detail


def test_a_torchvision_for_another_torch_is_named_with_both_versions(tmp_path: Path) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    libraries = broken_libraries(tmp_path, torchvision="raise RuntimeError('operator torchvision::nms does not exist')")

    finding = next(f for f in check_libraries(libraries) if not f.ok)
    assert finding.name == "import torchvision" and error in finding.detail
    assert f"torch {importlib.metadata.version('torch')};" in finding.detail
    assert finding.fix.endswith(f'"torch=={importlib.metadata.version("torch")}" torchvision')


def test_a_library_that_kills_the_process_does_not_kill_the_check(tmp_path: Path) -> None:
    libraries = broken_libraries(tmp_path, timm="import os; os.kill(os.getpid(), 11)")

    findings = list(check_libraries(libraries))
    assert [finding.name for finding in findings if finding.ok] == ["import torch", "import torchvision"]
    assert "import timm fails: the process died: the process was killed by signal 11" in findings[-1].detail


def test_only_the_first_of_a_row_of_failures_is_reported(tmp_path: Path) -> None:
    libraries = broken_libraries(tmp_path, torch="raise ImportError('libcudart.so')", timm="import torch")

    wrong = [finding for finding in check_libraries(libraries) if not finding.ok]
    assert [finding.name for finding in wrong] == ["import torch"]


def test_without_any_answer_the_libraries_are_wrong() -> None:
    findings = list(check_libraries(machine(python="/no/such/python")))

    assert findings and not any(finding.ok for finding in findings)


def test_an_unset_folder_is_wrong() -> None:
    finding = check_folder(machine(nnUNet_raw=""), "nnUNet_raw")

    assert (finding.ok, finding.detail) == (False, "not set") and finding.fix.startswith("export nnUNet_raw=")


def test_the_fix_of_a_missing_folder_makes_it(tmp_path: Path) -> None:
    broken = machine(nnUNet_raw=str(tmp_path / "a b" / "raw"))
    finding = check_folder(broken, "nnUNet_raw")

    assert not finding.ok
    subprocess.run(finding.fix, shell=True, check=True)
    assert check_folder(broken, "nnUNet_raw").ok


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "raw").touch()

    assert "is not a folder" in check_folder(machine(nnUNet_raw=str(tmp_path / "raw")), "nnUNet_raw").detail


def test_a_folder_that_cannot_be_written_to_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(dir: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)

    finding = check_folder(machine(nnUNet_results=str(tmp_path)), "nnUNet_results")
    assert not finding.ok and "Read-only file system" in finding.detail and "chmod" in finding.fix


def test_looking_at_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    assert check_folder(machine(nnUNet_results=str(tmp_path)), "nnUNet_results").ok
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["plain", "env", "long"])
def test_the_interpreter_of_a_script_is_read_in_every_form_pip_writes(tmp_path: Path, form: str) -> None:
    (tmp_path / "python9").touch()
    (tmp_path / "python9").chmod(0o755)
    python = str(tmp_path / "python9")
    head = {"plain": f"#!{python}", "env": "#!/usr/bin/env python9", "long": f"#!/bin/sh\n'''exec' \"{python}\" \"$0\""}
    (tmp_path / "script").write_text(head[form] + "\nimport sys\n")

    assert script_interpreter(tmp_path / "script", str(tmp_path)) == python


def test_a_program_that_is_no_script_is_not_judged(tmp_path: Path) -> None:
    program(tmp_path, "\x7fELF")

    assert check_program(machine(PATH=str(tmp_path))).ok


def test_the_program_of_this_environment_is_fine(tmp_path: Path) -> None:
    program(tmp_path, f"#!{sys.executable}\n")

    assert check_program(machine(PATH=str(tmp_path))).ok


def test_the_program_of_another_environment_is_wrong(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "other"], check=True)
    program(tmp_path / "other" / "bin", f"#!{tmp_path / 'other' / 'bin' / 'python'}\n")

    finding = check_program(machine(PATH=str(tmp_path / "other" / "bin")))
    assert not finding.ok and f"belongs to {tmp_path / 'other'}" in finding.detail


def test_a_program_whose_interpreter_is_gone_is_wrong(tmp_path: Path) -> None:
    program(tmp_path, "#!/no/such/python\n")

    assert "/no/such/python" in check_program(machine(PATH=str(tmp_path))).detail


def test_a_missing_program_is_wrong(tmp_path: Path) -> None:
    finding = check_program(machine(PATH=str(tmp_path)))

    assert not finding.ok and finding.detail == "not found on the PATH"


@pytest.mark.parametrize(("value", "advised"), [("0", True), ("1", False)])
def test_zero_augmentation_processes_are_advised_against_but_not_wrong(value: str, advised: bool) -> None:
    finding = check_augmentation_processes(machine(nnUNet_n_proc_DA=value))

    assert finding.ok and bool(finding.fix) == advised


def test_a_missing_dot_is_no_failure(tmp_path: Path) -> None:
    finding = check_graphviz(machine(PATH=str(tmp_path)))

    assert finding.ok and "matplotlib" in finding.detail


def test_a_dangerous_variable_keeps_the_search_from_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "ask_python", lambda *_, **__: Answer("", "not asked"))
    monkeypatch.setattr(installation, "check_discovery", lambda _: pytest.fail("nnU-Net was asked to search"))
    dangerous = machine(tmp_path / "ours", nnUNet_extTrainer=str(tmp_path))

    wrong = [finding.name for finding in installation.check_installation(dangerous) if not finding.ok]
    assert "nnUNet_extTrainer" in wrong


def test_the_checks_import_neither_nnunetv2_nor_torch() -> None:
    script = (
        "import nnunet_iac.nnunet.doctor.installation, sys; print({'torch', 'nnunetv2', 'numpy'} & set(sys.modules))"
    )

    assert ask_python(machine(PYTHONPATH=str(REPOSITORY)), script).output == "set()\n"


def broken_libraries(folder: Path, **sources: str) -> Machine:
    """A machine whose libraries are stand-ins: the given ones break, the others are empty."""
    for name in ("torch", "torchvision", "timm"):
        (folder / f"{name}.py").write_text(sources.get(name, ""))
    return machine(PYTHONPATH=str(folder))


def program(folder: Path, content: str) -> None:
    (folder / "nnUNetv2_train").write_text(content)
    (folder / "nnUNetv2_train").chmod(0o755 | stat.S_IXUSR)
