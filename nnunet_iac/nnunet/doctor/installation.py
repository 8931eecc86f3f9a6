"""The checks of ``nnunet-iac doctor``: versions, libraries, folders, programs, device.

Nothing here imports nnunetv2 or torch: the checks must speak where those cannot be imported. Versions come from
the packages' metadata, and whatever has to be imported is imported by another process.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nnunet_iac.nnunet.doctor.external_trainers import check_discovery, check_external_trainers
from nnunet_iac.nnunet.doctor.finding import Answer, Finding, Machine, ask_python

SUPPORTED = (2, 8)
"""Major and minor version of nnunetv2 that this package is made for."""

WANTED = f">={SUPPORTED[0]}.{SUPPORTED[1]},<{SUPPORTED[0]}.{SUPPORTED[1] + 1}"

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
LIBRARIES = ("torch", "torchvision", "timm", "dynamic_network_architectures.architectures.primus", "nnunetv2")
"""Imported in this order: the last two need the first three, and the first failure is the cause of the later ones."""

_IMPORT_ALL = """
import importlib, json
for name in {libraries!r}:
    print("\\nIAC" + json.dumps([name, None]), flush=True)
    try:
        importlib.import_module(name)
        error = ""
    except BaseException as reason:
        error = f"{{type(reason).__name__}}: {{reason}}"
    print("\\nIAC" + json.dumps([name, error]), flush=True)
import torch
cuda = torch.cuda.is_available()
print("\\nIAC" + json.dumps(["device", torch.cuda.get_device_name() if cuda else ""]))
"""


def check_installation(machine: Machine) -> Iterator[Finding]:
    """Yield one finding per check, each as soon as it is known (the imports take seconds).

    Args:
        machine: what to look at, usually :meth:`Machine.current`.
    """
    yield check_version(machine)
    yield from check_libraries(machine)
    for variable in FOLDERS:
        yield check_folder(machine, variable)
    external = check_external_trainers(machine)
    yield external
    if external.ok:  # otherwise nnU-Net's search would import what must not be imported
        yield check_discovery(machine)
    yield check_program(machine)
    yield check_augmentation_processes(machine)
    yield check_graphviz(machine)


def check_version(machine: Machine) -> Finding:
    """Check that nnunetv2 is installed in a version this package knows."""
    fix = f'{shlex.quote(machine.python)} -m pip install "nnunetv2{WANTED}"'
    version = _version("nnunetv2")
    if version is None:
        return Finding("nnunetv2", False, f"not installed in the environment of {machine.python}", fix)
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) != SUPPORTED:
        return Finding("nnunetv2", False, f"version {version}, expected {WANTED}: trainers differ between them", fix)
    return Finding("nnunetv2", True, version)


def check_libraries(machine: Machine) -> Iterator[Finding]:
    """Check that the libraries below nnU-Net can be imported, in another process; then name the device.

    nnU-Net's search for a trainer imports all its own trainers, one of which needs
    dynamic_network_architectures' Primus, hence timm, hence torchvision: a torchvision built for another torch
    ends in a message about trainers.
    """
    answer = ask_python(machine, _IMPORT_ALL.format(libraries=LIBRARIES))
    results = dict(_results(answer))
    broken = [(name, error) for name, error in results.items() if name != "device" and error != ""]
    for name in LIBRARIES:
        if results.get(name) == "":
            yield Finding(f"import {name}", True, _version(name.partition(".")[0]) or "without metadata")
    if broken:
        name, error = broken[0]
        yield _broken_library(machine, name, error or f"the process died: {answer.failure}")
    if "device" in results:
        yield Finding("device", True, f"cuda: {results['device']}" if results["device"] else _NO_CUDA)
    elif not broken:
        yield Finding(
            "device",
            False,
            f"asking torch for it fails: {answer.failure}",
            f"{machine.python} -m torch.utils.collect_env",
        )


_NO_CUDA = "no cuda: add -device cpu to nnUNetv2_train and nnUNetv2_predict"


def check_folder(machine: Machine, variable: str) -> Finding:
    """Check that one of nnU-Net's three variables names a folder that can be written to."""
    value = machine.variables.get(variable, "")
    if not value:
        return Finding(variable, False, "not set", f"export {variable}=/PATH/TO/{variable}")
    if not Path(value).exists():
        return Finding(variable, False, f"{value} does not exist", f"mkdir -p {shlex.quote(value)}")
    if not Path(value).is_dir():
        return Finding(variable, False, f"{value} is not a folder", f"export {variable}=/PATH/TO/{variable}")
    try:
        with tempfile.TemporaryFile(dir=value):
            pass
    except OSError as error:
        return Finding(variable, False, f"{value} cannot be written to: {error.strerror}", _writable(variable, value))
    return Finding(variable, True, value if Path(value).is_absolute() else f"{value}, relative to where you are")


def check_program(machine: Machine) -> Finding:
    """Check that the ``nnUNetv2_train`` a shell would start belongs to the environment of this Python.

    A script names its interpreter in the first line; interpreters are compared by their ``sys.prefix``.
    """
    beside = Path(machine.python).parent
    path = machine.variables.get("PATH", "")
    fix = f'export PATH={shlex.quote(str(beside))}:"$PATH"'
    if not (beside / "nnUNetv2_train").exists():
        fix = f"{shlex.quote(machine.python)} -m pip install --force-reinstall --no-deps nnunetv2"
    program = shutil.which("nnUNetv2_train", path=path)
    if program is None:
        return Finding("nnUNetv2_train", False, "not found on the PATH", fix)
    interpreter = script_interpreter(Path(program), path)
    if interpreter is None:
        return Finding("nnUNetv2_train", True, f"{program}, which is no script: cannot tell its environment")
    question = "print(sys.prefix)"
    theirs, ours = (ask_python(machine, question, python=python) for python in (interpreter, machine.python))
    if theirs.failure:
        return Finding("nnUNetv2_train", False, f"{program} starts {interpreter}: {theirs.failure}", fix)
    if theirs.output != ours.output:
        where = f"{program} belongs to {theirs.output.strip()}, nnunet-iac to {ours.output.strip()}"
        return Finding("nnUNetv2_train", False, f"another nnunetv2 is on the PATH: {where}", fix)
    return Finding("nnUNetv2_train", True, program)


def check_augmentation_processes(machine: Machine) -> Finding:
    """Advise against planning with ``nnUNet_n_proc_DA=0``, which is fine for training."""
    value = machine.variables.get("nnUNet_n_proc_DA")
    if value == "0":
        detail = "0: fine for training, but planning crashes (set_num_threads expects a positive integer)"
        return Finding("nnUNet_n_proc_DA", True, detail, "nnUNet_n_proc_DA=1 nnUNetv2_plan_and_preprocess …")
    return Finding("nnUNet_n_proc_DA", True, "not set: nnU-Net chooses" if value is None else value)


def check_graphviz(machine: Machine) -> Finding:
    """Say whether the report draws genotypes with graphviz."""
    program = shutil.which("dot", path=machine.variables.get("PATH", ""))
    return Finding("dot (graphviz)", True, program or "not found: reports draw genotypes with matplotlib instead")


def script_interpreter(script: Path, path: str) -> str | None:
    """Return the Python that starts a console script, or None if the file is no script.

    Understood: ``#!/path/python``, ``#!/usr/bin/env python`` (looked up on ``path``), and the two-line form that pip
    writes for long or spaced paths, ``#!/bin/sh`` followed by ``'''exec' "/path/python" …``.
    """
    with script.open("rb") as stream:
        first, second = stream.readline().decode(errors="replace"), stream.readline().decode(errors="replace")
    if not first.startswith("#!"):
        return None
    words = first[2:].split()
    if Path(words[0]).name == "env":
        command = next(word for word in words[1:] if not word.startswith("-"))
        return shutil.which(command, path=path) or command
    if Path(words[0]).name == "sh" and second.startswith("'''exec'"):
        return shlex.split(second[len("'''exec'") :])[0]
    return first[2:].strip() if "python" in first else words[0]


def _results(answer: Answer) -> Iterator[tuple[str, str | None]]:
    for line in answer.output.splitlines():
        if line.startswith("IAC"):
            name, error = json.loads(line[3:])
            yield name, error


def _broken_library(machine: Machine, name: str, error: str) -> Finding:
    torch, vision = _version("torch"), _version("torchvision")
    pip = f"{shlex.quote(machine.python)} -m pip install"
    detail = f"import {name} fails: {error}"
    if torch is None:
        return Finding(f"import {name}", False, detail, f"{pip} torch torchvision")
    if name == "torch":
        return Finding(f"import {name}", False, detail, f"{pip} --force-reinstall torch torchvision")
    if vision is not None and (name == "torchvision" or "torchvision" in error):
        needs = ", ".join(r for r in importlib.metadata.requires("torchvision") or [] if re.match(r"torch\b", r))
        detail += f" (torch {torch}; torchvision {vision} wants {needs or 'another'}; both must come from one index)"
    if name == "torchvision" or "torchvision" in error:
        return Finding(f"import {name}", False, detail, f'{pip} --upgrade "torch=={torch}" torchvision')
    package = name.partition(".")[0]
    requirement = f'"nnunetv2{WANTED}"' if package == "nnunetv2" else package.replace("_", "-")
    again = "" if _version(package) is None else "--force-reinstall --no-deps "
    return Finding(f"import {name}", False, detail, f"{pip} {again}{requirement}")


def _writable(variable: str, value: str) -> str:
    return f"chmod u+rwx {shlex.quote(value)}  # or: export {variable}=/A/FOLDER/OF/YOURS"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
