"""The `nnunet-iac` command itself: sub-commands, statuses, and errors people can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nnunet_folders import Folders

from nnunet_iac.cli import main as module
from nnunet_iac.cli.main import COMMANDS, build_parser, load_command, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])

    assert left.value.code == 0
    assert load_command(name).HELP.split()[0] in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["implant"], ["configure"], ["configure", "-d", "1", "-c", "2d"]])
def test_a_wrong_call_ends_in_usage_and_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)

    assert left.value.code == 2 and "usage: nnunet-iac" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError, TypeError, FileNotFoundError, OSError, NotImplementedError])
def test_what_a_user_can_mend_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    fail_with(monkeypatch, error("plans: expected a file, found none"))

    assert main(["trainers"]) == 2
    assert capsys.readouterr().err == "nnunet-iac trainers: plans: expected a file, found none\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ValueError("wrong"))

    with pytest.raises(ValueError, match="wrong"):
        main(["--debug", "trainers"])


def test_a_bug_is_not_dressed_up_as_a_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("by\nzero"))

    assert main(["trainers"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ZeroDivisionError: by zero; this is a defect" in said and "--debug" in said
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "trainers"])


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    assert main(["trainers"]) == 130
    assert capsys.readouterr().err == "\nnnunet-iac trainers: interrupted\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_enough_ends_a_command_without_a_word(lines: int, tmp_path: Path) -> None:
    """Few lines meet the closed pipe when they are flushed, many when they are printed."""
    script = tmp_path / "prints.py"
    script.write_text(
        "import sys\nfrom nnunet_iac.cli import main, trainers\n"
        f"trainers.run = lambda args: sys.stdin.read() or print('word\\n' * {lines}) or 0\n"
        "sys.exit(main.main(['trainers']))\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(script)], text=True, **pipes)
    process.stdout.close()
    process.stdin.close()
    assert (process.stderr.read(), process.wait(60)) == ("", 141)


def test_a_closed_pipe_of_a_worker_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, BrokenPipeError("a worker is gone"))

    assert main(["trainers"]) == 2 and "a worker is gone" in capfd.readouterr().err


def test_debug_and_plain_errors_of_the_real_command(planned: Folders) -> None:
    words = ["configure", "-d", "990", "-c", "none", "-o", "new"]
    plain, debug = (
        subprocess.run([sys.executable, "-m", "nnunet_iac.cli.main", *flags, *words], capture_output=True, text=True)
        for flags in ([], ["--debug"])
    )

    assert plain.returncode == 2 and plain.stderr.count("\n") == 1 and "Traceback" not in plain.stderr
    assert debug.returncode != 0 and "Traceback" in debug.stderr


def test_building_the_parser_imports_no_heavy_library() -> None:
    script = (
        "import sys\nfrom nnunet_iac.cli.main import build_parser\nbuild_parser()\n"
        "print(sorted({'torch', 'nnunetv2', 'matplotlib', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    class Failing:
        HELP = "fails"
        add_arguments = staticmethod(lambda parser: None)

        @staticmethod
        def run(args: object) -> int:
            raise error

    parser = build_parser()
    monkeypatch.setattr(module, "build_parser", lambda: parser)
    monkeypatch.setattr(module, "load_command", lambda name: Failing)
