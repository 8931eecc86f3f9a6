"""How to train at full length what a probe measured, as commands; nothing is said twice that is the default already.

The arms of a probe train by :data:`~nnunet_iac.nnunet.probe.probe_plan.SCHEDULE`. Whether the implanting trainers do so
too depends on the plans' settings and, where these leave it open, on the trainer, so the trainer itself is asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from nnunet_iac.nnunet.files.hosts import host_candidates, results_folder
from nnunet_iac.nnunet.files.plans import DERIVED_FROM, configuration_of
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.probe.probe_plan import SCHEDULE, Probe
from nnunet_iac.nnunet.probe.probe_trainer import ProbeArm, host_course

IMPLANTING = {"random": "nnUNetTrainerIACImplantRandom", "searched": "nnUNetTrainerIACImplant"}
"""nnU-Net's trainers that do at full length what the arms of a probe do."""


@dataclass(frozen=True)
class AsMeasured:
    """What a full training of the measured arm needs.

    Attributes:
        difference: what the trainer does otherwise with the host's plans as they are, in words; None if nothing.
        note: what a full training cannot do as the probe did, or None.
        commands: to be typed one after the other.
    """

    difference: str | None
    note: str | None
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "commands": list(self.commands)}


def as_measured(probe: Probe, arm: ProbeArm) -> AsMeasured:
    """Return the commands that train an arm with cells by the probe's schedule, batch size and host.

    The length is that of the plans (``training.epochs``, ``training.iterations``): the probe's is not worth keeping.
    """
    planned = configuration_of(probe.plans, probe.configuration)
    settings = Settings.from_block(planned.get("iac", {}))
    missing, batch_size = missing_settings(settings), probe.budget.batch_size
    source, words = str(probe.plans["plans_name"]), [f"{key}={value}" for key, value in missing.items()]
    changed = bool(words) or batch_size not in (None, planned.get("batch_size"))
    name = f"{source}_probed" if changed else source
    dataset = str(probe.plans["dataset_name"])
    commands = []
    if changed:
        batch = [] if batch_size is None else ["--batch-size", str(batch_size)]
        assignments = ["--set", *words] if words else []
        given = ["-d", dataset, "-c", probe.configuration, "-p", source, "-o", name]
        commands.append(_line(["nnunet-iac", "configure", *given, *batch, *assignments]))
    train = ["nnUNetv2_train", dataset, probe.configuration, str(probe.fold), "-p", name, "-tr", IMPLANTING[arm]]
    found = _found_by_itself(probe, name)
    is_found = found is not None and found.resolve() == probe.host.resolve()
    commands.append(_line(train if is_found else [*train, "-pretrained_weights", str(probe.host)]))
    note = None if is_found else f"nnU-Net does not take the output layers of {probe.host} over: they are trained first"
    return AsMeasured(_in_words(settings) if missing else None, note, tuple(commands))


def missing_settings(settings: Settings) -> dict[str, str]:
    """Return the settings of the probe's schedule without which an implanting trainer would do something else.

    Example:
        >>> missing_settings(Settings.from_block({"training": SCHEDULE}))
        {}
    """
    needed = dict(SCHEDULE)
    for key in SCHEDULE:
        without = {name: value for name, value in needed.items() if name != key}
        if host_course(_with(settings, without)) == host_course(_with(settings, SCHEDULE)):
            needed = without
    return {f"training.{key}": _plain(value) for key, value in needed.items()}


def _with(settings: Settings, values: dict[str, Any]) -> Settings:
    return replace(settings, training=replace(settings.training, **values))


def _in_words(settings: Settings) -> str:
    course = host_course(settings)
    if not any(course):
        return "the host stays as it is and the cells alone train"
    waits = "the host waits while the cells train alone, then " if course[0] == 0 else ""
    return f"{waits}the host trains at {max(course):g} of the cells' learning rate"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _found_by_itself(probe: Probe, name: str) -> Path | None:
    """Return the host that a training with plans of that name would take."""
    before = probe.plans.get(DERIVED_FROM) if name == probe.plans["plans_name"] else probe.plans["plans_name"]
    names = [name, *([before] if before else [])]
    candidates = host_candidates(results_folder(), probe.plans["dataset_name"], names, probe.configuration, probe.fold)
    return next((path for path in candidates if path.is_file()), None)


def _line(words: Sequence[str]) -> str:
    return " ".join(map(quote, words))
