"""Results of nnU-Net as an entry of the zoo: weights with heads and cells, plans, labels, scores, provenance.

Nothing that a checkpoint names is run; its network is never built from dotted names that are not stock or ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.files.hosts import FINAL, read_checkpoint
from nnunet_iac.nnunet.files.model_folder import PLANS
from nnunet_iac.nnunet.files.plans import configuration_of
from nnunet_iac.nnunet.files.weight_source import WeightSource, read_weight_source
from nnunet_iac.nnunet.zoo_entries.fold_facts import fold_facts, object_or_nothing
from nnunet_iac.nnunet.zoo_entries.zoo_network import empty_network
from nnunet_iac.nnunet.zoo_entries.zoo_scores import read_scores
from nnunet_iac.zoo.entry import Description

CHECKPOINTS = (FINAL, "checkpoint_best.pth")
"""Which checkpoint of a fold is taken: the first that is there."""

_ARGUMENTS: dict[str, tuple[tuple[type, ...], str]] = {
    "plans": ((dict,), "an object"),
    "configuration": ((str,), "text"),
    "fold": ((int, str), "a number or text"),
    "dataset_json": ((dict,), "an object"),
}
"""Types of what nnU-Net's trainers are made with, where a checkpoint says it."""


@dataclass(frozen=True)
class FoldWeights:
    """What a fold's folder gives the zoo.

    Attributes:
        about: the description.
        tensors: of the network, each once, in the types that the checkpoint has.
    """

    about: Description
    tensors: Mapping[str, torch.Tensor]


def folds_of(folder: Path) -> list[Path]:
    """Return the folds with a checkpoint in a folder: itself, or a model folder's ``fold_*``.

    Raises:
        FileNotFoundError: if there is no such folder or no checkpoint in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"FOLDER: expected a folder of results, {folder} is none; check the path")
    if any((folder / name).is_file() for name in CHECKPOINTS):
        return [folder]
    folds = [fold for fold in sorted(folder.glob("fold_*")) if any((fold / name).is_file() for name in CHECKPOINTS)]
    if not folds:
        raise FileNotFoundError(
            f"FOLDER: expected {' or '.join(CHECKPOINTS)} in {folder} or its fold_*, found none; give the folder of a "
            "fold, <nnUNet_results>/<data set>/<trainer>__<plans>__<configuration>/fold_<k>, once it is trained"
        )
    return folds


def read_fold(fold: Path, *, name: str | None = None, licence: str | None = None, trust: bool = False) -> FoldWeights:
    """Read the folder of a fold that any trainer of nnU-Net wrote, stock or ours.

    Plans and ``dataset.json`` are those that the checkpoint carries, else the model folder's.

    Args:
        fold: the folder; ``plans.json`` and ``dataset.json`` are looked for in its parent.
        name: of the entry (default: data set, model folder and fold, as nnU-Net names them).
        licence: of the weights.
        trust: see :func:`nnunet_iac.nnunet.files.hosts.read_checkpoint`.

    Raises:
        FileNotFoundError: if there is no checkpoint, or nothing says what its plans are.
        ValueError: if a file is damaged, or the network is neither a stock host nor one of ours around it.
    """
    path = next((fold / file for file in CHECKPOINTS if (fold / file).is_file()), fold / FINAL)
    checkpoint = read_checkpoint(path, trust=trust)
    known = _arguments(checkpoint, path)
    beside = fold.parent / PLANS
    plans = None if isinstance(known.get("plans"), dict) else beside
    source = read_weight_source(path, plans, known.get("configuration") or _configuration(fold), trust=trust)
    dataset = known.get("dataset_json") or object_or_nothing(fold.parent / "dataset.json")
    trainer = str(checkpoint.get("trainer_name") or fold.parent.name.split("__")[0])
    number = str(known.get("fold", fold.name.removeprefix("fold_")))
    about = Description(
        kind="network",
        name=name or _name(source, trainer, number),
        dataset=str(source.plans.get("dataset_name", "")),
        plans=source.plans,
        configuration=source.configuration,
        trainer=trainer,
        labels=source.interface.labels,
        regions=source.interface.regions,
        channels=source.interface.channels,
        dataset_json=dataset,
        scores=read_scores(fold, dataset, number, path.name),
        provenance=_provenance(source, checkpoint, fold, number, dataset),
        licence=licence,
        facts=fold_facts(fold, source.configuration),
        **_sizes(source),
    )
    return FoldWeights(about, network_tensors(source))


def network_tensors(source: WeightSource) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint's network, each once.

    Raises:
        ValueError: if they are not those of the network that the plans describe, cells included.
    """
    network = empty_network(source.architecture, len(source.interface.channels), _outputs(source))
    expected = unique_tensors(network)
    missing = [name for name, value in expected.items() if _shape(source.weights.get(name)) != value.shape]
    unknown = sorted(set(source.weights) - set(network.state_dict()))
    if missing or unknown:
        raise ValueError(
            f"checkpoint: expected the network of its plans in {source.file}, {len(missing)} tensor(s) are missing or "
            f"of another shape {missing[:2]} and {len(unknown)} unknown {unknown[:2]}; it was written in the middle of "
            "a search, or by another version of nnunet-iac. Give the checkpoint of a finished training"
        )
    return {name: source.weights[name] for name in expected}


def _arguments(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what the trainer was made with, as far as a checkpoint says it."""
    found = checkpoint.get("init_args")
    known = found if isinstance(found, dict) else {}
    for name, (kinds, words) in _ARGUMENTS.items():
        value = known.get(name)
        if value is not None and not isinstance(value, kinds):
            raise ValueError(
                f"checkpoint: expected init_args.{name} to be {words} in {path}, got a {type(value).__name__}; it "
                "was changed or is damaged: restore it"
            )
    return known


def _outputs(source: WeightSource) -> int:
    return int(source.weights["decoder.seg_layers.0.weight"].shape[0])


def _shape(tensor: torch.Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def _sizes(source: WeightSource) -> dict[str, Any]:
    plan = configuration_of(source.plans, source.configuration)
    try:
        return {"spacing": tuple(plan["spacing"]), "patch_size": tuple(plan["patch_size"])}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"plans: expected spacing and patch_size in {source.configuration}, got {error!r}; give the plans that the "
            "network was trained with"
        ) from error


def _name(source: WeightSource, trainer: str, fold: str) -> str:
    plans = source.plans.get("plans_name", "?")
    return f"{source.plans.get('dataset_name')}/{trainer}__{plans}__{source.configuration}/fold_{fold}"


def _configuration(fold: Path) -> str | None:
    parts = fold.parent.name.split("__")
    return parts[2] if len(parts) == 3 else None


def _provenance(
    source: WeightSource, checkpoint: Mapping[str, Any], fold: Path, number: str, dataset: Mapping[str, Any]
) -> dict[str, Any]:
    # Names of files only: paths are of the machine that trained and tell others nothing.
    debug = object_or_nothing(fold / "debug.json")
    return {
        "source": source.origin,
        "fold": number,
        "epochs": _count(checkpoint.get("current_epoch")),
        "training_cases_of_dataset": _count(dataset.get("numTraining")),
        "trained_with": {"torch": debug.get("torch_version")},
        "imported_with": {name: version(name) for name in ("nnunet-iac", "nnunetv2", "torch")},
    }


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
