"""The commands that a probe prints do what it measured, and name no setting that is the default."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Any

import pytest
from nnunet_folders import Folders

from nnunet_iac.cli.main import main
from nnunet_iac.cli.trainers import trainers_folder
from nnunet_iac.nnunet.files.plans import configuration_of, plans_path, preprocessed_folder, read_plans, write_plans
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.probe.probe_commands import IMPLANTING, AsMeasured, as_measured, missing_settings
from nnunet_iac.nnunet.probe.probe_plan import SCHEDULE, Budget, Probe
from nnunet_iac.nnunet.probe.probe_trainer import COURSE, TRAINERS, host_course
from nnunet_iac.nnunet.training.cell_trainer import CellTrainer

ALL = {"training.freeze_host": "false", "training.host_rate": "1", "training.cells_first": "0"}

OTHER = {"freeze_host": True, "host_rate": 0.1, "cells_first": 0.5}
"""A schedule that differs from the probe's in everything, whatever the defaults are."""


@pytest.fixture
def host(planned: Folders) -> Path:
    path = planned.results / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0" / "checkpoint_final.pth"
    path.parent.mkdir(parents=True)
    path.write_text("weights")
    return path


def full(planned: Folders, host: Path, training: dict[str, Any], **budget: Any) -> AsMeasured:
    """What is said about random cells and plans with these settings of the training."""
    path = plans_path(planned.preprocessed, "nnUNetPlans")
    plans = read_plans(path)
    plans["configurations"]["2d"]["iac"] = {"training": training}
    write_plans(path, plans)
    probe = Probe(plans, "2d", 0, {}, host, Budget(**budget), (), (), 0, 0, None, planned.base / "probe")
    return as_measured(probe, "random")


def run(command: str) -> Settings:
    """Run the line of `nnunet-iac configure` and return the settings of the new plans."""
    program, *words = shlex.split(command)
    assert program == "nnunet-iac" and main(words) == 0
    folder = preprocessed_folder(words[words.index("-d") + 1])
    plans = read_plans(plans_path(folder, words[words.index("-o") + 1]))
    return Settings.from_block(configuration_of(plans, "2d")["iac"])


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (OTHER, ALL),
        (SCHEDULE, {}),
        ({**SCHEDULE, "freeze_host": True}, {"training.freeze_host": "false"}),
        ({**SCHEDULE, "host_rate": 0.5}, {"training.host_rate": "1"}),
        ({**SCHEDULE, "cells_first": 0.5}, {"training.cells_first": "0"}),
    ],
)
def test_only_what_the_trainer_would_do_otherwise_is_named(given: dict[str, Any], missing: dict[str, str]) -> None:
    assert missing_settings(Settings.from_block({"training": given})) == missing


@pytest.mark.parametrize("frozen", [True, False])
def test_the_trainer_is_asked_where_the_settings_leave_it_open(monkeypatch: pytest.MonkeyPatch, frozen: bool) -> None:
    def is_frozen(trainer: CellTrainer) -> bool:
        wanted = trainer.settings.training.freeze_host
        return frozen if wanted is None else wanted

    monkeypatch.setattr(CellTrainer, "_host_is_frozen", is_frozen)
    left_open = Settings.from_block({"training": {**SCHEDULE, "freeze_host": None}})

    assert missing_settings(left_open) == ({"training.freeze_host": "false"} if frozen else {})


def test_the_course_is_what_the_trainers_do() -> None:
    free = {"freeze_host": False}
    courses = [host_course(Settings.from_block({"training": t})) for t in (SCHEDULE, OTHER, {**OTHER, **free})]

    assert courses == [(1.0,) * COURSE, (0.0,) * COURSE, (0.0, 0.0, 0.1, 0.1)]
    for arm, name in IMPLANTING.items():
        spec = importlib.util.spec_from_file_location(name, trainers_folder() / f"{name}.py")
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        assert getattr(module, name).recipe == TRAINERS[arm].recipe, "the probe asks its own trainer"


def test_the_commands_make_the_schedule_that_was_measured(planned: Folders, host: Path) -> None:
    found = full(planned, host, OTHER, batch_size=4)

    configure, train = found.commands
    assert configure.endswith("--batch-size 4 --set " + " ".join(f"{key}={value}" for key, value in ALL.items()))
    assert train == ("nnUNetv2_train Dataset990_Tiny 2d 0 -p nnUNetPlans_probed -tr nnUNetTrainerIACImplantRandom")
    assert host_course(run(configure)) == (1.0,) * COURSE
    assert found.difference == "the host stays as it is and the cells alone train" and found.note is None


def test_with_plans_of_that_schedule_there_is_nothing_to_configure(planned: Folders, host: Path) -> None:
    found = full(planned, host, SCHEDULE, batch_size=12)

    assert found.difference is None
    assert found.commands == ("nnUNetv2_train Dataset990_Tiny 2d 0 -p nnUNetPlans -tr nnUNetTrainerIACImplantRandom",)


def test_another_batch_size_is_no_other_schedule(planned: Folders, host: Path) -> None:
    found = full(planned, host, SCHEDULE, batch_size=4)

    assert found.difference is None and len(found.commands) == 2 and "--set" not in found.commands[0]


def test_a_host_from_elsewhere_is_given_by_name_and_the_difference_said(planned: Folders, host: Path) -> None:
    elsewhere = host.with_name("my host.pth")
    elsewhere.write_text("weights")

    found = full(planned, elsewhere, {**OTHER, "freeze_host": False})

    assert shlex.split(found.commands[-1])[-2:] == ["-pretrained_weights", str(elsewhere)]
    assert found.note is not None and "output layers" in found.note
    assert found.difference == (
        "the host waits while the cells train alone, then the host trains at 0.1 of the cells' learning rate"
    )
