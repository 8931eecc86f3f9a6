"""The probe: a few short trainings with and without cells on a trained host, compared on held-out training cases.

First everything is decided (:mod:`nnunet_iac.nnunet.probe.probe_plan`) and written down, then the trainings run (those
that are done are not repeated), then :mod:`nnunet_iac.nnunet.probe.probe_result` measures the held-out predictions. The
fold's validation cases are not touched.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.model_folder import locked
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.probe.probe_plan import HELD_OUT, Probe
from nnunet_iac.nnunet.probe.probe_trainer import ProbeArm, ProbeTraining
from nnunet_iac.nnunet.probe.probe_words import NAMES, to_go

SETUP, LOCK = "setup.json", "probe.lock"
"""In a probe's folder: what all trainings share, and the lock of the process that runs them."""

FINISHED = "finished.json"
"""In the folder of a training: it is trained and validated."""


def run_probe(
    probe: Probe, arms: Sequence[ProbeArm], seeds: Sequence[int], *, device: torch.device, say: Callable[[str], None]
) -> dict[ProbeArm, tuple[float, ...]]:
    """Run the trainings that are not done, seed by seed, and return the seconds of all by arm.

    Args:
        probe: what was decided.
        arms: the control first.
        seeds: one training of each arm for each of them.
        device: where to compute.
        say: receives a line when a training starts and when it ends.

    Raises:
        ValueError: if the folder holds trainings of another probe, the host does not fit the plans, or there is one
            patient only to search on.
    """
    if "searched" in arms and probe.training_patients < 2:
        raise ValueError("--searched: expected two patients or more to search on, got 1; give a smaller --share")
    probe.folder.mkdir(parents=True, exist_ok=True)
    with locked(probe.folder, LOCK, say, "Waiting for another probe in this folder"):
        _settle(probe)
        jobs = [probe.training(arm, seed) for seed in seeds for arm in arms]
        left = [job for job in jobs if not (job.folder / FINISHED).is_file()]
        finished = [job for job in jobs if job not in left]
        for number, job in enumerate(jobs, start=1):
            name = f"[{number}/{len(jobs)}] {NAMES[job.arm]}, seed {job.seed}"
            if job not in left:
                say(f"{name}: done before, in {_seconds(job):.0f} s")
                continue
            say(f"{name}: trains and predicts {len(probe.held_out_cases)} cases ...")
            begin = time.monotonic()
            job.run(probe.host, device)
            write_json(job.folder / FINISHED, {"schema": 1, "seconds": round(time.monotonic() - begin, 1)})
            finished.append(job)
            say(f"{name}: done in {_seconds(job):.0f} s{_to_go(finished, left)}")
    return {arm: tuple(_seconds(job) for job in jobs if job.arm == arm) for arm in arms}


def held_out_limit(folder: Path, asked: int | None) -> int | None:
    """Return how many patients a probe holds out at most.

    Args:
        folder: of the probe. If it was begun by an earlier version, which had no limit, it goes on without one.
        asked: what the user wants, None for the default.
    """
    path = folder / SETUP
    if asked is not None or not path.is_file():
        return HELD_OUT if asked is None else asked
    return HELD_OUT if "held_out" in read_object(path)["budget"] else None


def _settle(probe: Probe) -> None:
    """Write the record of what all trainings share, or check that it is the same."""
    path, setup = probe.folder / SETUP, probe.setup()
    if not path.is_file():
        write_json(path, setup)
        return
    before = read_object(path)
    before["settings"] = _with_later_settings(before["settings"])
    setup = json.loads(json.dumps(setup))
    different = [key for key in sorted({*before, *setup}) if before.get(key) != setup.get(key)]
    if different:
        raise ValueError(
            f"-o: expected the {' and '.join(different)} that the trainings in {probe.folder} had, got others; give "
            "the options of then, another folder, or remove this one"
        )


def _with_later_settings(block: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a record; one that later versions added has its default."""
    settings = Settings.from_block(block).training_block()
    del settings["search"]["seed"]
    return dict(json.loads(json.dumps(settings)))


def _to_go(finished: Sequence[ProbeTraining], jobs: Sequence[ProbeTraining]) -> str:
    left = [job.arm for job in jobs if job not in finished]
    done: dict[str, list[float]] = {}
    for job in finished:
        done.setdefault(job.arm, []).append(_seconds(job))
    return f"; {to_go(done, left)}" if left else ""


def _seconds(job: ProbeTraining) -> float:
    return float(read_object(job.folder / FINISHED)["seconds"])
