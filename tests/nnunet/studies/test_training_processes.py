"""Trainings as processes: what is done is skipped, what fails is named, nothing outlives an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import REPOSITORY
from filelock import FileLock

from nnunet_iac.nnunet.studies.training_processes import LOCK, Training, run_trainings

FINISH = "mkdir -p validation && echo {} > validation/summary.json"


def training(folder: Path, script: str) -> Training:
    """A shell script that stands for `nnUNetv2_train`; it runs in the fold's folder."""
    return Training(folder.name, ["sh", "-c", f"cd {folder} && {script}"], folder)


def run(*trainings: Training, gpus: tuple[str | None, ...] = (None,)) -> list[str]:
    return [failed.name for failed in run_trainings(trainings, gpus=gpus, environment=os.environ)]


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    job = training(tmp_path / "job", f"echo trained; {FINISH}")

    assert run(job) == run(job) == []
    assert job.log.read_text() == "trained\n"


def test_a_failed_training_is_named_with_its_log_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = training(tmp_path / "bad", "echo because; exit 3"), training(tmp_path / "good", FINISH)

    assert run(bad, good) == ["bad"]
    assert good.is_done and "because" in bad.log.read_text()
    assert f"with status 3: bad; see {bad.log}" in capsys.readouterr().err


def test_a_training_that_ends_well_without_a_validation_has_failed(tmp_path: Path) -> None:
    assert run(training(tmp_path / "job", "true")) == ["job"]


def test_a_second_attempt_adds_to_the_log(tmp_path: Path) -> None:
    job = training(tmp_path / "job", "echo attempt; [ -e half ] && " + FINISH + " || { touch half; exit 1; }")

    assert (run(job), run(job)) == (["job"], [])
    assert job.log.read_text() == "attempt\nattempt\n"


def test_each_slot_has_its_gpu_and_they_run_at_the_same_time(tmp_path: Path) -> None:
    names = ("first", "second")
    meet = " && ".join(f"while [ ! -e ../{name}/here ]; do sleep 0.02; done" for name in names)
    script = f"echo $CUDA_VISIBLE_DEVICES > here && {meet} && {FINISH}"

    assert run(*(training(tmp_path / name, script) for name in names), gpus=("4", "7")) == []
    assert {(tmp_path / name / "here").read_text().strip() for name in names} == {"4", "7"}


def test_a_training_that_another_process_runs_is_left_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = training(tmp_path / "job", FINISH)
    job.folder.mkdir()

    with FileLock(str(job.folder / LOCK)):
        assert run(job) == []

    assert not job.is_done and "another process runs: job" in capsys.readouterr().out


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no_such_program"):
        run(Training("job", ["no_such_program"], tmp_path))


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from nnunet_iac.nnunet.studies.training_processes import Training, run_trainings

# A shell's background jobs, and all that they start, ignore this signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
here = Path(sys.argv[1])
script = "echo $$ > ../pid; sleep 60 & wait"
jobs = [Training(n, ["sh", "-c", f"cd {here / n} && {script}"], here / n) for n in ("first", "second")]
run_trainings(jobs, gpus=[None], environment=os.environ)
"""


def test_an_interruption_ends_the_training_and_starts_no_other(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip() != "")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    finally:
        process.kill()

    group = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(group))
    assert not (tmp_path / "second").exists()


def wait_until(is_true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
