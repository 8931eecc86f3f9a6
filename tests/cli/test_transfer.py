"""`nnunet-iac transfer`: the table, the files, and mistakes in one message."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights

LABELS = {"background": 0, "RV": 1, "LV": 2}


@pytest.fixture
def words(folders: Folders, stock_plans: dict[str, Any]) -> list[str]:
    """A call that works: from one channel in 2D to two."""
    for name, channels in ((DATASET, ["MRI"]), ("Dataset991_Other", ["T1", "T2"])):
        folder = folders.preprocessed.parent / name
        folder.mkdir(exist_ok=True)
        dataset = {"channel_names": {str(i): c for i, c in enumerate(channels)}, "labels": LABELS}
        (folder / "dataset.json").write_text(json.dumps(dataset))
        (folder / "nnUNetPlans.json").write_text(json.dumps({**stock_plans, "dataset_name": name}))
    source = read_weight_target(DATASET, "2d")
    write_weights(folders.base / "host.pth", build_network(source), source, {})
    return f"transfer --from {folders.base}/host.pth -d 991 -c 2d -o {folders.base}/start.pth".split()


def test_it_writes_checkpoint_and_report_and_says_how_to_go_on(
    words: list[str], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0

    out = capsys.readouterr().out
    assert "encoder.stages.0.0.convs.0.conv.weight" in out and "channel T1, T2: sum of MRI / 2" in out
    assert "(100.0 %) come from the source" in out
    assert f"nnUNetv2_train Dataset991_Other 2d FOLD -p nnUNetPlans -pretrained_weights {folders.base}/start.pth" in out
    assert json.loads((folders.base / "start.json").read_text())["tensors"]["adapted"] == 1
    assert len(torch.load(folders.base / "start.pth", weights_only=False)["network_weights"]) > 20


def test_overwrite_replaces(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert main(words) == 2
    assert "exists; choose another or give --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "start.pt"], "-o: expected a file name that ends in .pth, got 'start.pt'"),
        (["-o", "nowhere/start.pth"], "-o: expected an existing folder, nowhere is none"),
        (["--from", "none.pth"], "checkpoint: expected the file none.pth, found none"),
        (["-c", "3d_fullres"], "expected one of ['2d', '2d_small'], got '3d_fullres'"),
        (["-p", "missing"], "plans in that folder: ['nnUNetPlans']"),
        (["--source-configuration", "3d"], "got '3d'"),
        (["--source-plans", "none.json"], "plans: expected the file none.json, found none"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    words: list[str], folders: Folders, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    before = sorted(folders.base.rglob("*"))

    assert main([*words, *more]) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac transfer: ") and message in error and "Traceback" not in error
    assert sorted(folders.base.rglob("*")) == before


def test_the_source_itself_is_not_overwritten(words: list[str], folders: Folders) -> None:
    before = (folders.base / "host.pth").read_bytes()

    assert main([*words, "-o", str(folders.base / "host.pth"), "--overwrite"]) == 2
    assert (folders.base / "host.pth").read_bytes() == before


def test_its_plans_may_be_given(words: list[str], folders: Folders) -> None:
    checkpoint = torch.load(folders.base / "host.pth", weights_only=False)
    torch.save({"network_weights": checkpoint["network_weights"]}, folders.base / "host.pth")
    assert main(words) == 2

    plans = folders.preprocessed / "nnUNetPlans.json"
    assert main([*words, "--source-plans", str(plans), "--source-configuration", "2d"]) == 0
