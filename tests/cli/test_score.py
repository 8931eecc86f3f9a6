"""`nnunet-iac score`: the table, the record, and mistakes in one message."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from nnunet_folders import Folders
from prepared_datasets import CASES, write_json, write_prepared

from nnunet_iac.cli.arguments import fold
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights


@pytest.fixture
def words(folders: Folders, stock_plans: dict[str, Any]) -> list[str]:
    """A call that scores two checkpoints."""
    write_prepared(folders, stock_plans, labels={"background": 0, "shell": 1, "box": 2})
    write_json(folders.preprocessed / "splits_final.json", [{"train": CASES[:4], "val": CASES[4:]}])
    target, paths = read_weight_target("990", "2d"), []
    for seed in (1, 2):
        paths.append(str(folders.base / f"seed{seed}.pth"))
        write_weights(Path(paths[-1]), build_network(target, seed), target, {})
    return ["score", *paths, "-d", "990", "-c", "2d", "--images", "3"]


def test_it_prints_the_most_robust_first_and_writes_the_record(
    words: list[str], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    record = folders.base / "scores.json"
    assert main(["score", "random", *words[1:], "--json", str(record)]) == 0

    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading == "loss, lower is more robust; 3 patches of 4 cases of Dataset990_Tiny, kind mr"
    losses = [float(row.split()[1]) for row in rows]
    assert losses == sorted(losses) and {row.split()[0] for row in rows} == {words[1], words[2], "random"}
    found = json.loads(record.read_text())
    assert {name: round(score["loss"], 4) for name, score in found["losses"].items()} == {
        row.split()[0]: float(row.split()[1]) for row in rows
    }
    assert found["target"]["cases"] == CASES[:4] and found["target"]["fold"] == 0
    assert found["scoring"]["configuration"] == {"distance": "cosine", "margin": 0.5, "pooled": False, "level": -1}


def losses_of(words: list[str], folders: Folders, *more: str) -> dict[str, float]:
    assert main([*words, *more, "--json", str(folders.base / "scores.json")]) == 0
    record = json.loads((folders.base / "scores.json").read_text())
    return {name: score["loss"] for name, score in record["losses"].items()}


def test_every_argument_counts_but_the_batch_size(words: list[str], folders: Folders) -> None:
    words.pop(2)
    words += ["--margin", "1"]
    expected = losses_of(words, folders)

    assert losses_of(words, folders, "--batch-size", "3") == pytest.approx(expected, abs=1e-6)
    for more in (
        "--seed 1",
        "--images 4",
        "--kind ct",
        "--level -2",
        "--margin 0.9",
        "--pooled",
        "--distance l2",
        "-f all",
    ):
        assert losses_of(words, folders, *more.split()) != expected, more


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-c", "3d"], "Dataset990_Tiny: configuration: expected one of"),
        (["-c", "3d_fullres"], "run nnUNetv2_preprocess -d 990 -plans_name nnUNetPlans -c 3d_fullres"),
        (["-d", "7"], "-d: Could not find a dataset with the ID 7"),
        (["-p", "none"], "plans: expected the file"),
        (["-f", "1"], "-f: expected a fold from 0 to 0, got 1"),
        (["--images", "1"], "an image is compared with another one"),
        (["--batch-size", "0"], "expected at least 2 and 1, got 3 and 0"),
        (["--level", "3"], "level: expected one of the encoder's 3 levels"),
        (["--margin", "-1"], "margin: expected a finite number of at least 0, got -1.0"),
        (["--json", "nowhere/scores.json"], "--json: expected an existing folder, nowhere is none"),
    ],
)
def test_a_mistake_is_one_message(
    words: list[str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac score: ") and message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("none.pth", "checkpoint: expected the file none.pth, found none"),
        ("timm:no_such_model", "expected a model that timm can load with its weights, got 'timm:no_such_model'"),
    ],
)
def test_an_encoder_that_is_not_there_is_named(
    words: list[str], capsys: pytest.CaptureFixture[str], encoder: str, message: str
) -> None:
    assert main([words[0], encoder, *words[1:]]) == 2
    assert message in capsys.readouterr().err


def test_an_encoder_given_twice_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", words[1], *words[1:]]) == 2
    assert "ENCODER: expected different ones" in capsys.readouterr().err


def test_a_checkpoint_of_another_dimension_is_refused(
    words: list[str], folders: Folders, stock_plans: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_prepared(folders, stock_plans, configuration="3d_fullres")

    assert main([*words, "-c", "3d_fullres"]) == 2
    assert "seed1.pth takes, got 3; choose another encoder, or another configuration" in capsys.readouterr().err


def test_a_dead_encoder_is_warned_of(words: list[str], folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    target = read_weight_target("990", "2d")
    network = build_network(target)
    for weight in network.parameters():
        weight.data.zero_()
    write_weights(folders.base / "dead.pth", network, target, {})

    assert main(["score", str(folders.base / "dead.pth"), *words[3:]]) == 0
    assert "0.5000  WARNING: 3 of 3 features have no direction" in capsys.readouterr().out


def test_a_fold_is_a_number_or_all() -> None:
    assert (fold("3"), fold("all")) == (3, "all")
    for text in ("-1", "first"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number from 0 or all"):
            fold(text)
