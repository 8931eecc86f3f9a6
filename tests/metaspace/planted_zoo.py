"""A zoo with entries as ``nnunet-iac zoo build`` writes them, of planted tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from planted_world import SPACE

from nnunet_iac.metaspace.task import Task
from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo


def about(kind: str, dataset: str, facts: dict[str, Any], name: str = "planted") -> Description:
    return Description(
        kind=kind,
        name=name,
        dataset=dataset,
        plans={"plans_name": "nnUNetPlans"},
        configuration="2d",
        trainer="nnunet-iac zoo build",
        channels=("MRI",),
        spacing=(1, 1),
        patch_size=(32, 32),
        facts=facts,
    )


def add_task(zoo: Zoo, task: Task, *, leave_out: str = "", encoder: str = "random") -> None:
    """Write supernet, sub-networks and features of a task, without the tensor or fact of a name."""

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != leave_out}

    known = task.candidates
    facts = kept({"space": asdict(SPACE)})
    supernet = zoo.add(about("supernet", task.dataset, facts), {"w": torch.tensor([float(len(task.dataset))])})
    facts = {"configurations": [c.to_dict() for c in known.configurations], "supernet": supernet.entry.id}
    tensors = {
        "dice": torch.from_numpy(known.dice),
        "loss": torch.from_numpy(-known.dice),
        "parameters": torch.from_numpy(known.parameters).long(),
        "responses": torch.from_numpy(known.responses).float(),
    }
    zoo.add(about("subnetworks", task.dataset, kept(facts)), kept(tensors))
    add_features(zoo, task, kept({"encoder": encoder}), leave_out)


def add_features(zoo: Zoo, task: Task, facts: dict[str, Any], leave_out: str = "", **other: Any) -> None:
    sample = task.sample
    tensors = {"features": torch.from_numpy(sample.features).float(), "labels": torch.as_tensor(sample.labels)}
    tensors.pop(leave_out, None)
    zoo.add(replace(about("dataset features", task.dataset, facts), **other), tensors)


def planted_zoo(folder: Path, tasks: Sequence[Task]) -> Zoo:
    zoo = Zoo.create(folder)
    for task in tasks:
        add_task(zoo, task)
    return zoo
