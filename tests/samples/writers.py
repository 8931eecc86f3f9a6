"""Write one tiny sample of each file format with the package as it is imported, old commits included.

Only interfaces that have been there since a format exists are used; :mod:`make` runs this in a checkout of any commit.
Beside the samples lies ``golden.json``: what the writing commit itself reads or computes from them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Golden = dict[str, dict[str, Any]]
"""By format: its ``schema`` (0 where the format has no number) and known values."""

SETTINGS = (
    "host.epochs=1 host.iterations=1 search.epochs=3 search.warmup_epochs=1 search.iterations=1 "
    "search.partial_channels=1 cell.nodes=1 training.epochs=1 training.iterations=1 training.validation_iterations=1"
).split()


def module_of(*names: str) -> Any:
    """The first of these modules of ``nnunet_iac.nnunet`` that this commit has: some were moved."""
    for name in names:
        try:
            return importlib.import_module(f"nnunet_iac.nnunet.{name}")
        except ModuleNotFoundError as error:
            if not f"nnunet_iac.nnunet.{name}".startswith(str(error.name)):
                raise
    raise ModuleNotFoundError(f"none of {names}")


def fixed_image() -> torch.Tensor:
    """An image in 2D without chance."""
    return torch.linspace(-1, 1, 32 * 32).sin().reshape(1, 1, 32, 32)


def logits_of(plans: dict[str, Any], weights: dict[str, torch.Tensor]) -> list[float]:
    """Logits of the fixed image at some places, through nnU-Net's own builder as its predictor calls it."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = plans["configurations"]["2d"]["architecture"]
    words = architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"]
    network = get_network_from_plans(*words, 1, 3, deep_supervision=False)
    network.load_state_dict(weights)
    with torch.no_grad():
        return [round(value, 7) for value in network.eval()(fixed_image()).flatten()[::191].tolist()]


def digest(*tensors: torch.Tensor) -> str:
    """SHA-256 of numbers, rounded to six digits so that no machine differs."""
    numbers = np.concatenate([t.detach().double().flatten().numpy() for t in tensors])
    return hashlib.sha256(np.round(numbers, 6).astype("<f4").tobytes()).hexdigest()[:16]


def write_training(out: Path) -> Golden:
    """One fold of ``nnUNetTrainerIAC`` on the tiny data set of the tests: host, search, cells, final checkpoint."""
    tiny = importlib.import_module("tiny_dataset")
    folder = _prepared(out / "nnunet", tiny)
    source = Path(sys.modules["nnunet_iac"].__file__).parents[1]
    os.environ["nnUNet_extTrainer"] = str(source / "trainers")
    os.environ["nnUNet_n_proc_DA"] = "0"
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    tiny.train("nnUNetTrainerIAC")
    model = folder / "results" / tiny.DATASET / "nnUNetTrainerIAC__tiny__2d"
    for name, kept in {
        "plans.json": "plans.json",
        "fold_0/search_state.pt": "search_state.pt",
        "fold_0/search.jsonl": "search_trace.jsonl",
        "fold_0/search_result.json": "search_result.json",
        "fold_0/host.json": "host_source.json",
        "fold_0/checkpoint_final.pth": "checkpoint.pth",
    }.items():
        shutil.copy(model / name, out / kept)
    return _golden_of_training(out)


def _prepared(base: Path, tiny: Any) -> Path:
    tiny.write_raw(base / "raw" / tiny.DATASET)
    (base / "results").mkdir()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(base / name)
    tiny.plan(base)
    path = base / "preprocessed" / tiny.DATASET / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 4]
    path.write_text(json.dumps(plans))
    tiny.configure("tiny", *SETTINGS)
    return base


def _golden_of_training(out: Path) -> Golden:
    plans = json.loads((out / "plans.json").read_text())
    configuration = plans["configurations"]["2d"]
    weights = torch.load(out / "checkpoint.pth", map_location="cpu", weights_only=False)["network_weights"]
    state = torch.load(out / "search_state.pt", map_location="cpu", weights_only=True)
    result = json.loads((out / "search_result.json").read_text())
    trace = [json.loads(line) for line in (out / "search_trace.jsonl").read_text().splitlines()]
    genotype = configuration["architecture"]["arch_kwargs"]["genotype"]
    return {
        "plans": {"schema": 0, "cells": genotype["cells"], "settings": configuration["iac"]},
        "checkpoint": {"schema": 0, "logits": logits_of(plans, weights)},
        "search_state": {"schema": state["schema"], "epoch": state["epoch"], "alpha": _alpha(state)},
        "search_trace": {"schema": trace[-1]["schema"], "epochs": len(trace), "loss": trace[-1]["weight_loss"]},
        "search_result": {"schema": result["schema"], "cells": result["genotype"]["cells"], "epochs": result["epochs"]},
        "host_source": {"schema": 0, **json.loads((out / "host_source.json").read_text())},
    }


def _alpha(state: dict[str, Any]) -> str:
    return digest(next(value for key, value in state["network"].items() if key.endswith("architecture.alpha")))


def write_genotype(out: Path) -> Golden:
    """Random cells as JSON."""
    from nnunet_iac.cells.genotype import Genotype

    if importlib.util.find_spec("nnunet_iac.cells.cell_shape"):
        from nnunet_iac.cells.cell_shape import CellShape

        two: dict[str, Any] = {"shape": CellShape(nodes=2)}
    else:
        two = {"nodes": 2}
    record = Genotype.random(seed=1, **two).to_dict()
    (out / "genotype.json").write_text(json.dumps(record))
    return {"genotype": {"schema": record["schema"], "cells": record["cells"], "seed": 1}}


def write_configuration(out: Path) -> Golden:
    """A sub-network."""
    from nnunet_iac.zoo.configuration import SubnetConfiguration

    record = SubnetConfiguration((1, 2, 2), (1, 1), (0.5, 1.0, 0.75)).to_dict()
    (out / "subnet_configuration.json").write_text(json.dumps(record))
    known = {name: record[name] for name in ("depths", "decoder_depths", "widths")}
    return {"subnet_configuration": {"schema": record["schema"], **known}}


def write_index(out: Path) -> Golden:
    """Three data sets as Gaussians of their labels."""
    from nnunet_iac.similarity import index_file
    from nnunet_iac.similarity.index import SourceIndex
    from nnunet_iac.similarity.sketches import SketchSettings

    index = SourceIndex(SketchSettings(dimensions=2))
    for number in range(3):
        index.add(f"source {number}", label_gaussians(number))
    index_file.save_index(index, out / "source_index.npz")
    matches = index.search(label_gaussians(1.2), top=3).matches
    return {
        "source_index": {
            "schema": index_file.SCHEMA,
            "keys": [match.key for match in matches],
            "distances": [round(float(match.distance), 6) for match in matches],
        }
    }


def label_gaussians(place: float) -> Any:
    """Two labels of a data set, moved by ``place``."""
    from nnunet_iac.similarity.gaussians import Gaussian
    from nnunet_iac.similarity.mixture import LabelGaussians

    first = Gaussian.from_moments(np.array([place, 0.0]), np.diag([4.0, 0.25]))
    second = Gaussian.from_moments(np.array([0.0, 2.0 * place]), np.diag([1.0, 1.0 + place]))
    return LabelGaussians((first, second), np.array([0.25, 0.75]), ("organ", "lesion"))


def write_zoo(out: Path) -> Golden:
    """A zoo's folder with a network, as an archive of what lies on the disk."""
    from nnunet_iac.zoo import schema
    from nnunet_iac.zoo.store import Zoo

    entry = Zoo.create(out / "zoo").add(_described("network", {"genotype": None}), _numbers()).entry
    _pack(out / "zoo", out / "zoo.zip")
    return {"zoo": {"schema": len(schema.MIGRATIONS), "id": entry.id, "sum": 21.0}}


def write_meta_space(out: Path) -> Golden:
    """A meta-space of two planted tasks in a zoo."""
    from nnunet_iac.metaspace import space_entry
    from nnunet_iac.metaspace.fitting import fit
    from nnunet_iac.metaspace.settings import FitSettings
    from nnunet_iac.zoo.store import Zoo

    planted = importlib.import_module("planted_world")
    space = fit(planted.planted_tasks(2), FitSettings(steps=1, size=2))
    entry = Zoo.create(out / "meta").add(*space_entry.to_entry(space)).entry
    _pack(out / "meta", out / "meta_space.zip")
    embeddings = [round(value, 6) for value in space.embeddings.flatten().tolist()]
    facts = {"id": entry.id, "tasks": list(space.tasks), "embeddings": embeddings[:8]}
    return {"meta_space": {"schema": space_entry.SCHEMA, **facts}}


def write_run_state(out: Path) -> Golden:
    """The state of a long run; it began with pretraining, then had a module for supernets, then one for all."""
    identity, content = {"seed": 3, "plan": {"epochs": 2}}, {"epoch": 1, "weights": {"w": torch.arange(4.0)}}
    golden = {"run_state": {"schema": 1, "identity": identity, "epoch": 1, "w": [0.0, 1.0, 2.0, 3.0]}}
    state = module_of("files.run_state", "run_state", "supernet_state", "pretraining_state")
    if state.__name__.endswith("pretraining_state"):
        state.write_state(out, identity, content)
        (out / state.STATE).rename(out / "run_state.pt")
    else:
        state.write_state(out / "run_state.pt", identity, content)
    return golden


def write_retrieval(out: Path) -> Golden:
    """What ``nnunet-iac retrieve`` leaves for the trainer, of an outlier."""
    schema = module_of("retrieval.retrieved_trainer", "retrieved_trainer").SCHEMA
    known = {"outlier": True, "why": "it is no relative of any source", "fold": 0}
    (out / "retrieval.json").write_text(json.dumps({"schema": schema, **known, "searched": False}))
    return {"retrieval": {"schema": schema, **known}}


def write_choice(out: Path) -> Golden:
    """Why a search started from another one."""
    SourceChoice = module_of("transfer.nearest_source", "nearest_source").SourceChoice
    names = {"zoo": "zoo", "source": "0" * 16, "name": "n", "dataset": "Dataset001_A", "wanted": "nearest"}
    record = SourceChoice(**names, why="it is the nearest").to_dict()
    (out / "source_choice.json").write_text(json.dumps(record))
    return {"source_choice": {"schema": record["schema"], **names}}


def write_restored(out: Path) -> Golden:
    """That a training was restored once."""
    last_good = module_of("training.last_good", "last_good")
    known = {"epoch": 3, "batches": 7, "reason": "NaN in the image of case_001"}
    last_good.write_restoration(out, last_good.Restoration(**known))
    (out / last_good.RECORD).rename(out / "restoration.json")
    return {"restoration": {"schema": last_good.SCHEMA, **known}}


def _described(kind: str, facts: dict[str, Any]) -> Any:
    from nnunet_iac.zoo.entry import Description, Score

    return Description(
        kind=kind,
        name="tiny",
        dataset="Dataset990_Tiny",
        plans={"plans_name": "nnUNetPlans", "configurations": {"2d": {"patch_size": [8, 8]}}},
        configuration="2d",
        trainer="nnUNetTrainer",
        labels=("background", "RV"),
        channels=("T1", "T2"),
        spacing=(1.5, 1),
        patch_size=(8, 8),
        scores=(Score("Dice", 0.75, "4 validation cases of fold 0"),),
        licence="CC-BY-4.0",
        facts=facts,
    )


def _numbers() -> dict[str, torch.Tensor]:
    half = torch.full((4,), 2.0, dtype=torch.bfloat16)
    return {"a.weight": torch.ones(2, 3), "half": half, "steps": torch.tensor(7)}


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"):
            archive.write(file, file.relative_to(folder).as_posix())


def write_probe_setup(out: Path) -> Golden:
    """What all trainings of a probe share."""
    setup = small_probe().setup()
    (out / "probe_setup.json").write_text(json.dumps(setup))
    return {"probe_setup": {"schema": setup["schema"], "held_out": setup["budget"].get("held_out")}}


def small_probe(**budget: Any) -> Any:
    """A probe whose host is a file in the working folder; nothing is trained."""
    from stock_architecture import plain_architecture

    planned = module_of("probe.probe_plan", "probe_plan")
    host = Path("host.pth")
    host.write_text("weights")
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "batch_size": 2,
        "patch_size": [32, 32],
        "spacing": [1.0, 1.0],
        "architecture": plain_architecture([4, 4]),
        "batch_dice": True,
    }
    plans = {"dataset_name": "Dataset990_Tiny", "plans_name": "tiny", "configurations": {"2d": configuration}}
    return planned.Probe(plans, "2d", 0, {}, host, planned.Budget(**budget), ("a",), ("b",), 1, 1, None, Path("probe"))


WRITERS: dict[str, Callable[[Path], Golden]] = {
    "training": write_training,
    "genotype": write_genotype,
    "configuration": write_configuration,
    "index": write_index,
    "zoo": write_zoo,
    "meta_space": write_meta_space,
    "run_state": write_run_state,
    "retrieval": write_retrieval,
    "choice": write_choice,
    "restored": write_restored,
    "probe_setup": write_probe_setup,
}

if __name__ == "__main__":
    place, *names = sys.argv[1:]
    known: Golden = {}
    for one in names:
        known |= WRITERS[one](Path(place))
    (Path(place) / "golden.json").write_text(json.dumps(known))
