"""Steps run in order, leave logs and markers, are skipped when they are finished and end with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_iac.demo.runner import Step, StepError, count_finished, find_program, run_step, run_steps


def make_step(name: str, code: str, *makes: str) -> Step:
    return Step(name, name, ("python", "-c", code), Path("logs") / f"{name}.txt", tuple(Path(m) for m in makes))


def touching(name: str) -> Step:
    return make_step(name, f"from pathlib import Path; print('made', Path('{name}').write_text('x'))", name)


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_step_runs_in_the_folder_with_the_environment_and_a_log(tmp_path: Path) -> None:
    step = make_step("one", "import os; print(os.getcwd(), os.environ['SOME'])")
    run_step(step, tmp_path, {"SOME": "thing"})
    assert (tmp_path / "logs" / "one.txt").read_text().split() == [str(tmp_path.resolve()), "thing"]


def test_each_step_shows_its_command_line_and_its_seconds(tmp_path: Path) -> None:
    said: list[str] = []
    run_steps([make_step("one", "pass")], tmp_path, {}, say=said.append)
    assert said[0] == "\n[1/1] one"
    assert said[1] == "  $ python -c pass"
    assert said[2].startswith("  done in 0 s; log: ")


def test_a_failing_step_shows_the_end_of_its_log_and_stops_the_rest(tmp_path: Path) -> None:
    failing = make_step("bad", "import sys; print('\\n'.join(map(str, range(99)))); sys.exit('out of memory')")
    with pytest.raises(StepError, match=r"status 0, got 1 (.|\n)*python -c(.|\n)*\| 98\n  \| out of memory$") as caught:
        run_steps([failing, touching("after")], tmp_path, {}, say=quiet)
    assert "| 10\n" not in str(caught.value)
    assert not (tmp_path / "after").exists()


def test_finished_steps_are_skipped(tmp_path: Path) -> None:
    steps = [touching("one"), touching("two")]
    first = run_steps(steps, tmp_path, {}, say=quiet)
    (tmp_path / "one").write_text("kept")
    assert run_steps(steps, tmp_path, {}, say=quiet) == first
    assert (tmp_path / "one").read_text() == "kept"


def test_a_repaired_step_goes_on_where_it_failed(tmp_path: Path) -> None:
    with pytest.raises(StepError):
        run_steps([touching("one"), make_step("two", "raise SystemExit(3)")], tmp_path, {}, say=quiet)
    steps = [touching("one"), touching("two")]
    assert count_finished(steps, tmp_path) == 1
    run_steps(steps, tmp_path, {}, say=quiet)
    assert count_finished(steps, tmp_path) == 2


def test_a_changed_command_repeats_its_step_and_all_later_ones(tmp_path: Path) -> None:
    run_steps([touching("one"), touching("two"), touching("three")], tmp_path, {}, say=quiet)
    steps = [touching("one"), make_step("two", "pass"), touching("three")]
    assert count_finished(steps, tmp_path) == 1
    with pytest.raises(StepError):
        run_steps([steps[0], make_step("two", "raise SystemExit(1)"), steps[2]], tmp_path, {}, say=quiet)
    assert count_finished([touching("one"), touching("two"), touching("three")], tmp_path) == 1


def test_a_step_is_repeated_if_a_later_one_needs_what_is_gone(tmp_path: Path) -> None:
    steps = [touching("one"), touching("two")]
    run_steps(steps, tmp_path, {}, say=quiet)
    (tmp_path / "one").unlink()
    assert count_finished(steps, tmp_path) == 2
    assert count_finished([*steps, touching("three")], tmp_path) == 0


def test_what_an_interrupted_attempt_made_is_removed_first(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "stale").write_text("x")
    run_step(make_step("one", "import os; os.mkdir('folder')", "folder"), tmp_path, {})
    assert list((tmp_path / "folder").iterdir()) == []


def test_removing_a_link_spares_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    run_step(make_step("one", "pass", "link"), tmp_path, {})
    assert (tmp_path / "data").is_dir()
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("content", ["", "[]", '{"command"'])
def test_a_damaged_marker_counts_as_none(tmp_path: Path, content: str) -> None:
    step = touching("one")
    run_step(step, tmp_path, {})
    (tmp_path / ".steps" / "one.json").write_text(content)
    assert count_finished([step], tmp_path) == 0


def test_preparation_happens_only_before_a_step_that_runs(tmp_path: Path) -> None:
    done: list[str] = []
    for _ in range(2):
        run_steps([touching("one")], tmp_path, {}, before={"one": lambda: done.append("one")}, say=quiet)
    assert done == ["one"]


def test_a_missing_program_is_named_with_the_remedy() -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-program: expected the program beside .* pip"):
        find_program("no-such-program")


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_terminating_the_run_ends_the_command_and_its_children(tmp_path: Path) -> None:
    beating = "while True: open('beats', 'a').write('x'); time.sleep(0.02)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', \"import time\\n{beating}\"])"
    code = (
        "from pathlib import Path; from nnunet_iac.demo.runner import Step, run_step; import sys\n"
        f"run_step(Step('one', 'one', ('python', '-c', {child!r}), Path('log.txt')), Path(sys.argv[1]), {{}})"
    )
    runner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        wait_for(tmp_path / "beats")
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(timeout=20) == 128 + signal.SIGTERM
    finally:
        runner.kill()
    beats = (tmp_path / "beats").stat().st_size
    time.sleep(0.3)
    assert (tmp_path / "beats").stat().st_size == beats


def wait_for(path: Path) -> None:
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{path} did not appear")
