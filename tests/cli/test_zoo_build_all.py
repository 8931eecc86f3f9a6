"""`nnunet-iac zoo build-all`: what is checked first, what counts as done, and builds on a real cluster with a kill."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import supernet_commands as commands
from nnunet_folders import DATASET, Folders
from prepared_datasets import CASES, write_json

from nnunet_iac.cli import zoo_build, zoo_build_all
from nnunet_iac.cli.main import build_parser, main
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.supernets.supernet_build import STATE
from nnunet_iac.nnunet.supernets.supernet_tasks import ZOO, BuildTask
from nnunet_iac.zoo.cluster import Failure
from nnunet_iac.zoo.cluster_worker import LOG
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify


@pytest.fixture
def prepared(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A data set with two folds."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    prepare(folders, stock_plans)
    return folders


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def built(prepared: Folders, stock_plans: dict[str, Any], shelf: Path) -> Zoo:
    """A copy of a finished build of fold 0."""
    zoo = commands.take_built(prepared, stock_plans, shelf)
    two_folds(prepared)
    return Zoo(zoo)


def prepare(folders: Folders, plans: dict[str, Any]) -> None:
    commands.prepare(folders, plans)
    two_folds(folders)


def two_folds(folders: Folders) -> None:
    """Fold 0 is that of `commands.prepare`."""
    splits = [{"train": CASES[:4], "val": CASES[4:]}, {"train": CASES[2:], "val": CASES[:2]}]
    write_json(folders.preprocessed / "splits_final.json", splits)


def build_all(folders: Folders, *words: str, zoo: str = "zoo", data: tuple[str, ...] = ("990",)) -> int:
    where = ["--zoo", f"{folders.base}/{zoo}"]
    return main(["zoo", "build-all", "-d", *data, "-c", "2d", *where, *commands.SHORT, *words])


class Ran:
    """Stands for the cluster: builds in this process, or fails, and remembers what it was asked for."""

    def __init__(self, failing: str | None = None) -> None:
        self.names: list[str] = []
        self.failing = failing

    def __call__(self, args: argparse.Namespace, tasks: list[BuildTask], zoo: Zoo) -> list[Failure]:
        self.names += [task.name for task in tasks]
        for task in tasks:
            if task.name != self.failing:
                assert main(list(task.command.words[2:])) == 0
                task.collect(zoo)
        return [Failure(task.command, "because") for task in tasks if task.name == self.failing]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    ran = Ran()
    monkeypatch.setattr(zoo_build_all, "_run", ran)
    return ran


# --- what a task is -------------------------------------------------------------------------------------------------


def test_every_argument_of_a_build_is_given_on() -> None:
    given = {"patch_size": [16, 16], "batch_size": 3, "licence": "-x y", "learning_rate": 0.1 + 0.2, "device": "cpu"}
    parser = build_parser()
    own = vars(parser.parse_args("zoo build --zoo z -d 1 -c 2d".split()))
    ours = vars(parser.parse_args("zoo build-all --zoo z -d 1 -c 2d".split()))
    apart = {"datasets", "fold", "host", "action", "multi", "epochs", "settings"}  # a search on several is one run
    assert {n: v for n, v in own.items() if n not in apart} == {n: ours[n] for n in own if n not in apart}

    changed = {n: v + 1 if isinstance(v, int) and not isinstance(v, bool) else v for n, v in ours.items()}
    words = zoo_build.build_words(argparse.Namespace(**{**changed, **given}))
    read = vars(parser.parse_args(["zoo", "build", "--zoo", "z", "-d", "1", *words]))
    assert {n: read[n] for n in own if n not in apart} == {n: {**changed, **given}[n] for n in own if n not in apart}


def test_what_is_in_the_zoo_is_not_run_again(built: Zoo, prepared: Folders, ran: Ran, capsys: Any) -> None:
    for _ in range(2):
        assert build_all(prepared, "-f", "0", "1", "0") == 0
        assert ran.names == [f"{DATASET} 2d fold 1"], "once, and nothing the second time"
    out = capsys.readouterr().out
    assert f"done before: {DATASET} 2d fold 0" in out and "2 of 2 builds are in" in out
    assert not (commands.work(prepared).parent / "fold_1" / ZOO).exists() and verify(built).is_fine
    assert commands.build(prepared, "-f", "1", "-o", f"{prepared.base}/alone", zoo="alone") == 0
    assert set(commands.ids(prepared.base / "alone")) < set(commands.ids(prepared.base / "zoo"))
    assert len(commands.ids(prepared.base / "zoo")) == 6


def test_a_licence_is_added_to_builds_that_were_done_before(built: Zoo, prepared: Folders, ran: Ran) -> None:
    assert build_all(prepared, "-f", "0", "--licence", "CC0-1.0") == 0
    assert ran.names == [] and [entry.licence for entry in built.entries()] == ["CC0-1.0"] * 3


def test_a_licence_is_added_to_entries_of_a_build_that_was_there_in_part(
    built: Zoo, prepared: Folders, ran: Ran
) -> None:
    built.remove([entry.id for entry in built.entries() if entry.kind == "subnetworks"])

    assert build_all(prepared, "-f", "0", "--licence", "CC0-1.0") == 0
    assert len(ran.names) == 1 and [entry.licence for entry in built.entries()] == ["CC0-1.0"] * 3


@pytest.mark.parametrize(
    "words",
    [
        *(["--seed", "1"], ["--iterations", "2"], ["--width-epochs", "2"], ["--share", "0.5"], ["--batch-size", "3"]),
        *(
            ["--candidates", "5"],
            ["--measured", "5"],
            ["--features", "3"],
            ["--multiple", "4"],
            ["--patch-size", "8", "8"],
        ),
    ],
    ids=lambda words: words[0],
)
def test_another_budget_is_another_build(built: Zoo, prepared: Folders, ran: Ran, words: list[str]) -> None:
    ran.failing = f"{DATASET} 2d fold 0"
    assert build_all(prepared, *words, "-o", f"{prepared.base}/other") == 1
    assert ran.names == [f"{DATASET} 2d fold 0"]


def test_other_data_are_another_build(built: Zoo, prepared: Folders, ran: Ran) -> None:
    ran.failing = f"{DATASET} 2d fold 0"
    write_json(prepared.preprocessed / "splits_final.json", [{"train": CASES[1:5], "val": CASES[5:]}])
    assert build_all(prepared, "-o", f"{prepared.base}/other") == 1 and len(ran.names) == 1


def test_an_entry_whose_weights_are_gone_is_built_again_from_the_state(built: Zoo, prepared: Folders, ran: Ran) -> None:
    expected = commands.ids(prepared.base / "zoo")
    next((prepared.base / "zoo" / "weights").glob("*.safetensors")).unlink()
    assert build_all(prepared) == 0 and len(ran.names) == 1
    assert commands.ids(prepared.base / "zoo") == expected and verify(built).is_fine


def test_a_failed_build_is_reported_and_the_status_says_so(prepared: Folders, ran: Ran, capsys: Any) -> None:
    ran.failing = f"{DATASET} 2d fold 1"
    assert build_all(prepared, "-f", "0", "1", "-o", f"{prepared.base}/states") == 1
    said = capsys.readouterr()
    log = prepared.base / "states" / DATASET / "supernet__nnUNetPlans__2d" / "fold_1" / "task.log"
    assert f"1 FAILED; give the same command to try again:\n  {ran.failing}: because; see {log}" in said.err
    assert "1 of 2 builds are in" in said.out


def test_overwrite_starts_anew_what_is_not_in_the_zoo(built: Zoo, prepared: Folders, ran: Ran, capsys: Any) -> None:
    assert build_all(prepared, "--overwrite") == 0 and ran.names == []
    assert build_all(prepared, "--seed", "1") == 2
    assert "plan.seed is 0 there, 1 here" in capsys.readouterr().err
    with alone_in(commands.work(prepared)):
        assert build_all(prepared, "--seed", "1", "--overwrite") == 2
    assert "no other process works in" in capsys.readouterr().err and (commands.work(prepared) / STATE).exists()

    assert build_all(prepared, "--seed", "1", "--overwrite") == 0
    assert len(ran.names) == 1 and len(commands.ids(prepared.base / "zoo")) == 6


def test_an_interruption_says_how_to_go_on(prepared: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo_build_all, "_run", interrupted)
    assert build_all(prepared, "--overwrite") == zoo_build_all.INTERRUPTED
    assert "to go on give the same command again, but without --overwrite" in capsys.readouterr().err


# --- what is refused before anything starts -------------------------------------------------------------------------


def test_all_problems_are_named_together_and_nothing_is_written(prepared: Folders, ran: Ran, capsys: Any) -> None:
    before = sorted(prepared.base.rglob("*"))
    words = ["-f", "0", "7", "--workers", "0", "--retries", "-1"]
    assert build_all(prepared, *words, zoo="raw", data=("990", "77")) == 2
    error = capsys.readouterr().err
    for message in (
        "problem(s), nothing was started:\n",
        "--retries: expected at least 0, got -1\n",
        "--workers: expected at least 1, got 0\n",
        "zoo: expected a zoo or an empty folder",
        "-d 990 -f 7: -f: expected a fold from 0 to 1, got 7",
        "-d 77 -f 0, -d 77 -f 7: -d: Could not find a dataset with the ID 77",
    ):
        assert message in error
    assert ran.names == [] and "Traceback" not in error and sorted(prepared.base.rglob("*")) == before


def test_what_is_wrong_with_all_builds_is_said_once(prepared: Folders, ran: Ran, capsys: Any) -> None:
    assert build_all(prepared, "-f", "0", "1", "--iterations", "0") == 2
    assert capsys.readouterr().err.endswith(
        "1 problem(s), nothing was started:\n--iterations: expected at least 1, got 0\n"
    )
    assert ran.names == [] and not (prepared.base / "zoo").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheduler", "tcp://127.0.0.1:9"], "tcp://127.0.0.1:9 did not answer"),
        (["--scheduler-file", "nowhere"], "--scheduler-file: expected the file that"),
        (["--zoo", "memory://zoo"], "expected a folder to write to, got memory://zoo"),
    ],
)
def test_a_cluster_or_zoo_that_is_not_there_is_refused(
    prepared: Folders, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], message: str
) -> None:
    monkeypatch.setattr("nnunet_iac.zoo.cluster_client.CONNECT_S", 1)
    assert build_all(prepared, *words) == 2
    assert message in capsys.readouterr().err and ran.names == []


def test_without_dask_the_command_to_install_it_is_named(
    prepared: Folders, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert build_all(prepared) == 2
    assert 'pip install "nnunet-iac[cluster]"' in capsys.readouterr().err and ran.names == []


# --- on a real cluster ----------------------------------------------------------------------------------------------


def test_a_finished_state_becomes_entries_on_a_cluster(built: Zoo, prepared: Folders, capsys: Any) -> None:
    expected = commands.ids(prepared.base / "zoo")
    assert build_all(prepared, "--workers", "4", zoo="new") == 0
    out = capsys.readouterr().out
    assert f"done: {DATASET} 2d fold 0" in out and f"1 of 1 builds are in {prepared.base}/new" in out
    assert commands.ids(prepared.base / "new") == expected and verify(Zoo(prepared.base / "new")).is_fine
    assert "going on after epoch 3" in (commands.work(prepared) / LOG).read_text()


LONGER = ["--iterations", "8", "--width-epochs", "5"]
"""Of the builds that are disturbed, after `SHORT`: some seconds."""


@pytest.fixture
def start(prepared: Folders) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `build-all` of both folds on two processes as a command of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        words = ["zoo", "build-all", "-d", "990", "-c", "2d", "-f", "0", "1", "--zoo", f"{prepared.base}/zoo"]
        words = [sys.executable, "-m", "nnunet_iac.cli.main", *words, *commands.SHORT, *LONGER, "--workers", "2"]
        piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(words, **piped, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_epochs(folders: Folders, process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until the last tries of both folds have trained an epoch; return all processes of the command."""
    deadline = time.monotonic() + 300
    logs = [commands.work(folders).parent / f"fold_{fold}" / LOG for fold in (0, 1)]
    seen = [log.stat().st_size if log.is_file() else 0 for log in logs]
    while not all(log.is_file() and "\nepoch " in log.read_text()[n:] for log, n in zip(logs, seen, strict=True)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, [log.is_file() and log.read_text() for log in logs]
        time.sleep(0.02)
    return psutil.Process(process.pid).children(recursive=True)


def all_are_gone(processes: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + 30
    while any(is_alive(one) for one in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(is_alive(one) for one in processes)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a dead one that nobody asked for its status does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_an_interruption_and_a_killed_worker_cost_nothing(
    prepared: Folders, start: Callable[[], subprocess.Popen[str]], capsys: Any
) -> None:
    for fold in ("0", "1"):
        words = ["-f", fold, "-o", f"{prepared.base}/alone{fold}", *LONGER]
        assert commands.build(prepared, *words, zoo="alone") == 0
    expected = sorted(commands.ids(prepared.base / "alone"))

    process = start()
    processes = wait_for_epochs(prepared, process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and "nothing is lost: to go on give the same command again" in error
    assert len(processes) >= 6 and all_are_gone(processes)
    assert verify(Zoo(prepared.base / "zoo")).is_fine and commands.ids(prepared.base / "zoo") == []

    process = start()
    guard = next(p for p in wait_for_epochs(prepared, process) if "nnunet_iac.zoo.cluster_guard" in p.cmdline())
    worker, victims = guard.parent(), [guard, *guard.children(recursive=True)]
    assert worker is not None
    worker.kill()
    assert len(victims) >= 2 and all_are_gone([worker, *victims])
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert out.count("done: ") == 2 and "2 of 2 builds are in" in out and "FAILED" not in error
    logs = [(commands.work(prepared).parent / f"fold_{fold}" / LOG).read_text() for fold in (0, 1)]
    assert sorted(log.count("going on after epoch ") for log in logs) == [1, 2], "once more where the worker died"

    assert sorted(commands.ids(prepared.base / "zoo")) == expected, "those of undisturbed builds, bit by bit"
    capsys.readouterr()
    assert main(["zoo", "verify", "--zoo", f"{prepared.base}/zoo"]) == 0
    assert "6 entries, 6 files of weights hashed: all is well" in capsys.readouterr().out

    process = start()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and out.count("done before: ") == 2
