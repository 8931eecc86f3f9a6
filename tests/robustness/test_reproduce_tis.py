"""The reproduction script: on a made-up folder with every known fault, and on the published measurements."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("NNUNET_IAC_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "transferability"
LENGTHS = (1, 20, 300)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("reproduce_tis", REPOSITORY / "scripts" / "reproduce_tis.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["reproduce_tis"] = module
    specification.loader.exec_module(module)
    return module


def run(script: ModuleType, folder: Path, target: Path) -> dict[str, Any]:
    assert script.main(["--data", str(folder), "--json", str(target)]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_folder(folder: Path, dice: dict[str, dict[int, float]], losses: dict[str, dict[int, float]]) -> None:
    """Write both files of a U-Net and a Swin U-Net whose curves are given by data set; seeds differ by 0.02 in all."""
    downstream = [
        {
            "model": model,
            "dataset": {"COVID-QU": "COVIDQUDataset"}.get(name, name),
            "pretraining length": length,
            "freeze encoder": frozen,
            "pretraining scheme": scheme,
            "seed": seed,
            "dice index": "" if name == "ACDC" else value + offset,
            "mean dice index": value + offset if name == "ACDC" else "",
        }
        for model, name, scheme, frozen in product(
            ("Swin U-Net", "basic U-Net"), dice, ("simple", "advanced"), (True, False)
        )
        for length, value in dice[name].items()
        for seed, offset in ((1, -0.01), (2, 0.01))
        if length > 0 or scheme == "simple"
    ]
    curves = product(
        losses,
        ("cosine_distance", "inv_pearson_corr", "l2_loss"),
        (0.0, 0.25, 0.5, 0.75, 1.0),
        (("swin_transformer", 4), ("u-net_encoder", 5)),
        ("simple_training", "advanced_training"),
        (True, False),
    )
    robustness = [
        {
            "dataset": name,
            "metric": metric,
            "margin": margin,
            "encoder": encoder,
            "pretraining_scheme": scheme,
            "pooled": pooled,
            "level": level,
            "pretraining_length": length,
            "robustness": value,
        }
        for name, metric, margin, (encoder, levels), scheme, pooled in curves
        for level in range(1, levels + 1)
        for length, value in losses[name].items()
    ]
    write(folder / "downstream_scores.csv", [*downstream, downstream[3]])
    write(folder / "robustness_scores.csv", robustness)


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    # ACDC: length 0 has the smallest loss only because it repeats that of length 300; length 20 is chosen.
    # COVID-QU: length 1 is chosen, and no pretraining is far better.
    write_folder(
        tmp_path,
        {"ACDC": {0: 0.4, 1: 0.5, 20: 0.8, 300: 0.6}, "COVID-QU": {0: 0.8, 1: 0.4, 20: 0.6, 300: 0.6}},
        {"ACDC": {0: 0.3, 1: 0.5, 20: 0.2, 300: 0.3}, "COVID-QU": {0: 0.5, 1: 0.1, 20: 0.4, 300: 0.4}},
    )
    return tmp_path


def test_figures_of_a_folder_with_every_known_fault(script, made_up, capsys):
    found = run(script, made_up, made_up / "tis.json")

    assert found["setups"] == 16
    assert found["no_pretraining"] == pytest.approx((50 + 100) / 2)
    assert found["full_pretraining"] == pytest.approx(75)
    assert found["random"] == pytest.approx((100 * (0.5 + 0.8 + 0.6) / 0.8 / 3 + 100 * 1.6 / 0.8 / 3) / 2)
    assert found["offline_default"] == pytest.approx((100 + 50) / 2)
    assert found["online_patience_1"] == found["online_patience_3"] == pytest.approx(75)
    assert found["hybrid"] == pytest.approx(100)
    assert set(found["offline"].values()) == {found["offline_default"]} and len(found["offline"]) == 120
    printed = capsys.readouterr().out
    assert "1 seeds were there twice, 0 with different values" in printed
    assert "repeats the last length's): ACDC\n" in printed
    assert "16 set-ups" in printed
    # Of ACDC no loss of length 0 is used, neither alone nor together with COVID-QU.
    assert printed.count("below that of length 0 in 8 of 8") == printed.count("below that of length 0") == 2


def test_offline_saves_nothing_and_online_what_it_did_not_train(script, made_up):
    rows = run(script, made_up, made_up / "tis.json")["by_dataset"]["COVID-QU"]["yardsticks"]

    assert rows["offline_default"]["saved"] == 0
    assert (rows["online_patience_1"]["trained"], rows["online_patience_1"]["saved"]) == (20, 280)
    assert rows["hybrid_online_patience_1"]["saved"] == 280


def test_incomplete_files_are_named(script, made_up):
    path = made_up / "robustness_scores.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("ACDC,l2_loss")), encoding="utf-8")

    with pytest.raises(ValueError, match=r"--data: expected losses of .*l2.* for Swin U-Net, ACDC"):
        script.main(["--data", str(made_up)])


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published measurements are not at {DATA}")
def test_published_measurements(script, tmp_path, capsys):
    """Golden figures of the two data sets in the folder; the reference's 36 set-ups have a third one."""
    found = run(script, DATA, tmp_path / "tis.json")

    assert found["setups"] == 24
    expected = {
        "no_pretraining": 93.856,
        "full_pretraining": 99.439,
        "random": 98.269,
        "offline_default": 99.399,
        "online_patience_1": 96.699,
        "online_patience_2": 96.758,
        "online_patience_3": 97.711,
        "hybrid": 99.488,
    }
    assert {name: round(found[name], 3) for name in expected} == expected
    assert len(found["offline"]) == 120
    assert found["offline"]["cosine, margin 0.5, pooled, level -2"] == found["offline_default"]
    assert found["full_pretraining"] > found["offline_default"], "nothing may promise a gain over full pretraining"
    assert capsys.readouterr().out.count("chosen in-sample") == 3
