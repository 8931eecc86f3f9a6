"""``nnunet-iac demo`` around its steps: what it accepts, how it prepares, resumes, fails and sums up."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_iac.cli import demo as cli
from nnunet_iac.cli.demo import (
    add_arguments,
    build_environment,
    introduction,
    link_validation_images,
    make_demo,
    prepare_folder,
    run,
    summary,
)
from nnunet_iac.demo.runner import Step
from nnunet_iac.demo.storyboard import HOST, IMPLANT, Demo

PHANTOM = Demo("Dataset900_Phantom", None, 0, "cpu")


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def write_validation(folder: Path, trainer: str, dice: float) -> None:
    path = folder / PHANTOM.model_folder(trainer) / "fold_0" / "validation" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"foreground_mean": {"Dice": dice}, "metric_per_case": [{}, {}]}))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw data set of three cases with two channels."""
    folder = tmp_path / "Dataset042_Real"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in ("a", "b", "c"):
        for channel in ("0000", "0001"):
            (folder / "imagesTr" / f"{case}_{channel}.png").write_text(case)
    (folder / "dataset.json").write_text('{"file_ending": ".png"}')
    return folder


@pytest.fixture
def trivial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the story by one empty step, with the Dice that the summary reads."""
    monkeypatch.setattr(cli, "build_steps", lambda _: [Step("one", "One", ("python", "-c", ""), Path("one.txt"))])
    monkeypatch.setattr(cli, "build_environment", lambda _: {})
    monkeypatch.setattr(cli, "_validation_dice", lambda model: (0.5 if HOST in str(model) else 0.625, 2))


def test_the_defaults_are_a_phantom_on_the_processor() -> None:
    args = parse()
    assert make_demo(args.raw, args.seed, args.device) == PHANTOM


def test_real_data_keep_their_name_and_number(raw: Path) -> None:
    demo = make_demo(raw, 1, "cpu")
    assert (demo.dataset, demo.identifier, demo.raw) == ("Dataset042_Real", 42, str(raw.resolve()))


def test_a_folder_that_is_no_data_set_is_named_with_all_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks dataset.json, imagesTr, labelsTr"):
        make_demo(tmp_path, 0, "cpu")


def test_a_data_set_without_a_number_is_refused(raw: Path) -> None:
    with pytest.raises(ValueError, match="Dataset<three digits>_<name> without blanks, got 'hearts'"):
        make_demo(raw.rename(raw.with_name("hearts")), 0, "cpu")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="--seed: expected 0 or more, got -1"):
        make_demo(None, -1, "cpu")


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="earlier demo"):
        prepare_folder(tmp_path, PHANTOM, restart=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("other", "restart", "kept"),
    [(PHANTOM, False, True), (PHANTOM, True, False), (Demo("Dataset900_Phantom", None, 1, "cpu"), False, False)],
)
def test_an_earlier_demo_goes_on_unless_it_was_of_something_else(
    tmp_path: Path, other: Demo, restart: bool, kept: bool
) -> None:
    prepare_folder(tmp_path, PHANTOM, restart=False)
    (tmp_path / ".steps").mkdir()
    prepare_folder(tmp_path, other, restart=restart)
    assert (tmp_path / ".steps").exists() is kept


def test_real_data_are_linked_and_never_changed(tmp_path: Path, raw: Path) -> None:
    demo = make_demo(raw, 0, "cpu")
    for _ in range(2):
        prepare_folder(tmp_path / "demo", demo, restart=False)
    assert (tmp_path / "demo" / demo.raw_folder).resolve() == raw.resolve()
    assert len(list((raw / "imagesTr").iterdir())) == 6


def test_all_channels_of_validation_cases_are_predicted(tmp_path: Path, raw: Path) -> None:
    demo = make_demo(raw, 0, "cpu")
    prepare_folder(tmp_path / "demo", demo, restart=False)
    splits = tmp_path / "demo" / demo.preprocessed_folder / "splits_final.json"
    splits.parent.mkdir(parents=True)
    splits.write_text('[{"train": ["b"], "val": ["c", "a"]}]')
    assert link_validation_images(demo, tmp_path / "demo") == ["a", "c"]
    linked = sorted((tmp_path / "demo" / "images").iterdir())
    assert [path.name for path in linked] == ["a_0000.png", "a_0001.png", "c_0000.png", "c_0001.png"]
    assert linked[0].read_text() == "a"


def test_the_environment_stays_inside_the_folder(tmp_path: Path) -> None:
    environment = build_environment(tmp_path)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        assert environment[name] == str(tmp_path / name)
    assert (Path(environment["nnUNet_extTrainer"]) / f"{IMPLANT}.py").is_file()


def test_the_environment_is_shown_so_that_it_can_be_repeated(tmp_path: Path) -> None:
    text = "\n".join(introduction(PHANTOM, tmp_path))
    assert 'nnUNet_extTrainer="$(nnunet-iac trainers)"' in text
    assert f"cd {tmp_path}" in text


def test_the_summary_gives_both_dice_and_does_not_claim_a_gain(tmp_path: Path) -> None:
    write_validation(tmp_path, HOST, 0.8)
    write_validation(tmp_path, IMPLANT, 0.8125)
    text = "\n".join(summary(PHANTOM, tmp_path, 61.4))
    assert "2 validation cases" in text
    assert "host       0.800" in text and "implanted  0.812" in text
    assert "proves that the pipeline works, not that cells bring a gain" in text
    assert str(tmp_path / "report.html") in text


def test_a_run_prints_command_and_result_and_removes_preprocessed_data(
    tmp_path: Path, trivial: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parse("--folder", str(tmp_path / "demo"))) == 0
    printed = capsys.readouterr().out
    assert "[1/1] One" in printed and "implanted  0.625" in printed
    assert not (tmp_path / "demo" / PHANTOM.preprocessed_folder).exists()


def test_keep_spares_preprocessed_data(tmp_path: Path, trivial: None) -> None:
    kept = tmp_path / PHANTOM.preprocessed_folder
    prepare_folder(tmp_path, PHANTOM, restart=False)
    kept.mkdir()
    assert run(parse("--folder", str(tmp_path), "--keep")) == 0
    assert kept.exists()


def test_a_second_run_skips_finished_steps(tmp_path: Path, trivial: None, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(parse("--folder", str(tmp_path / "demo"))) == 0
    assert "skipped" in capsys.readouterr().out


def test_a_failed_step_ends_with_its_log_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Step("host", "Train", ("python", "-c", "raise SystemExit('disk is full')"), Path("host.txt"))
    monkeypatch.setattr(cli, "build_steps", lambda _: [step])
    assert run(parse("--folder", str(tmp_path / "demo"))) == 1
    assert "  | disk is full\nMend the cause" in capsys.readouterr().out


def test_an_interrupt_is_answered_with_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_steps", interrupt)
    assert run(parse("--folder", str(tmp_path / "demo"))) == 130
    assert "repeat the command to go on" in capsys.readouterr().out


def test_importing_the_command_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'nnunetv2', 'matplotlib', 'scipy', 'SimpleITK'}"
    code = f"import sys, nnunet_iac.cli.demo; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
