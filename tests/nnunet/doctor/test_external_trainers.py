"""The traps of nnUNet_extTrainer, in fake folders; nnU-Net's own search is the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nnunet_iac.nnunet.doctor import external_trainers
from nnunet_iac.nnunet.doctor.external_trainers import TRAINER, check_discovery, check_external_trainers
from nnunet_iac.nnunet.doctor.finding import Answer, Machine


def machine(trainers: Path | None, **variables: str) -> Machine:
    return Machine({**os.environ, **variables}, sys.executable, trainers)


@pytest.fixture
def trainers(tmp_path: Path) -> Path:
    """A folder with a trainer that nnU-Net can really find and import."""
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / f"{TRAINER}.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        f"class {TRAINER}(nnUNetTrainer): ...\n"
    )
    return folder


def test_our_folder_among_others_is_fine(trainers: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    value = os.pathsep.join([str(tmp_path / "theirs"), str(trainers)])

    assert check_external_trainers(machine(trainers, nnUNet_extTrainer=value)).ok


@pytest.mark.parametrize("value", ["", os.pathsep])
def test_an_unset_variable_is_wrong(trainers: Path, value: str) -> None:
    finding = check_external_trainers(machine(trainers, nnUNet_extTrainer=value))

    assert not finding.ok and finding.fix == 'export nnUNet_extTrainer="$(nnunet-iac trainers)"'


def test_the_fix_keeps_entries_that_are_not_to_blame(trainers: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    value = os.pathsep.join([str(tmp_path / "theirs"), str(tmp_path / "gone")])
    finding = check_external_trainers(machine(trainers, nnUNet_extTrainer=value))

    assert not finding.ok and f"{tmp_path / 'gone'} does not exist" in finding.detail
    assert finding.fix.endswith(f'="$(nnunet-iac trainers){os.pathsep}{tmp_path / "theirs"}"')


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("clone", "above our folder"),
        ("clone/nnunet_iac", "above our folder"),
        ("clone/trainers", "another copy"),
        ("lib/site-packages", "import every one of them"),
        (".", "above our folder"),
    ],
)
def test_a_dangerous_folder_is_explained(trainers: Path, tmp_path: Path, entry: str, reason: str) -> None:
    for file in ("clone/nnunet_iac/__init__.py", f"clone/trainers/{TRAINER}.py", "lib/site-packages/x.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    value = os.pathsep.join([str(trainers), str(tmp_path / entry)])

    finding = check_external_trainers(machine(trainers, nnUNet_extTrainer=value))
    assert not finding.ok and reason in finding.detail and str(tmp_path / entry) not in finding.fix


def test_a_package_that_is_not_installed_is_wrong() -> None:
    finding = check_external_trainers(machine(None))

    assert not finding.ok and "pip install" in finding.fix


def test_nnunet_itself_finds_the_trainer(trainers: Path) -> None:
    finding = check_discovery(machine(trainers, nnUNet_extTrainer=str(trainers)))

    assert finding.ok and finding.detail.endswith(str(trainers))


def test_a_trainer_that_cannot_be_imported_is_reported_with_its_reason(trainers: Path) -> None:
    (trainers / "a_module_before.py").write_text("import a_missing_library")
    finding = check_discovery(machine(trainers, nnUNet_extTrainer=str(trainers)))

    assert not finding.ok and "No module named 'a_missing_library'" in finding.detail


def test_a_trainer_found_in_an_earlier_entry_is_wrong(monkeypatch: pytest.MonkeyPatch, trainers: Path) -> None:
    found = f"Using trainer '{TRAINER}' from: /another/copy\n\nfile:\n"
    monkeypatch.setattr(external_trainers, "ask_python", lambda *_: Answer(found, ""))

    assert "found in /another/copy, not in" in check_discovery(machine(trainers)).detail


def test_a_copy_inside_nnunet_hides_ours(monkeypatch: pytest.MonkeyPatch, trainers: Path) -> None:
    found = "noise\n\nfile:/lib/nnunetv2/a copy.py\n"
    monkeypatch.setattr(external_trainers, "ask_python", lambda *_: Answer(found, ""))

    finding = check_discovery(machine(trainers))
    assert not finding.ok and finding.fix == "rm '/lib/nnunetv2/a copy.py'"
