"""`nnunet-iac distance`: the ranking, the record, the heat map, and mistakes in one message."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from nnunet_folders import DATASET, Folders
from PIL import Image
from prepared_datasets import CASES, REGIONS, write_json, write_prepared

from nnunet_iac.cli import distance
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights
from nnunet_iac.similarity.distance import METHODS, Method

SAME, NEAR, FAR = "Dataset991_Same", "Dataset992_Near", "Dataset993_Far"


@pytest.fixture
def pool(folders: Folders, stock_plans: dict[str, Any]) -> Folders:
    """A target, a copy of it, one with other stripes, and one of two colours with even wider ones."""
    for name, texture in ((DATASET, 1), (SAME, 1), (NEAR, 2), (FAR, 12)):
        write_prepared(folders, stock_plans, name, texture=texture, channels=("a", "b") if name == FAR else ("a",))
    return folders


def measure(*words: str, sources: tuple[str, ...] = ("993", "992", "991")) -> int:
    return main(["distance", "-d", "990", "-s", *sources, "--images", "4", *words])


def record_of(folders: Folders, *words: str) -> dict[str, Any]:
    assert measure("--json", str(folders.base / "d.json"), *words) == 0
    return dict(json.loads((folders.base / "d.json").read_text()))


def table_of(record: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(row["source"], row["target"]): row["value"] for row in record["distances"]}


def test_a_copy_is_at_0_and_sources_are_ranked(pool: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--images", "8") == 0

    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading == "distance to Dataset990_Tiny (label-gaussians, encoder random, 8 patches of each)"
    assert [row.split()[:2] for row in rows] == [["1", SAME], ["2", NEAR], ["3", FAR]]
    values = [float(row.split()[2]) for row in rows]
    assert values[0] == pytest.approx(0, abs=1e-3) and 0.01 < values[1] < values[2]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ranks_the_copy_first(pool: Folders, method: str) -> None:
    record = record_of(pool, "--method", method)

    values = table_of(record)
    assert min(values, key=values.__getitem__) == (SAME, DATASET) and record["method"] == method
    assert all(np.isfinite(list(values.values())))


def test_the_record_has_labels_images_and_what_was_left_out(pool: Folders) -> None:
    record = record_of(pool, "--patch-size", "8", "8")

    assert record["encoder"] == "random" and record["images"] == {DATASET: 4, FAR: 4, NEAR: 4, SAME: 4}
    row = next(row for row in record["distances"] if row["source"] == NEAR)
    assert row["source_names"] == row["target_names"] == ["shell", "box"]
    assert np.sum(row["plan"]) == pytest.approx(1) and row["source_dropped"]["rows"] == 0


def test_all_pairs_are_symmetric_and_0_on_the_diagonal(pool: Folders) -> None:
    picture = pool.base / "map.png"
    values = table_of(record_of(pool, "--images", "8", "--all-pairs", "--png", str(picture)))

    names = [DATASET, FAR, NEAR, SAME]
    table = np.array([[values[row, column] for column in names] for row in names])
    assert np.diag(table) == pytest.approx(np.zeros(4), abs=1e-3)
    assert table == pytest.approx(table.T, abs=1e-6) and table[0, 1] > table[0, 2] > 0.01
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width > 300


def test_one_column_is_drawn_without_all_pairs(pool: Folders) -> None:
    assert measure("--png", str(pool.base / "map.png")) == 0
    assert (pool.base / "map.png").read_bytes().startswith(b"\x89PNG")


def test_regions_and_labels_of_few_voxels_are_compared(folders: Folders, stock_plans: dict[str, Any]) -> None:
    write_prepared(folders, stock_plans, labels=REGIONS)
    write_prepared(folders, stock_plans, SAME, labels={"background": 0, "shell": 1, "box": 2, "ghost": 3})
    assert main(["distance", "-d", "990", "-s", "991", "--images", "8", "--json", str(folders.base / "d.json")]) == 0

    (row,) = json.loads((folders.base / "d.json").read_text())["distances"]
    assert row["target_names"] == ["label 1", "label 2"] and row["source_dropped"]["labels"] == ["ghost"]


def test_what_was_left_out_is_printed(
    folders: Folders, stock_plans: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_prepared(folders, stock_plans)
    labels = {"background": 0, "shell": 1, "box": 2, "ghost": 3}
    write_prepared(folders, stock_plans, SAME, labels=labels, values={CASES[0]: np.nan})
    assert main(["distance", "-d", "990", "-s", "991", "--images", "20"]) == 0

    out = capsys.readouterr().out
    assert "WARNING: Dataset991_Same: source: 1 labels without a sample were dropped: ghost" in out
    assert "rows with NaN or infinity were dropped" in out


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_a_checkpoint_is_an_encoder(folders: Folders, stock_plans: dict[str, Any], configuration: str) -> None:
    for name, texture in ((DATASET, 1), (NEAR, 2)):
        write_prepared(folders, stock_plans, name, texture=texture, configuration=configuration)
    target = read_weight_target("990", configuration)
    write_weights(folders.base / "e.pth", build_network(target), target, {})

    words = ["-c", configuration, "--encoder", str(folders.base / "e.pth"), "--json", str(folders.base / "d.json")]
    assert main(["distance", "-d", "990", "-s", "992", "--images", "6", *words]) == 0
    assert json.loads((folders.base / "d.json").read_text())["distances"][0]["value"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-s", "990"], "-d, -s: expected each data set once, got ['Dataset990_Tiny', 'Dataset990_Tiny']"),
        (["-s", "77"], "-d: Could not find a dataset with the ID 77"),
        (["--encoder", "none.pth"], "checkpoint: expected the file none.pth, found none"),
        (["--images", "0"], "--images: expected at least one patch, got 0"),
        (["--patch-size", "8"], "patch size: expected 2 positive numbers for 2d of Dataset990_Tiny, got [8]"),
        (["-c", "3d_fullres"], "run nnUNetv2_preprocess -d 990"),
        (["--png", "nowhere/map.png"], "--png: expected an existing folder, nowhere is none"),
        (["--json", "nowhere/d.json"], "--json: expected an existing folder, nowhere is none"),
    ],
)
def test_a_mistake_is_one_message(
    pool: Folders, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert measure(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac distance: ") and message in error and "Traceback" not in error


def test_a_data_set_without_a_label_region_is_named(
    folders: Folders, stock_plans: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_prepared(folders, stock_plans)
    base: Path = write_prepared(folders, stock_plans, SAME)
    content = json.loads((base / "dataset.json").read_text())
    write_json(base / "dataset.json", {**content, "labels": {"background": 0, "ghost": 5}})

    assert main(["distance", "-d", "990", "-s", "991", "--images", "4"]) == 2
    assert "Dataset991_Same: batches: expected a voxel of one of the labels [5]" in capsys.readouterr().err


def test_the_methods_of_the_command_are_those_of_the_library() -> None:
    parser = argparse.ArgumentParser()
    distance.add_arguments(parser)

    (method,) = [action for action in parser._actions if action.dest == "method"]

    assert tuple(method.choices or ()) == METHODS == get_args(Method) and method.default == METHODS[0]
