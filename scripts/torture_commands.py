"""The commands that ``torture.py`` hurts: how each starts and goes on, how far it is, and what it must end with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "nnunet")]

import commands  # noqa: E402 - from the folders above
from nnunet_folders import DATASET, Folders  # noqa: E402
from tiny_dataset import plan, write_raw  # noqa: E402
from tiny_sources import fill  # noqa: E402

from nnunet_iac.nnunet.files.hosts import read_checkpoint  # noqa: E402
from nnunet_iac.nnunet.files.plans import read_plans, write_plans  # noqa: E402
from nnunet_iac.zoo.store import Zoo  # noqa: E402
from nnunet_iac.zoo.verification import verify  # noqa: E402

BUDGET = (
    "host.epochs=3 host.iterations=2 search.epochs=6 search.warmup_epochs=1 search.iterations=2 "
    "training.epochs=3 training.iterations=2 training.validation_iterations=1"
).split()
SHORT_BUILD = (
    "--full-epochs 2 --depth-epochs 2 --width-epochs 2 --iterations 2 --random-networks 1 --multiple 4 "
    "--candidates 4 --measured 4 --features 4 --patch-size 32 32 --batch-size 2 --device cpu"
).split()
Digest = Callable[[Path], dict[str, str]]


@dataclass(frozen=True)
class Victim:
    """A command that is to survive.

    Attributes:
        name: of its row in the table.
        start: the command; ``{base}`` is the work folder.
        resume: what a user types to go on.
        needs: commands whose results it starts from.
        digest: what its finished run must be equal in.
        progress: finished epochs, by phase, as the files have them.
        fills: folder that it writes to; this one disappears, or is full.
        announced: the same as ``(words that the command prints, phase)``; printed only after an epoch is safe.
    """

    name: str
    start: str
    resume: str
    digest: Digest
    needs: tuple[str, ...] = ()
    fills: str = "results"
    progress: Callable[[Path], dict[str, int]] = lambda _: {}
    announced: tuple[tuple[str, str], ...] = ()


def environment(base: Path, **variables: str) -> dict[str, str]:
    """Return a user's environment with nnU-Net's folders below ``base`` and the hook in every Python."""
    found = commands.environment(base)
    return {
        **found,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "scripts" / "torture_hook"), found["PYTHONPATH"]]),
        "PYTHONUNBUFFERED": "1",
        "MPLCONFIGDIR": str(base.parent / "matplotlib"),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
        **variables,
    }


def prepare(base: Path) -> None:
    """Plan and preprocess the tiny data set and fill a zoo of sources for it, in ``base``."""
    write_raw(base / "raw" / DATASET)
    (base / "results").mkdir()
    plan(base)
    os.environ.update(Folders(base).variables)
    from nnunet_iac.cli.main import main

    if main(["configure", "-d", DATASET, "-c", "2d", "-o", "tiny", "--set", *BUDGET]):
        raise RuntimeError("configure failed")
    other = base / "preprocessed" / "Dataset991_Other"
    shutil.copytree(Folders(base).preprocessed, other)
    write_plans(other / "tiny.json", {**read_plans(other / "tiny.json"), "dataset_name": other.name})
    fill(Folders(base), Zoo.create(base / "sources"))


def of_fold(trainer: str) -> Digest:
    """Return what tells a finished training: weights, genotype, trace of the search and predicted masks."""

    def digest(base: Path) -> dict[str, str]:
        model = Folders(base).results / f"{trainer}__tiny__2d"
        found = _of_search(model)
        if (checkpoint := model / "fold_0" / "checkpoint_final.pth").is_file():
            found["weights"] = _of_tensors(read_checkpoint(checkpoint)["network_weights"])
        masks = sorted((model / "fold_0" / "validation").glob("*.nii.gz"))
        for path in masks:
            found[path.name] = hashlib.sha256(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()).hexdigest()
        return found

    return digest


def _of_search(model: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (model / "fold_0" / "search.jsonl").read_text().splitlines()]
    trace = json.dumps([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    plans = json.dumps(read_plans(model / "plans.json"), sort_keys=True)
    return {"trace": trace, "genotype": (model / "genotype.json").read_text(), "plans": plans}


def _of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def of_zoo(base: Path) -> dict[str, str]:
    """Return the ids of a zoo's entries, which are digests of their content, after it was verified."""
    zoo = Zoo(base / "zoo")
    findings = verify(zoo).findings
    return {"ids": " ".join(sorted(e.id for e in zoo.entries())), "findings": str([f.what for f in findings])}


def of_pretraining(base: Path) -> dict[str, str]:
    """Return weights and curve of a pretraining."""
    folder = base / "pretraining"
    weights = _of_tensors(read_checkpoint(folder / "checkpoint_pretrained.pth")["network_weights"])
    curve = (folder / "pretraining.jsonl").read_text()
    return {"weights": weights, "curve": curve}


def of_retrieval(base: Path) -> dict[str, str]:
    """Return plans and initial weights of a retrieved network."""
    plans = read_plans(Folders(base).preprocessed / "tiny_retrieved.json")
    start = next(Folders(base).results.rglob("checkpoint_retrieved.pth"), None)
    weights = _of_tensors(read_checkpoint(start)["network_weights"]) if start else "none"
    return {"plans": json.dumps(plans, sort_keys=True), "weights": weights}


def of_plans(base: Path) -> dict[str, str]:
    """Return derived plans."""
    return {"plans": json.dumps(read_plans(Folders(base).preprocessed / "derived.json"), sort_keys=True)}


def epochs_of(trainer: str) -> Callable[[Path], dict[str, int]]:
    """Return what reads how many epochs of training and search are on the disk."""

    def progress(base: Path) -> dict[str, int]:
        fold = Folders(base).results / f"{trainer}__tiny__2d" / "fold_0"
        found = {"training": 0, "search": 0}
        for path in [fold / "checkpoint_latest.pth", fold / "checkpoint_final.pth"]:
            if path.is_file():
                found["training"] = max(found["training"], int(read_checkpoint(path)["current_epoch"]))
        if (fold / "search_state.pt").is_file():
            found["search"] = int(torch.load(fold / "search_state.pt", weights_only=True)["epoch"])
        return found

    return progress


def epoch_of_state(pattern: str) -> Callable[[Path], dict[str, int]]:
    """Return what reads the epoch of a state file."""

    def progress(base: Path) -> dict[str, int]:
        path = next(base.glob(pattern), None)
        state: dict[str, Any] = torch.load(path, weights_only=True) if path else {"epoch": 0}
        return {"epochs": int(state["epoch"])}

    return progress


def trained_candidates(base: Path) -> dict[str, int]:
    """Return how many candidates of a retrieval are trained."""
    return {"candidates": sum(1 for _ in Folders(base).results.rglob("trainings/**/checkpoint_final.pth"))}


TRAIN = "nnUNetv2_train 990 2d 0 -p tiny -device cpu -tr "
EPOCHS = ((r"^Epoch (\d+)|: Epoch (\d+)", "training"), (r"search: epoch (\d+) of", "search"))
NUMBERED = ((r"^epoch (\d+)", "epochs"),)
PRETRAIN = "nnunet-iac pretrain -d 990 -c 2d -p tiny --datasets 991 --source-plans tiny -o {base}/pretraining"
PRETRAIN += " --epochs 5 --iterations 2 --watched 2 --full --device cpu"
BUILD = "nnunet-iac zoo build -d 990 -c 2d -p tiny --zoo {base}/zoo " + " ".join(SHORT_BUILD)
ADD = "nnunet-iac zoo add {base}/results/Dataset990_Tiny/nnUNetTrainerIAC__tiny__2d/fold_0 --zoo {base}/zoo"
RETRIEVE = "nnunet-iac retrieve -d 990 -c 2d -p tiny --zoo {base}/sources --protocol T5 --patches 8 --iterations 1"
RETRIEVE += " --share 0.5 --device cpu"
CONFIGURE = "nnunet-iac configure -d 990 -c 2d -p tiny -o derived --overwrite --set search.epochs=9"


def _training(name: str, trainer: str, needs: tuple[str, ...] = ()) -> Victim:
    command, progress = TRAIN + trainer, epochs_of(trainer)
    return Victim(name, command, f"{command} --c", of_fold(trainer), needs, progress=progress, announced=EPOCHS)


VICTIMS = {
    victim.name: victim
    for victim in (
        _training("search", "nnUNetTrainerIACSearch"),
        _training("training", "nnUNetTrainerIAC"),
        _training("implant", "nnUNetTrainerIACImplant", needs=(TRAIN + "nnUNetTrainerIACHost",)),
        Victim(
            "pretraining",
            PRETRAIN,
            PRETRAIN + " --c",
            of_pretraining,
            fills="pretraining",
            progress=epoch_of_state("pretraining/*.pt"),
            announced=NUMBERED,
        ),
        Victim(
            "zoo build",
            BUILD,
            BUILD + " --c",
            of_zoo,
            progress=epoch_of_state("results/*/supernet__*/fold_0/supernet_state.pt"),
            announced=NUMBERED,
        ),
        Victim("zoo add", ADD, ADD, of_zoo, needs=(TRAIN + "nnUNetTrainerIAC",), fills="zoo"),
        Victim("retrieve", RETRIEVE, RETRIEVE, of_retrieval, progress=trained_candidates),
        Victim("configure", CONFIGURE, CONFIGURE, of_plans, fills="preprocessed"),
    )
}
