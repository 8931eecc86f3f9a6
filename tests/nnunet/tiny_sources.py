"""A zoo of untrained supernets of the tiny plan, scored by chance, for data sets around the tiny one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from nnunet_folders import DATASET, Folders

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.cases.dataset_features import dataset_features
from nnunet_iac.nnunet.cases.image_samples import prepared_data
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
from nnunet_iac.zoo.candidates_entries import supernet_facts
from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.supernet import ElasticUNet

SOURCES = 4
CANDIDATES = 6


def fill(folders: Folders, zoo: Zoo, configuration: str = "2d") -> None:
    """Sources around the target, each in another direction and farther away; the first is the target itself."""
    plans = read_plans(folders.preprocessed / "tiny.json")
    about, tensors = dataset_features(prepared_data(DATASET, configuration, "tiny"), patches=8)
    for number in range(SOURCES):
        draw = np.random.default_rng(number)
        name = f"Dataset{number:03d}_Source" if number else DATASET
        torch.manual_seed(number)
        supernet = ElasticUNet(configuration_of(plans, configuration)["architecture"], 1, 3, multiple=4)
        shared = {field: getattr(about, field) for field in ("plans", "configuration", "spacing", "patch_size")}

        def entry(kind: str, facts: dict[str, Any], name: str = name, shared: Any = shared) -> Description:
            return Description(
                kind=kind, name=f"{name} {kind}", dataset=name, trainer="test", channels=("c0",), facts=facts, **shared
            )

        added = zoo.add(entry("supernet", supernet_facts(supernet)), dict(unique_tensors(supernet)))
        configurations = [supernet.space.largest, supernet.space.smallest]
        configurations += [supernet.space.random(seed=place) for place in range(CANDIDATES - 2)]
        scored = {
            "dice": torch.from_numpy(draw.uniform(0.2, 0.9, CANDIDATES)),
            "loss": torch.zeros(CANDIDATES),
            "parameters": torch.tensor([supernet.parameter_count(c) for c in configurations]),
            "responses": torch.from_numpy(draw.normal(size=(CANDIDATES, 5))),
        }
        facts = {"supernet": added.entry.id, "configurations": [c.to_dict() for c in configurations]}
        zoo.add(entry("subnetworks", {**facts, "space": asdict(supernet.space)}), scored)
        direction = torch.from_numpy(draw.normal(size=tensors["features"].shape[1])).float()
        moved = {**tensors, "features": tensors["features"] + 3 * number * direction / direction.norm()}
        zoo.add(entry("dataset features", dict(about.facts)), moved)


def move_away(zoo: Zoo) -> None:
    """Move the features of all data sets but the target's so far that the target is no relative of them."""
    for entry in [e for e in zoo.entries() if e.kind == "dataset features" and e.dataset != DATASET]:
        tensors = {k: v + 50 * (k == "features") for k, v in zoo.read_weights(entry).items()}
        zoo.remove([entry.id])
        zoo.add(Description(**{f: getattr(entry, f) for f in Description.__dataclass_fields__}), tensors)
