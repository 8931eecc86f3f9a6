"""Several writers at once, and writers killed at any step: what was committed is there and verifies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import about, filled, tensors

from nnunet_iac import atomic
from nnunet_iac.zoo import entries, schema, store, weights_files
from nnunet_iac.zoo.exchange import export_zoo, import_zoo
from nnunet_iac.zoo.listing import verification_text
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify

WRITER = """
import sys
from tiny_zoo import about, tensors
from nnunet_iac.zoo.store import Zoo
zoo = Zoo.create(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    print(zoo.add(about(name=sys.argv[2]), tensors(number + len(sys.argv[2]) / 64)).entry.id, flush=True)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def start(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_two_processes_add_at_once_and_one_of_them_is_killed_on_its_way(tmp_path: Path) -> None:
    processes: list[Any] = [start(tmp_path / "zoo", name, count) for name, count in (("a", 10), ("bb", 100_000))]
    try:
        assert [lines(process, 1) for process in processes] == [["ready"]] * 2, "both may make the zoo"
        for process in processes:
            go(process)
        committed = lines(processes[0], 10) + lines(processes[1], 10)
        processes[1].kill()
        committed += [line for line in processes[1].stdout.read().split() if len(line) == 16]
        assert (processes[0].wait(timeout=60), processes[1].wait(timeout=60)) == (0, -signal.SIGKILL)
    finally:
        for process in processes:
            process.kill()
            process.wait()

    zoo = Zoo(tmp_path / "zoo")
    assert verify(zoo, repair=True).is_fine
    found = {entry.id for entry in zoo.entries()}
    assert set(committed) <= found and len(committed) >= 20
    assert len(found - set(committed)) <= 1, "what was committed and not yet printed"
    assert verify(zoo).findings == ()


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)
        die()

    return call


STEPS: dict[str, tuple[Any, str, bool, list[str]]] = {
    "before the weights": (weights_files, "write_bytes", False, []),
    "in the temporary file, before it is on the disk": (atomic, "_flush_to_disk", False, ["leftover"]),
    "in the temporary file, before it is renamed": (atomic, "_flush_to_disk", True, ["leftover"]),
    "between weights and entry": (weights_files, "write_bytes", True, ["orphan weights"]),
    "in the transaction": (entries, "insert", True, ["orphan weights"]),
}


def killed(action: Callable[[], object], module: Any, name: str, after: bool) -> None:
    """Do it in a process that is killed (SIGKILL) before or after the first call of a function."""
    child = os.fork()
    if child == 0:
        setattr(module, name, then_die(getattr(module, name)) if after else die)
        try:
            action()
        finally:
            os._exit(1)  # the step never came
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_at_any_step_of_adding_leaves_what_was_committed(tmp_path: Path, step: str) -> None:
    zoo = filled(tmp_path / "zoo")
    expected = zoo.entries()

    module, name, after, left = STEPS[step]
    killed(lambda: zoo.add(about(name="new"), tensors(3)), module, name, after)

    assert zoo.entries() == expected
    found = verify(zoo)
    assert [finding.what for finding in found.findings] == left and found.is_fine, "it loses nothing"
    assert verification_text(found).endswith("1 file(s) that killed writers left, no fault; --repair removes them") == (
        len(left) == 1
    )
    assert verify(zoo, repair=True).is_fine and verify(zoo).findings == ()
    assert zoo.entries() == expected and zoo.add(about(name="new"), tensors(3)).what == "added"


@pytest.mark.parametrize(("module", "name"), [(entries, "delete"), (weights_files, "remove")])
def test_a_writer_killed_while_removing_leaves_the_entry_or_an_orphan(tmp_path: Path, module: Any, name: str) -> None:
    zoo = filled(tmp_path / "zoo")
    first, second = zoo.entries()

    killed(lambda: zoo.remove([first.id]), module, name, False)

    assert zoo.entries() == ([first, second] if name == "delete" else [second])
    assert verify(zoo, repair=True).is_fine and verify(zoo).findings == ()


@pytest.mark.parametrize(("name", "after"), [("create_database", False), ("_migrate", True)])
def test_a_writer_killed_while_making_a_zoo_leaves_a_folder_that_can_be_made_one(
    tmp_path: Path, name: str, after: bool
) -> None:
    killed(lambda: Zoo.create(tmp_path), store if name == "create_database" else schema, name, after)

    with pytest.raises(FileNotFoundError, match=r"it has no zoo\.sqlite"):
        Zoo(tmp_path).entries()
    zoo = Zoo.create(tmp_path)
    assert zoo.entries() == [] and verify(zoo, repair=True).is_fine and verify(zoo).findings == ()


@pytest.mark.parametrize("name", ["zoo.zip", "zoo.tar.gz"])
def test_what_a_killed_export_leaves_beside_its_target_is_removed_by_the_next_one(tmp_path: Path, name: str) -> None:
    zoo = filled(tmp_path / "zoo")

    for module, function, after in (
        (Zoo, "read_weights_file", True),
        (atomic, "_flush_to_disk", False),
        (atomic, "_flush_to_disk", True),
    ):
        killed(lambda: export_zoo(zoo, tmp_path / name), module, function, after)
    left = {path.name for path in tmp_path.iterdir()} - {"zoo"}
    assert len(left) == 1 and name not in left, "no half archive under its name, and no more than one of the killed"

    export_zoo(zoo, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["zoo", name])
    assert len(import_zoo(tmp_path / "other", tmp_path / name)) == 2


def test_a_killed_writer_does_not_lock_others_out(tmp_path: Path) -> None:
    zoo = filled(tmp_path)
    killed(lambda: zoo.add(about(name="new"), tensors(3)), entries, "insert", False)

    assert zoo.add(about(name="new"), tensors(3)).what == "added"
