"""The commands of a user, from preprocessed data to masks, on tiny and on real data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands import REPOSITORY, run_together
from nnunet_folders import Folders
from tiny_dataset import (
    BUDGET,
    TIMEOUT,
    command,
    environment,
    equal,
    final_weights,
    log_of,
    plan,
)

from nnunet_iac.nnunet.files.plans import genotype_of, read_plans

REAL = Path(os.environ.get("NNUNET_IAC_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
HIPPOCAMPUS = "Dataset004_Hippocampus"
MODEL = "-c 2d -f 0 -tr nnUNetTrainerIAC"


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {p.name: sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in sorted(folder.glob("*.nii.gz"))}


def predict(base: Path, dataset: str, plans: str, output: str) -> dict[str, np.ndarray]:
    words = f"-d {dataset} {MODEL} -p {plans} -i {base}/images -o {base}/{output} -device cpu -npp 0 -nps 0"
    command(base, f"nnUNetv2_predict {words} --disable_tta")
    return masks(base / output)


def round_trip(base: Path, dataset: str, plans: str) -> None:
    """Predict, export, install elsewhere, predict again: the masks are the same."""
    first = predict(base, dataset, plans, "first")
    command(base, f"nnUNetv2_export_model_to_zip -d {dataset} {MODEL} -p {plans} -o {base}/model.zip")
    os.rename(base / "results", base / "old_results")
    (base / "results").mkdir()
    command(base, f"nnUNetv2_install_pretrained_model_from_zip {base}/model.zip")
    second = predict(base, dataset, plans, "second")

    assert first.keys() == second.keys() == {p.name.replace("_0000", "") for p in (base / "images").iterdir()}
    assert all(np.array_equal(first[name], second[name]) for name in first)
    shapes = {p.name.replace("_0000", ""): image.shape for p, image in images(base).items()}
    assert {name: mask.shape for name, mask in first.items()} == shapes


def images(base: Path) -> dict[Path, np.ndarray]:
    return {p: sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (base / "images").iterdir()}


def test_stock_commands_train_predict_export_install_and_predict_again(tiny: Folders, finished: Folders) -> None:
    output = command(tiny.base, "nnUNetv2_train 990 2d 0 -tr nnUNetTrainerIAC -p tiny -device cpu")

    assert "Mean Validation Dice" in output and "Implanted searched cells" in output
    model = tiny.results / "nnUNetTrainerIAC__tiny__2d"
    assert json.loads((model / "fold_0" / "validation" / "summary.json").read_text())["metric_per_case"]
    assert genotype_of(read_plans(model / "plans.json"), "2d").kind == "searched"
    # Another process, with another number of loader processes: the same genotype and the same weights.
    same = finished.results / "nnUNetTrainerIAC__tiny__2d"
    assert (model / "genotype.json").read_text() == (same / "genotype.json").read_text()
    assert equal(final_weights(model / "fold_0"), final_weights(same / "fold_0"))
    (tiny.base / "images").mkdir()
    for name in ("patient0_a_0000.nii.gz", "patient5_b_0000.nii.gz"):
        shutil.copy(tiny.raw / "imagesTr" / name, tiny.base / "images")
    round_trip(tiny.base, "990", "tiny")


def test_two_folds_started_together_search_once(tiny: Folders) -> None:
    script = "import sys; from tiny_dataset import train; train('nnUNetTrainerIAC', fold=int(sys.argv[1]))"
    words = [[sys.executable, "-c", script, str(fold)] for fold in (0, 1)]
    run_together(words, environment(tiny.base, nnUNet_n_proc_DA="0"), TIMEOUT)

    folds = [tiny.results / "nnUNetTrainerIAC__tiny__2d" / f"fold_{n}" for n in (0, 1)]
    assert sorted((fold / "search_result.json").exists() for fold in folds) == [False, True]
    assert sorted("Reusing the genotype that another fold" in log_of(fold) for fold in folds) == [False, True]
    weights = [final_weights(fold) for fold in folds]
    assert weights[0].keys() == weights[1].keys() and any(key.startswith("cells.") for key in weights[0])


@pytest.mark.slow
def test_a_process_killed_in_the_search_is_continued_by_the_real_command(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "nnUNetv2_train 990 2d 0 -tr nnUNetTrainerIAC -p long -device cpu"
    settings = [word.replace("search.epochs=4", "search.epochs=30") for word in BUDGET]
    for name in ("long", "whole"):
        command(tiny.base, f"nnunet-iac configure -d 990 -c 2d -o {name} --set {' '.join(settings)}")
    fold = tiny.results / "nnUNetTrainerIAC__long__2d" / "fold_0"
    process = subprocess.Popen(
        line.split(), env=environment(tiny.base), stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and process.poll() is None and lines(fold) < 5:
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 5 <= lines(fold) < 30

    command(tiny.base, f"{line} --c")
    command(tiny.base, line.replace("long", "whole"))

    whole = tiny.results / "nnUNetTrainerIAC__whole__2d" / "fold_0"
    assert equal(final_weights(fold), final_weights(whole))


def lines(fold: Path) -> int:
    path = fold / "search.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not (REAL / HIPPOCAMPUS).is_dir(), reason=f"real data: found no {HIPPOCAMPUS} in {REAL}")
def test_a_handful_of_hippocampi_go_the_whole_way(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / HIPPOCAMPUS
    copy_some(REAL / HIPPOCAMPUS, raw, 6)
    (tmp_path / "images").mkdir()
    for path in sorted((raw / "imagesTr").iterdir())[:2]:
        shutil.copy(path, tmp_path / "images")
    (tmp_path / "results").mkdir()
    plan(tmp_path, HIPPOCAMPUS)
    command(tmp_path, f"nnunet-iac configure -d 4 -c 2d -o tiny --set {' '.join(BUDGET)}")

    command(tmp_path, "nnUNetv2_train 4 2d 0 -tr nnUNetTrainerIAC -p tiny -device cpu")

    round_trip(tmp_path, "4", "tiny")


def copy_some(source: Path, target: Path, count: int) -> None:
    for name in ("imagesTr", "labelsTr"):
        (target / name).mkdir(parents=True)
    labels = sorted((source / "labelsTr").iterdir())[:count]
    for label in labels:
        shutil.copyfile(label, target / "labelsTr" / label.name)
        image = label.name.replace(".nii.gz", "_0000.nii.gz")
        shutil.copyfile(source / "imagesTr" / image, target / "imagesTr" / image)
    dataset = json.loads((source / "dataset.json").read_text())
    (target / "dataset.json").write_text(json.dumps({**dataset, "numTraining": len(labels)}))
