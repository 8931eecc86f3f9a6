"""`nnunet-iac configure`: derived plans, and nothing written where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunet_folders import DATASET, Folders

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans

BASE = ["configure", "-d", "990", "-c", "2d"]


def files(folders: Folders) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folders.preprocessed.iterdir()}


@pytest.mark.parametrize("dataset", ["990", DATASET])
def test_it_writes_plans_that_carry_the_settings(
    planned: Folders, capsys: pytest.CaptureFixture[str], dataset: str
) -> None:
    words = ["-o", "short", "--batch-size", "3", "--set", "search.epochs=8", "search.host=joint"]
    assert main(["configure", "-d", dataset, "-c", "2d", *words]) == 0

    plans = read_plans(planned.preprocessed / "short.json")
    configuration = configuration_of(plans, "2d")
    assert (plans["plans_name"], plans["derived_from"]) == ("short", "nnUNetPlans")
    assert configuration["iac"] == {"search": {"epochs": 8, "host": "joint"}}
    assert (configuration["batch_size"], configuration["data_identifier"]) == (3, "nnUNetPlans_2d")
    assert "train it with -p short" in capsys.readouterr().out


def test_the_patch_may_be_made_smaller(planned: Folders) -> None:
    assert main([*BASE, "-o", "small", "--patch-size", "16", "24"]) == 0

    assert configuration_of(read_plans(planned.preprocessed / "small.json"), "2d")["patch_size"] == [16, 24]


@pytest.mark.parametrize("patch", [["16"], ["16", "17"], ["0", "16"], ["16", "16", "16"], ["4", "4"]])
def test_a_patch_that_the_network_cannot_take_is_refused(
    planned: Folders, capsys: pytest.CaptureFixture[str], patch: list[str]
) -> None:
    before = files(planned)

    assert main([*BASE, "-o", "small", "--patch-size", *patch]) == 2
    assert "patch size: expected" in capsys.readouterr().err
    assert files(planned) == before


def test_cells_at_levels_that_the_network_does_not_have_are_refused(
    planned: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(planned)

    assert main([*BASE, "-o", "deep", "--set", "cell.first_level=2"]) == 2
    assert "expected at most 1, since the plan has 2 skip connections, got 2; set cell.first_level" in (
        capsys.readouterr().err
    )
    assert files(planned) == before
    assert main([*BASE, "-o", "deep", "--set", "cell.first_level=1"]) == 0


def test_set_may_be_repeated(planned: Folders) -> None:
    assert main([*BASE, "-o", "short", "--set", "search.epochs=8", "--set", "search.seed=1", "cell.nodes=2"]) == 0

    block = configuration_of(read_plans(planned.preprocessed / "short.json"), "2d")["iac"]
    assert block == {"search": {"epochs": 8, "seed": 1}, "cell": {"nodes": 2}}


def test_overwrite_replaces(planned: Folders) -> None:
    assert main([*BASE, "-o", "short", "--set", "search.epochs=8"]) == 0
    assert main([*BASE, "-o", "short", "--overwrite", "--set", "search.epochs=9"]) == 0

    assert configuration_of(read_plans(planned.preprocessed / "short.json"), "2d")["iac"]["search"]["epochs"] == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "taken"], "exists; choose another or give --overwrite"),
        (["-o", "nnUNetPlans", "--overwrite"], "expected another name than the plans to derive from"),
        (["-o", "new", "-p", "missing"], "plans in that folder: ['nnUNetPlans']"),
        (["-o", "new", "-c", "3d_fullres"], "expected one of ['2d', '2d_small'], got '3d_fullres'"),
        (["-o", "new", "-d", "991"], "991"),
        (["-o", "new", "-d", "Dataset991_None"], "found none"),
        (["-o", "new", "-d", "hippocampus"], "hippocampus"),
        (["-o", "a/b"], "expected a plain file name"),
        (["-o", "new", "-p", "../x"], "expected a plain file name"),
        (["-o", "new", "--batch-size", "1"], "--batch-size: expected at least 2, got 1"),
        (["-o", "new", "--set", "search.epochs"], "expected section.key=value"),
        (["-o", "new", "--set", "search.epochs=1", "cell.knots=2"], "2 problem(s)"),
        (["-o", "new", "--set", "search.epochs=3"], "expected fewer than search.epochs = 3, got 5"),
    ],
)
def test_a_mistake_is_one_message_with_status_2_and_nothing_is_written(
    planned: Folders, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (planned.preprocessed / "taken.json").write_text("mine")
    before = files(planned)

    assert main([*BASE, *words]) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac configure: ") and message in error
    assert "Traceback" not in error and error.count("\n") == 1
    assert files(planned) == before


def test_settings_that_were_broken_by_hand_are_named(
    planned: Folders, stock_plans: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    stock_plans["configurations"]["2d"]["iac"] = {"search": 5}
    (planned.preprocessed / "nnUNetPlans.json").write_text(json.dumps(stock_plans))

    assert main([*BASE, "-o", "new", "--set", "search.epochs=8"]) == 2
    assert "search: expected a JSON object, got 5" in capsys.readouterr().err


def test_an_unset_variable_is_named(
    planned: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_preprocessed")

    assert main([*BASE, "-o", "new"]) == 2
    assert "nnUNet_preprocessed: expected the environment variable" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_plans_whole(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*BASE, "-o", "short"]) == 0
    before = files(planned)

    def full(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text[:10].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main([*BASE, "-o", "short", "--overwrite", "--set", "search.epochs=8"]) == 2
    assert files(planned) == before


def test_list_shows_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["configure", "--list"])

    text = capsys.readouterr().out
    assert left.value.code == 0
    for part in ("search.epochs=200", "search.prune=true", "search.tau=null", "search.host=frozen", "cell.nodes=4"):
        assert part in text
