"""A sub-network out of a zoo, trained and used by stock nnU-Net where this package cannot be imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import SimpleITK as sitk
from nnunet_folders import Folders
from tiny_dataset import TIMEOUT

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.zoo.candidates_entries import find_candidates
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.store import Zoo

SHORT = (
    "--full-epochs 1 --depth-epochs 1 --width-epochs 1 --iterations 1 --random-networks 1 --multiple 2 "
    "--candidates 4 --measured 4 --features 2 --device cpu"
).split()

BLOCKED = """
import os, sys
os.cpu_count = lambda: 1

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nnunet_iac":
            raise ImportError("nnunet_iac is blocked here")

sys.meta_path.insert(0, Blocked())
"""

TRAINER = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class nnUNetTrainerTwoSteps(nnUNetTrainer):
    def initialize(self):
        super().initialize()
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1
"""
"""Stock nnU-Net but for the length of the training; found by nnU-Net's own variable."""


def without_this_package(base: Path) -> dict[str, str]:
    """The environment of a machine on which nobody installed nnunet-iac."""
    for folder, name, text in (("blocked", "sitecustomize.py", BLOCKED), ("own", "nnUNetTrainerTwoSteps.py", TRAINER)):
        (base / folder).mkdir()
        (base / folder / name).write_text(text)
    found = commands.environment(base, nnUNet_extTrainer=str(base / "own"))
    return {**found, "PYTHONPATH": str(base / "blocked")}


@pytest.mark.slow
def test_stock_nnunet_trains_and_predicts_an_extracted_subnetwork_without_this_package(tiny: Folders) -> None:
    zoo, start = Zoo(tiny.base / "zoo"), tiny.base / "start.pth"
    assert main(["zoo", "build", "-d", "990", "-c", "2d", "--zoo", str(zoo.place.folder), *SHORT]) == 0
    supernet = zoo.entries(Query("supernet"))[0].id
    where = ["--zoo", str(zoo.place.folder), "-o", str(start), "--plans-file", str(tiny.preprocessed / "small.json")]
    assert main(["zoo", "extract", supernet, "--candidate", "1", *where]) == 0
    (tiny.base / "images").mkdir()
    shutil.copy(tiny.raw / "imagesTr" / "patient0_a_0000.nii.gz", tiny.base / "images")
    environment = without_this_package(tiny.base)
    nothing = subprocess.run(
        [sys.executable, "-c", "import nnunet_iac"], env=environment, capture_output=True, text=True
    )
    assert nothing.returncode != 0 and "nnunet_iac is blocked here" in nothing.stderr

    model = "-p small -tr nnUNetTrainerTwoSteps"
    printed = run(tiny.base, environment, f"nnUNetv2_train 990 2d 0 {model} -pretrained_weights {start} -device cpu")
    where_to = f"-i {tiny.base}/images -o {tiny.base}/masks -device cpu -npp 0 -nps 0 --disable_tta"
    run(tiny.base, environment, f"nnUNetv2_predict -d 990 -c 2d -f 0 {model} {where_to}")

    assert "Loading pretrained weights from file" in printed and "Mean Validation Dice" in printed
    fold = tiny.results / "nnUNetTrainerTwoSteps__small__2d" / "fold_0"
    weights = read_checkpoint(fold / "checkpoint_final.pth")["network_weights"]
    unique = {tensor.data_ptr(): tensor.numel() for tensor in weights.values()}
    assert weights.keys() == read_checkpoint(start)["network_weights"].keys()
    assert sum(unique.values()) == find_candidates(zoo, supernet).parameters[1], "the smallest, not the plan's"
    plans = json.loads((fold.parent / "plans.json").read_text())
    assert "nnunet_iac" not in json.dumps(plans)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tiny.base / "masks" / "patient0_a.nii.gz")))
    assert mask.shape == (8, 24, 24)


def run(base: Path, environment: dict[str, str], line: str) -> str:
    words = line.split()
    words[0] = str(Path(sys.executable).parent / words[0])
    assert os.path.isfile(words[0])
    return commands.run(words, environment, base, 4 * TIMEOUT)
