"""The four data sets of the papers, from a download (tiny, synthetic, in the real layout) to predicted masks.

The commands are those that `nnunet-iac doctor --datasets` prints, run by a shell; only options that make them
small are appended. The converters are nnU-Net's own, so every dataset.json is the real one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from commands import environment, run
from paper_downloads import AMOS_LABELS, DOWNLOADS, PATIENTS

from nnunet_iac.nnunet.doctor.paper_datasets import (
    ONE_GO_TRAINER,
    PAPER_DATASETS,
    PaperDataset,
    describe,
    plan_step,
    predict_command,
    steps,
    train_command,
)

TRAINER = ONE_GO_TRAINER
PLANS = "nnUNetPlans_tiny"
TIMEOUT = 900
"""Seconds for one step of one data set; a step takes 10 to 20 on an idle core."""
TINY = (
    "host.epochs=1 host.iterations=1 search.epochs=3 search.warmup_epochs=1 search.iterations=1 "
    "training.epochs=1 training.iterations=1 training.validation_iterations=1"
)
DATASET_JSON = {
    "ACDC": {
        "channel_names": {"0": "cineMRI"},
        "labels": {"background": 0, "RV": 1, "MLV": 2, "LVC": 3},
        "numTraining": 2 * PATIENTS,
        "file_ending": ".nii.gz",
    },
    "BraTS": {
        "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
        "regions_class_order": [1, 2, 3],
        "numTraining": PATIENTS,
        "file_ending": ".nii.gz",
    },
    "KiTS": {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2},
        "regions_class_order": [1, 3, 2],
        "numTraining": PATIENTS,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    },
    "AMOS": {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(AMOS_LABELS)},
        "numTraining": PATIENTS,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    },
}


@dataclass(frozen=True)
class Chain:
    """One data set that went through the whole chain below `folder`."""

    dataset: PaperDataset
    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / self.dataset.folder

    @property
    def preprocessed(self) -> Path:
        return self.folder / "preprocessed" / self.dataset.folder

    @property
    def model(self) -> Path:
        return self.folder / "results" / self.dataset.folder / f"{TRAINER}__{PLANS}__2d"


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Chain]]]:
    """The chains of all selected data sets, side by side: each is a row of mostly single-threaded commands."""
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    selected = sorted({call.params["chain"] for call in calls if "chain" in call.params})
    folders = {name: tmp_path_factory.mktemp(name) for name in selected}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield {name: pool.submit(run_chain, PAPER_DATASETS[name], folders[name]) for name in selected}
    for folder in folders.values():
        shutil.rmtree(folder)


SLOW = ("AMOS", "KiTS")
"""One chain of many labels and one of volumes; ACDC and BraTS (phases, regions) run by default."""


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PAPER_DATASETS])
def chain(request: pytest.FixtureRequest, running: dict[str, Future[Chain]]) -> Chain:
    return running[request.param].result()


def test_the_converter_writes_the_dataset_json_we_document(chain: Chain) -> None:
    written = json.loads((chain.raw / "dataset.json").read_text())

    expected = DATASET_JSON[chain.dataset.name]
    assert {key: written.get(key) for key in expected} == expected
    assert ("regions_class_order" in written) == ("regions_class_order" in expected)


def test_the_network_has_one_output_per_region_or_label(chain: Chain) -> None:
    checkpoint = torch.load(chain.model / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False)

    weights = checkpoint["network_weights"]
    heads = {value.shape[0] for key, value in weights.items() if key.startswith("decoder.seg_layers.")}
    regions = {"ACDC": 4, "BraTS": 3, "KiTS": 3, "AMOS": 16}
    assert heads == {regions[chain.dataset.name]} == {chain.dataset.output_channels}


def test_the_trained_plans_name_our_network(chain: Chain) -> None:
    plans = json.loads((chain.model / "plans.json").read_text())

    assert plans["configurations"]["2d"]["architecture"]["network_class_name"].endswith("CellUNet")


def test_every_image_gets_a_mask_of_its_shape_with_known_labels(chain: Chain) -> None:
    masks = {file.name: read(file) for file in (chain.folder / "predictions").glob("*.nii.gz")}

    images = {
        file.name[: -len("_0000.nii.gz")] + ".nii.gz": read(file)
        for file in (chain.raw / "imagesTs").glob("*_0000.nii.gz")
    }
    allowed = set(range(16 if chain.dataset.name == "AMOS" else 4))
    assert masks.keys() == images.keys() != set()
    assert {name: mask.shape for name, mask in masks.items()} == {name: image.shape for name, image in images.items()}
    assert {value for mask in masks.values() for value in np.unique(mask)} <= allowed


@pytest.mark.parametrize("chain", ["ACDC"], indirect=True)
def test_the_two_phases_of_an_acdc_patient_stay_together(chain: Chain) -> None:
    splits = json.loads((chain.preprocessed / "splits_final.json").read_text())
    groups = json.loads((chain.preprocessed / "patient_groups.json").read_text())

    assert len(groups) == PATIENTS and all(len(cases) == 2 for cases in groups.values())
    for split in splits:
        assert not {case[:10] for case in split["train"]} & {case[:10] for case in split["val"]}


@pytest.mark.parametrize("chain", ["BraTS"], indirect=True)
def test_brats_predictions_get_the_labels_of_brats_back(chain: Chain) -> None:
    back = {1: 2, 2: 1, 3: 4, 0: 0}
    for file in (chain.folder / "predictions").glob("*.nii.gz"):
        expected = np.vectorize(back.get)(read(file))
        assert np.array_equal(read(chain.folder / "brats labels" / file.name), expected)


@pytest.mark.parametrize("name", list(PAPER_DATASETS))
def test_the_printed_text_explains_every_placeholder_and_nothing_else(name: str) -> None:
    dataset = PAPER_DATASETS[name]
    commands = "\n".join(command for step in steps(dataset) for command in step.commands)

    placeholders = {*dataset.placeholders, "PREDICTIONS_FOLDER"}
    assert all(placeholder in commands for placeholder in placeholders)
    assert all(f"#   {placeholder}: " in describe(dataset) for placeholder in placeholders)


def run_chain(dataset: PaperDataset, folder: Path) -> Chain:
    DOWNLOADS[dataset.name](folder)
    for step in dataset.conversion:
        shell(folder, *step.commands)
    shell(folder, *(f"{command} -npfp 1 -np 1" for command in plan_step(dataset).commands), n_proc_da="1")
    for step in dataset.grouping:
        shell(folder, *step.commands)
    shell(
        folder,
        f"nnunet-iac configure -d {dataset.dataset_id} -c 2d -p nnUNetPlans -o {PLANS} --batch-size 2 --set {TINY}",
        f"{train_command(dataset, TRAINER)} -p {PLANS} -device cpu",
        f"{predict_command(dataset, TRAINER)} -p {PLANS} -device cpu -npp 0 -nps 0 --disable_tta",
    )
    for step in dataset.after_prediction:
        shell(folder, *step.commands)
    return Chain(dataset, folder)


def shell(folder: Path, *commands: str, n_proc_da: str = "0") -> None:
    script = "\n".join(["set -e", 'nnunet-iac() { python -m nnunet_iac.cli.main "$@"; }', *commands])
    for placeholder, name in PLACES.items():
        script = script.replace(placeholder, str(folder / name))
    variables = environment(folder, nnUNet_n_proc_DA=n_proc_da, nnUNet_def_n_proc="1")
    run(["bash", "-c", script], variables, folder, TIMEOUT)


PLACES = {
    "ACDC_FOLDER": "a download",
    "BRATS_FOLDER": "a download",
    "BRATS_NEW_FOLDER": "new patients",
    "BRATS_LABELS_FOLDER": "brats labels",
    "KITS_FOLDER": "a download",
    "KITS_NEW_FOLDER": "new patients",
    "AMOS_FOLDER": "a download",
    "PREDICTIONS_FOLDER": "predictions",
}


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
