"""Benchmarks without trainings: each one leaves ready-made masks, as if it had been trained in no time."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from nnunet_folders import DATASET, Folders
from prediction_folders import CASES, DATASET_JSON, write_dataset, write_json, write_masks

from nnunet_iac.nnunet.studies.training_processes import SUMMARY, Training

SECONDS = {"full search": 80, "pruned search": 20, "short search": 5}


@dataclass
class FakeTrainings:
    """What stands for `run_trainings`.

    Attributes:
        shift: by how many voxels an arm's masks of a seed are off; the first voxels cost about as much each.
        started: names of the trainings, in order.
        failing: names of those that fail.
        elsewhere: names of those that another process runs.
        cases: that a fold predicts; all of them where it is not named.
    """

    shift: Callable[[str, int], int] = lambda arm, seed: 2
    started: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    cases: dict[int, Sequence[str]] = field(default_factory=dict)

    def run(
        self, trainings: Sequence[Training], *, gpus: Sequence[str | None], environment: Mapping[str, str]
    ) -> list[Training]:
        self.started += [training.name for training in trainings]
        for training in trainings:
            if training.name not in self.failing | self.elsewhere:
                self._finish(training)
        return [training for training in trainings if training.name in self.failing]

    def take_started(self) -> list[str]:
        """What was started since the last time."""
        started, self.started = self.started, []
        return started

    def _finish(self, training: Training) -> None:
        arm, seed, *_ = re.split(", seed |, fold ", training.name)
        model = training.folder.parent
        write_json(model / "dataset.json", DATASET_JSON)
        write_json(model / "plans.json", {"dataset_name": DATASET})
        for case in self.cases.get(
            int(training.folder.name[-1]), CASES
        ):  # patients differ a little, in every arm by as much
            axis = 1 if case < "p2" else 2
            write_masks(training.folder / "validation", self.shift(arm, int(seed)), axis, [case])
        write_json(training.folder / SUMMARY, {})
        if arm in SECONDS and not list(model.glob("fold_*/search_result.json")):  # folds share the cells
            write_json(training.folder / "search_result.json", search_result(arm, int(seed)))


def search_result(arm: str, seed: int) -> dict[str, Any]:
    found = {"schema": 1, "status": "decided", "message": "", "epochs": 2 * SECONDS[arm], "seconds": SECONDS[arm]}
    return found | {"seed": seed, "decided_edges": 13, "edges": 14, "genotype": None, "host": {}, "settings": {}}


def fake_trainings(planned: Folders, monkeypatch: pytest.MonkeyPatch, scripts: str) -> tuple[ModuleType, FakeTrainings]:
    """Return `bench_dice` with trainings that are fakes, on a data set of four patients."""
    write_dataset(planned)
    monkeypatch.syspath_prepend(scripts)
    module, fake = importlib.import_module("bench_dice"), FakeTrainings()
    monkeypatch.setattr(module, "run_trainings", fake.run)
    return module, fake
