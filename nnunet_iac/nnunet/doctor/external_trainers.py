"""The checks of ``nnUNet_extTrainer``, the variable through which nnU-Net 2.8 finds our trainers.

nnU-Net walks through the entries (separated by ``os.pathsep``) and imports every module below an entry until one
has a class of the wanted name. An entry must therefore be a folder of trainers and nothing else.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from nnunet_iac.nnunet.doctor.finding import Finding, Machine, ask_python

VARIABLE = "nnUNet_extTrainer"
TRAINER = "nnUNetTrainerIAC"
"""The trainer that is looked for to see whether the discovery works."""

_FIND = f"""
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
found = recursive_find_trainer_class_by_name({TRAINER!r})
print("\\nfile:" + str(getattr(sys.modules.get(found.__module__), "__file__", "")))
"""


def check_external_trainers(machine: Machine) -> Finding:
    """Check that the variable names our folder of trainers, and no entry that is missing or dangerous."""
    if machine.trainers is None:
        detail = "the package nnunet_iac.trainers is not installed (nnunet_iac is only on the path)"
        return Finding(VARIABLE, False, detail, f"{shlex.quote(machine.python)} -m pip install /PATH/TO/nnunet-iac")
    entries = [entry for entry in machine.variables.get(VARIABLE, "").split(os.pathsep) if entry.strip()]
    if not entries:
        return Finding(VARIABLE, False, "not set: nnU-Net cannot find our trainers", _export([]))
    complaints = {entry: complaint for entry in entries if (complaint := _complaint(entry, machine.trainers))}
    kept = [entry for entry in entries if entry not in complaints and not _same(entry, machine.trainers)]
    if complaints:
        detail = "; ".join(f"{entry} {complaint}" for entry, complaint in complaints.items())
        return Finding(VARIABLE, False, detail, _export(kept))
    if not any(_same(entry, machine.trainers) for entry in entries):
        return Finding(VARIABLE, False, f"does not contain {machine.trainers}", _export(kept))
    return Finding(VARIABLE, True, os.pathsep.join(entries))


def check_discovery(machine: Machine) -> Finding:
    """Ask nnU-Net itself, in another process, where it finds our trainer."""
    name = f"find {TRAINER}"
    answer = ask_python(machine, _FIND)
    if answer.failure:
        return Finding(name, False, f"nnU-Net's own search fails: {answer.failure}", _export([]))
    used = re.findall(rf"^Using trainer '{TRAINER}' from: (.*)$", answer.output, re.MULTILINE)
    if not used:
        copy = answer.output.rpartition("\nfile:")[2].strip()
        detail = f"{copy} hides ours: nnU-Net looks into itself first"
        return Finding(name, False, detail, f"rm {shlex.quote(copy)}")
    if machine.trainers is not None and not _same(used[-1], machine.trainers):
        return Finding(name, False, f"found in {used[-1]}, not in {machine.trainers}: it comes first", _export([]))
    return Finding(name, True, f"by nnU-Net, in {used[-1]}")


def _complaint(entry: str, trainers: Path) -> str:
    """Return what is wrong with an entry, in words; empty if nothing is."""
    folder = Path(entry).resolve()
    if not folder.is_dir():
        return "is not a folder" if folder.exists() else "does not exist"
    if folder.name in ("site-packages", "dist-packages"):
        return "is where all packages are installed: nnU-Net would import every one of them, side effects included"
    if folder in trainers.resolve().parents or (folder / "nnunet_iac" / "__init__.py").exists() or _is_package(folder):
        return (
            "is above our folder of trainers: nnU-Net would import everything below it (set-up files, tests) and load "
            "a second copy of nnunet_iac, whose classes are not those of the installed one (isinstance and pickle fail)"
        )
    if not _same(entry, trainers) and (folder / f"{TRAINER}.py").exists():
        return f"holds another copy of our trainers than the installed one, {trainers}"
    return ""


def _is_package(folder: Path) -> bool:
    return folder.name == "nnunet_iac" and (folder / "__init__.py").exists()


def _same(entry: str, folder: Path) -> bool:
    return Path(entry).resolve() == folder.resolve()


def _export(kept: list[str]) -> str:
    return f'export {VARIABLE}="{os.pathsep.join(["$(nnunet-iac trainers)", *kept])}"'
