"""Commands on a real Dask cluster of processes: retries, killed workers, interruptions, and nothing is left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nnunet_iac.zoo import cluster_client
from nnunet_iac.zoo.cluster import run_commands
from nnunet_iac.zoo.cluster_client import local_client, local_environments, remote_client
from nnunet_iac.zoo.cluster_worker import LOCK, Command, run_command


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes, for all tests of this module."""
    with local_client(2) as client:
        yield client


def command(folder: Path, code: str) -> Command:
    return Command(folder.name, ("-c", textwrap.dedent(code)), folder)


def wait_until(is_true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody asked for its status does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.is_file() else []


# A program with a child of its own; both are long-lived, and say so.
LONG = """
    import os, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open("{folder}/pids", "a") as file:
        file.write(f"{{os.getpid()}} {{child.pid}}\\n")
    child.wait()
"""


def long_command(folder: Path) -> Command:
    folder.mkdir()
    return command(folder, LONG.format(folder=folder))


# --- what becomes of tasks ------------------------------------------------------------------------------------------


def test_all_run_are_counted_and_named_and_have_a_log_and_the_environment(
    client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [command(tmp_path / f"task{i}", "import os; print('it is', os.environ['GIVEN'])") for i in range(4)]
    finished: list[Command] = []

    failed = run_commands(client, commands, environments=[{"GIVEN": "a"}, {"GIVEN": "b"}], finish=finished.append)

    assert failed == [] and sorted(one.name for one in finished) == [one.name for one in commands]
    assert {one.log.read_text().splitlines()[-1] for one in commands} == {"it is a", "it is b"}
    assert sorted(capsys.readouterr().out.split("\n")) == ["", *(f"done: task{i}" for i in range(4))]


def test_a_task_that_fails_is_tried_again_reported_and_does_not_stop_the_others(client: Any, tmp_path: Path) -> None:
    bad = command(tmp_path / "bad", "print('because'); raise SystemExit(3)")
    once = "import os; os.mkdir('{0}/once') if not os.path.exists('{0}/once') else exit(0); os.abort()"
    shaky = command(tmp_path / "shaky", once.format(tmp_path / "shaky"))
    said: list[str] = []

    failed = run_commands(client, [bad, shaky, command(tmp_path / "good", "")], retries=2, say=said.append)

    assert [(one.command.name, one.reason) for one in failed] == [("bad", "status 3: because")]
    assert bad.log.read_text().count("because\n") == 3, "two times again"
    again = [f"failed, is tried again ({i} of 2): bad: status 3: because; see {bad.log}" for i in (1, 2)]
    assert [line for line in said if ": bad:" in line and "again" in line] == again
    assert f"FAILED: bad: status 3: because; see {bad.log}" in said and {"done: good", "done: shaky"} <= set(said)
    assert any("(1 of 2): shaky: killed by signal 6: " in line for line in said)


def test_an_error_while_a_result_is_collected_is_a_failure_of_its_task(client: Any, tmp_path: Path) -> None:
    commands = [command(tmp_path / name, "") for name in ("good", "bad")]

    def finish(one: Command) -> None:
        if one.name == "bad":
            raise ValueError("damaged")

    failed = run_commands(client, commands, retries=0, finish=finish)
    assert [(one.command.name, one.reason) for one in failed] == [("bad", "damaged")]


def test_a_folder_that_cannot_be_made_is_a_failure_of_its_task(client: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = run_commands(client, [command(tmp_path / "file" / "task", "")], retries=0)
    assert "NotADirectoryError" in failed[0].reason


# --- workers that die -----------------------------------------------------------------------------------------------


def kill_the_worker_of(client: Any, name: str) -> None:
    address = next(worker for worker, keys in client.processing().items() if any(name in str(key) for key in keys))
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)


def test_a_task_whose_worker_is_killed_is_done_elsewhere_and_leaves_no_process(client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "task"
    long = long_command(folder)

    def disturb() -> None:
        wait_until(lambda: len(pids(folder / "pids")) == 2)
        first.extend(pids(folder / "pids"))
        kill_the_worker_of(client, "task")
        wait_until(lambda: len(pids(folder / "pids")) == 4)
        wait_until(lambda: not any(is_alive(pid) for pid in first))
        os.kill(pids(folder / "pids")[3], signal.SIGKILL)  # the second try's child: so it ends

    first: list[int] = []
    thread = threading.Thread(target=disturb)
    thread.start()
    said: list[str] = []
    failed = run_commands(client, [long, command(tmp_path / "other", "")], retries=0, say=said.append)
    thread.join()

    assert failed == [] and sorted(said) == ["done: other", "done: task"]
    assert not any(is_alive(pid) for pid in pids(folder / "pids")) and len(first) == 2
    wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)


def test_a_task_whose_workers_always_die_is_reported(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)
    bad = command(tmp_path / "bad", "import psutil; psutil.Process().parent().parent().kill()")
    failed = run_commands(client, [bad], retries=0)
    assert [one.command.name for one in failed] == ["bad"]
    assert failed[0].reason.startswith("1 workers died under it, the last was tcp://127.0.0.1:")


# --- interruptions --------------------------------------------------------------------------------------------------


def test_tasks_end_when_the_one_who_wants_them_goes(client: Any, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(one: Command) -> None:
        wait_until(lambda: len(pids(folder / "pids")) == 2)
        raise Stop

    folder = tmp_path / "long"
    commands = [long_command(folder), command(tmp_path / "short", "")]
    with remote_client(client.scheduler.address) as other, pytest.raises(Stop):
        run_commands(other, commands, finish=stop)

    wait_until(lambda: not any(is_alive(pid) for pid in pids(folder / "pids")))


INTERRUPTED = """
import signal, sys
from pathlib import Path
from nnunet_iac.zoo.cluster import run_commands
from nnunet_iac.zoo.cluster_client import local_client
from nnunet_iac.zoo.cluster_worker import Command

if __name__ == "__main__":
    # A shell's background jobs, and all that they start, ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    commands = [Command(n, ("-c", Path(sys.argv[1], "code").read_text()), Path(sys.argv[1]) / n) for n in "ab"]
    with local_client(1) as client:
        run_commands(client, commands)
"""


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="ctrl-c"), pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.slow)],
)
def test_nothing_of_a_local_cluster_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "code").write_text(textwrap.dedent(LONG.format(folder=tmp_path)))
    (tmp_path / "main.py").write_text(INTERRUPTED)
    words = [sys.executable, str(tmp_path / "main.py"), str(tmp_path)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: len(pids(tmp_path / "pids")) == 2)
        started = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode != 0 and set(pids(tmp_path / "pids")) <= started
    wait_until(lambda: not any(is_alive(pid) for pid in started))
    assert not (tmp_path / "b").exists(), "no other is started"
    if number == signal.SIGINT:
        assert error.count("Traceback") == 1, "of the process itself, none of its workers"


# --- the guard ------------------------------------------------------------------------------------------------------


def test_a_task_waits_for_a_process_that_still_works_in_its_folder(tmp_path: Path) -> None:
    one = command(tmp_path / "task", "print('mine')")
    one.folder.mkdir()
    with (one.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=run_command, args=(one,))
        thread.start()
        wait_until(lambda: one.log.is_file() and "waiting for another process" in one.log.read_text())
    thread.join(30)
    assert one.log.read_text().endswith("mine\n")


def test_the_lock_is_held_until_the_program_is_gone_too(tmp_path: Path) -> None:
    code = f"open('{tmp_path}/started', 'w').close(); import time; time.sleep(600)"
    words = [sys.executable, "-m", "nnunet_iac.zoo.cluster_guard", str(tmp_path / LOCK), sys.executable, "-c", code]
    guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    wait_until((tmp_path / "started").exists)
    program = psutil.Process(guard.pid).children()[0]
    os.kill(guard.pid, signal.SIGKILL)  # not even the guard could do anything
    guard.wait()
    with (tmp_path / LOCK).open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        program.kill()
        fcntl.flock(lock, fcntl.LOCK_EX)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_without_dask_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for open_client in (lambda: local_client(1), lambda: remote_client("tcp://127.0.0.1:1")):
        with pytest.raises(ValueError, match=r'pip install "nnunet-iac\[cluster\]"'), open_client():
            pass


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "--scheduler-file: expected the file that"),
        ("{}", ValueError, "expected the address of a scheduler in it"),
        ('{"address": "tcp://127.0.0.1:9"}', ConnectionError, "did not answer within 1 s"),
    ],
)
def test_a_scheduler_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(cluster_client, "CONNECT_S", 1)
    if content is not None:
        (tmp_path / "file").write_text(content)
    with pytest.raises(error, match=message), remote_client(scheduler_file=tmp_path / "file"):
        pass


def test_an_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_client, "CONNECT_S", 1)
    with pytest.raises(ValueError, match=r"--scheduler: .*got no://where"):
        with remote_client("no://where"):
            pass


def test_numbers_are_checked(client: Any) -> None:
    with pytest.raises(ValueError, match="--workers: expected at least 1, got 0"), local_client(0):
        pass
    with pytest.raises(ValueError, match="--retries: expected at least 0, got -1"):
        run_commands(client, [], retries=-1)


def test_workers_share_cores_and_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert local_environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    expected = [{"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "GPU-a", "0")]
    assert local_environments(3, ["0", "GPU-a"]) == expected
