"""A finished build as entries of the zoo, and sub-networks out of the zoo as stock networks of nnU-Net."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.cases.image_samples import prepared_data
from nnunet_iac.nnunet.cases.recalibration import recalibrate_on
from nnunet_iac.nnunet.files.plans import Plans, configuration_of
from nnunet_iac.nnunet.files.run_state import differences
from nnunet_iac.nnunet.files.weights import WeightTarget
from nnunet_iac.nnunet.supernets.supernet_build import Measured, SupernetBuild
from nnunet_iac.zoo.candidates import SEED
from nnunet_iac.zoo.candidates_entries import (
    FEATURES,
    SUBNETWORKS,
    SUPERNET,
    Candidates,
    find_candidates,
    read_supernet,
    supernet_facts,
)
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.entry import Description, Entry, Score
from nnunet_iac.zoo.licences import with_licence
from nnunet_iac.zoo.store import Added, Zoo
from nnunet_iac.zoo.subnetwork import Subnetwork, extract
from nnunet_iac.zoo.writable import check_writable

TRAINER = "nnunet-iac zoo build"


def writable_zoo(folder: str) -> Zoo:
    """Open the zoo of a folder for writing before anything is trained; it is made (empty) if there is none.

    Raises:
        ValueError: if the folder holds other things, or its index is damaged or of a newer schema, or it is a URL.
        OSError: if it cannot be written to.
    """
    zoo = Zoo.create(folder)
    check_writable(zoo)
    return zoo


def write_entries(
    zoo: Zoo,
    build: SupernetBuild,
    measured: Measured,
    features: Mapping[str, torch.Tensor],
    *,
    licence: str | None = None,
) -> list[Added]:
    """Add supernet, candidates and the data set's features, each whole; what is there already is kept.

    Of that, only a licence is added where there is none.

    To go on with a build that was killed, call it again with the same arguments.

    Raises:
        FileNotFoundError: if there is no zoo.
        OSError: from the file system.
    """
    supernet = zoo.add(describe(build, SUPERNET, licence, **_supernet_words(build, measured)), _weights(build))
    parameters = [build.supernet.parameter_count(c) for c in measured.configurations]
    tensors = {
        "dice": torch.as_tensor(measured.dice),
        "loss": torch.as_tensor(measured.loss),
        "parameters": torch.tensor(parameters),
        "responses": torch.as_tensor(measured.responses),
    }
    facts = {
        "supernet": supernet.entry.id,
        "configurations": [c.to_dict() for c in measured.configurations],
        "drawn": {"seed": SEED, "first": ["largest", "smallest"]},
        "measured": build.measure_patches.description,
        "responses": build.plan.noise.to_dict(),
        "data": build.data.identity,
        "space": asdict(build.supernet.space),
    }
    # Candidates come last: whoever finds them finds all that they need.
    described = zoo.add(describe(build, FEATURES, licence, facts=_features_facts(build)), features)
    candidates = zoo.add(describe(build, SUBNETWORKS, licence, facts=facts), tensors)
    return [with_licence(zoo, one, licence) for one in (supernet, candidates, described)]


def describe(build: SupernetBuild, kind: str, licence: str | None = None, **more: Any) -> Description:
    """Return what is said about an entry of a build; also a check, before anything is trained, that it can be said.

    Args:
        build: where it comes from.
        kind: of the entry.
        licence: of the weights.
        **more: facts and scores.

    Raises:
        ValueError: if plans, ``dataset.json`` or the licence are not what an entry needs.
    """
    data, target = build.data.training, build.data.target
    interface = target.interface
    provenance = {
        "fold": str(data.fold),
        "epochs": build.run.epoch,
        "seconds": round(sum(row["seconds"] for row in build.run.history), 1),
        "training_cases_of_dataset": data.content.get("numTraining"),
        "built_with": {name: version(name) for name in ("nnunet-iac", "nnunetv2", "torch")},
    }
    name = f"{data.dataset}/{kind.replace(' ', '_')}__{data.plans['plans_name']}__{data.configuration}/fold_{data.fold}"
    return Description(
        kind=kind,
        name=name,
        dataset=data.dataset,
        plans=data.plans,
        configuration=data.configuration,
        trainer=TRAINER,
        labels=interface.labels,
        regions=interface.regions,
        channels=interface.channels,
        spacing=tuple(data.planned["spacing"]),
        patch_size=data.patch_size,
        dataset_json=data.content,
        provenance=provenance,
        licence=licence,
        **more,
    )


def candidate_configuration(candidates: Candidates, index: int) -> SubnetConfiguration:
    """Return the configuration of a candidate by its number, from 0.

    Raises:
        ValueError: if there is none.
    """
    if not 0 <= index < len(candidates.configurations):
        raise ValueError(
            f"--candidate: expected a number from 0 to {len(candidates.configurations) - 1}, got {index}; entry "
            f"{candidates.entry.id} has so many"
        )
    return candidates.configurations[index]


def extract_subnetwork(
    zoo: Zoo, start: str, *, candidate: int | None = None, configuration: SubnetConfiguration | None = None
) -> tuple[Entry, Subnetwork]:
    """Return a supernet's entry and one of its sub-networks, as a stock network on the CPU.

    Args:
        zoo: where it lies.
        start: (start of the) id of a supernet or of its candidates.
        candidate: number of the candidate, or
        configuration: the configuration itself.

    Raises:
        ValueError: if not exactly one of the two is given, there is no such entry or sub-network, or it is damaged.
    """
    if (candidate is None) == (configuration is None):
        raise ValueError(
            "--candidate, --configuration: expected one of them, to say which sub-network; the largest is candidate 0"
        )
    entry = zoo.entry(start)
    if candidate is not None:
        candidates = find_candidates(zoo, entry.id)
        configuration = candidate_configuration(candidates, candidate)
        entry = zoo.entry(candidates.supernet)
    elif entry.kind == SUBNETWORKS:
        entry = zoo.entry(str(entry.facts.get("supernet")))
    if configuration is None:
        raise ValueError(f"--candidate: expected a number, got {candidate}")
    return entry, extract(read_supernet(zoo, entry), configuration)


def recalibrate_at_home(entry: Entry, network: nn.Module) -> int:
    """Give a sub-network running statistics of its own from the training cases of its supernet's fold.

    With the share of them that candidates were measured on; those were measured with statistics of the others.

    Args:
        entry: of the supernet.
        network: extracted from it.

    Returns:
        The number of layers that were recalibrated; without batch normalisation 0, and no data are looked for.

    Raises:
        FileNotFoundError: if the preprocessed data set is not here.
        ValueError: if it is not the one of the entry.
        NotImplementedError: for the second stage of a cascade.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return 0
    # Of the fold's training cases: validation cases are not seen, not by their statistics either.
    fold = entry.facts.get("data", {}).get("fold")
    plans_name, patch = str(entry.plans.get("plans_name")), entry.patch_size
    data = prepared_data(entry.dataset, entry.configuration, plans_name, fold=fold, patch_size=patch)
    if len(data.channel_names) != len(entry.channels):
        raise ValueError(
            f"{data.dataset}: expected {len(entry.channels)} channels as entry {entry.id} has, got "
            f"{len(data.channel_names)}; preprocess the data set of the entry"
        )
    return recalibrate_on(network, data, seed=0)


def subnetwork_target(entry: Entry, subnetwork: Subnetwork, plans_name: str | None = None) -> WeightTarget:
    """Return what an extracted sub-network is for: the entry's plans with its own architecture.

    Args:
        entry: of the supernet.
        subnetwork: extracted from it.
        plans_name: of the new plans; None keeps the name.
    """
    plans: Plans = copy.deepcopy(dict(entry.plans))
    # The whole architecture, because nnU-Net merges inherited configurations one level deep.
    plans["configurations"][entry.configuration]["architecture"] = copy.deepcopy(dict(subnetwork.architecture))
    plans["plans_name"] = plans_name or plans["plans_name"]
    return WeightTarget(
        plans=plans,
        configuration=entry.configuration,
        dataset=dict(entry.dataset_json),
        architecture=configuration_of(plans, entry.configuration)["architecture"],
        inputs=int(entry.facts["input_channels"]),
        outputs=int(entry.facts["num_classes"]),
    )


def check_same_data(candidates: Candidates, identity: Mapping[str, Any]) -> None:
    """Check that data here are those that candidates were measured on.

    Raises:
        ValueError: if not; the message says what differs.
    """
    different = list(differences(dict(candidates.data), json.loads(json.dumps(identity))))
    if different:
        raise ValueError(
            f"entry {candidates.entry.id}: expected the data that its candidates were measured on, got others: "
            f"{'; '.join(different[:3])}; restore the split and the preprocessed cases, or build the supernet again"
        )


def build_folder(results: Path, dataset: str, plans_name: str, configuration: str, fold: int | str) -> Path:
    """Return where ``nnunet-iac zoo build`` works unless told otherwise.

    Example:
        >>> build_folder(Path("results"), "Dataset501_ACDC", "nnUNetPlans", "2d", 0).as_posix()
        'results/Dataset501_ACDC/supernet__nnUNetPlans__2d/fold_0'
    """
    return results / dataset / f"supernet__{plans_name}__{configuration}" / f"fold_{fold}"


def _weights(build: SupernetBuild) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in unique_tensors(build.supernet).items()}


def _supernet_words(build: SupernetBuild, measured: Measured) -> dict[str, Any]:
    data, host = build.data, build.host
    seen = "; the host that it started from was trained on them" if host is not None and data.share is not None else ""
    kind = "validation cases" if data.share is None else "held-out training cases"
    measured_on = (
        f"{build.plan.measured} patches of {len(data.selection.cases)} {kind} of fold {data.training.fold}, largest "
        f"network{seen}"
    )
    facts = {
        **supernet_facts(build.supernet),
        "plan": dict(vars(build.plan.training)),
        "iterations": build.plan.iterations,
        "data": data.identity,
        "patients": data.patients is not None,
        "host": None if host is None else host.facts,
        "ancestors": [] if host is None else list(host.ancestors),
        "history": build.run.history,
        "dice_before_shrinking": build.dice_before,
    }
    return {"facts": facts, "scores": (Score("Dice", float(measured.dice[0]), measured_on),)}


def _features_facts(build: SupernetBuild) -> dict[str, Any]:
    names = {str(label): name for label, name in build.data.training.label_names.items()}
    return {**build.features_facts, "names": names}
