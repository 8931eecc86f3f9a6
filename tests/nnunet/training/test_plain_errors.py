"""An error that a user can mend ends a training in one message; everything else keeps its traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from nnunet_folders import Folders

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.plans import read_plans
from nnunet_iac.nnunet.training import plain_errors
from nnunet_iac.nnunet.training.plain_errors import plain_message, show_plain_errors


def caught(action: object, *arguments: object) -> BaseException:
    try:
        action(*arguments)  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_that_our_code_raised_is_one_message() -> None:
    error = caught(Genotype.from_dict, {"schema": 9})

    said = plain_message(error)

    assert said is not None and "genotype.schema: expected 1, got 9" in said and "Traceback" not in said


@pytest.mark.parametrize("raised", [(json.loads, "{"), (int, "a"), (Genotype.identity, 3, 4)])
def test_an_error_that_others_raised_keeps_its_traceback(raised: tuple[object, ...]) -> None:
    assert plain_message(caught(*raised)) is None


def test_of_the_file_systems_errors_those_count_that_our_code_met(tmp_path: Path) -> None:
    (tmp_path / "plans.json").mkdir()

    assert plain_message(caught(read_plans, tmp_path / "plans.json")) is not None
    assert plain_message(caught((tmp_path / "none").read_text)) is None


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_errors, "MENDABLE", (OSError,))

    assert plain_message(caught(Genotype.from_dict, {"schema": 9})) is None


class TestHook:
    @pytest.fixture(autouse=True)
    def _own_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[BaseException] = []
        monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: self.seen.append(error))
        monkeypatch.delenv(plain_errors.VARIABLE, raising=False)
        show_plain_errors()

    def test_it_prints_ours_and_hands_on_the_rest(self, capsys: pytest.CaptureFixture[str]) -> None:
        ours, other = caught(Genotype.from_dict, 3), caught(int, "a")
        for error in (ours, other):
            sys.excepthook(type(error), error, error.__traceback__)

        assert self.seen == [other] and "expected a JSON object" in capsys.readouterr().err

    def test_debugging_hands_on_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(plain_errors.VARIABLE, "1")
        ours = caught(Genotype.from_dict, 3)

        sys.excepthook(type(ours), ours, ours.__traceback__)

        assert self.seen == [ours]

    def test_it_is_set_once(self) -> None:
        before = sys.excepthook

        show_plain_errors()

        assert sys.excepthook is before


@pytest.mark.slow
def test_the_real_command_shows_one_message(planned: Folders) -> None:
    plans = json.loads((planned.preprocessed / "nnUNetPlans.json").read_text())
    plans["configurations"]["2d"]["iac"] = {"search": {"epochs": 0}}
    (planned.preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans))
    (planned.preprocessed / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1}}))

    done = subprocess.run(
        "nnUNetv2_train 990 2d 0 -tr nnUNetTrainerIAC -device cpu".split(),
        env=commands.environment(planned.base),
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "search.epochs: expected" in done.stderr and plain_errors.VARIABLE in done.stderr
