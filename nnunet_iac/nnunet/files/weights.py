"""Weights of one plan's network for another's, as a checkpoint that ``nnUNetv2_train -pretrained_weights`` takes.

nnU-Net 2.8 asks there for every key of the target's network with its very shape, segmentation layers excepted: these it
never copies, whatever the file holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_iac.atomic import replacing
from nnunet_iac.cells.network import host_class
from nnunet_iac.cells.transfer_report import TransferReport
from nnunet_iac.cells.weight_transfer import Interface, transfer_weights
from nnunet_iac.nnunet.files.interfaces import interface_of
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.plans import (
    Plans,
    configuration_of,
    plans_path,
    plans_text,
    preprocessed_folder,
    read_plans,
)
from nnunet_iac.nnunet.files.weight_source import WeightSource

PROVENANCE = "nnunet_iac_transfer"
"""Key of a written checkpoint that says where its weights come from."""


@dataclass(frozen=True)
class WeightTarget:
    """The network that weights are for.

    Attributes:
        plans: of the data set.
        configuration: such as ``2d``.
        dataset: content of ``dataset.json``.
        architecture: of the configuration.
        inputs: image channels.
        outputs: classes or regions.
    """

    plans: Plans
    configuration: str
    dataset: dict[str, Any]
    architecture: dict[str, Any]
    inputs: int
    outputs: int

    @property
    def interface(self) -> Interface:
        """What the network reads and answers."""
        return interface_of(self.dataset, self.inputs, self.outputs)


def read_weight_target(dataset: str, configuration: str, plans_name: str = "nnUNetPlans") -> WeightTarget:
    """Read plans and ``dataset.json`` of a preprocessed data set.

    Raises:
        FileNotFoundError: if a file or ``nnUNet_preprocessed`` is missing.
        ValueError: if there is no such data set or configuration, a file is damaged, or the network is not a stock host
            (with or without cells).
    """
    folder = preprocessed_folder(dataset)
    plans = read_plans(plans_path(folder, plans_name))
    path = folder / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(f"dataset.json: expected it in {folder}, found none; preprocess the data set again")
    return weight_target(plans, configuration, read_object(path))


def weight_target(plans: Plans, configuration: str, dataset: dict[str, Any]) -> WeightTarget:
    """Return the target that plans and the content of ``dataset.json`` describe.

    Raises:
        ValueError: as :func:`read_weight_target`.
    """
    architecture = dict(configuration_of(plans, configuration)["architecture"])
    host_class(architecture["arch_kwargs"].get("backbone", architecture["network_class_name"]))
    try:
        manager = PlansManager(plans)
        outputs = manager.get_label_manager(dataset).num_segmentation_heads
        inputs = determine_num_input_channels(manager, configuration, dataset)
    except (KeyError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"dataset.json: expected nnU-Net's channel_names and labels, got {error!r}; restore the file"
        ) from error
    return WeightTarget(plans, configuration, dataset, architecture, inputs, outputs)


def build_network(target: WeightTarget, seed: int = 0) -> nn.Module:
    """Build the target's network on the CPU, initialised as nnU-Net does from a seeded draw."""
    architecture = target.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            target.inputs,
            target.outputs,
        )
    return cast(nn.Module, network)


def transfer(source: WeightSource, target: WeightTarget, seed: int = 0) -> tuple[nn.Module, TransferReport]:
    """Return the target's network with what fits of the source's weights, and what was done to each tensor.

    Args:
        source: see :func:`~nnunet_iac.nnunet.files.weight_source.read_weight_source`.
        target: see :func:`read_weight_target`.
        seed: of what the source has no weights for.

    Raises:
        ValueError: if the encoders are of different kinds (plain, residual).
    """
    network = build_network(target, seed)
    same = source.architecture == target.architecture
    report = transfer_weights(network, source.weights, source.interface, target.interface, with_cells=same)
    return network, report


def write_weights(
    path: Path,
    network: nn.Module,
    target: WeightTarget,
    provenance: Mapping[str, Any],
    *,
    plans_file: Path | None = None,
) -> None:
    """Write a network as a checkpoint of nnU-Net in which nothing was trained yet, whole or not at all.

    Both files are written whole before one of them gets its name.

    Args:
        path: the file; its folder must exist.
        network: of the target's plans.
        target: what the network is for.
        provenance: where the weights come from; plain values only, so that the file can be read with
            ``weights_only``.
        plans_file: where to write the target's plans too; its folder must exist.

    Raises:
        OSError: from the file system; earlier files are untouched then.
    """
    with replacing(path) as checkpoint, ExitStack() as second:
        if plans_file is not None:
            second.enter_context(replacing(plans_file)).write_text(plans_text(target.plans), encoding="utf-8")
        torch.save(_checkpoint(network, target, provenance), checkpoint)


def transfer_to_file(source: WeightSource, target: WeightTarget, path: Path, seed: int = 0) -> TransferReport:
    """Transfer weights, write the checkpoint ``path`` and the report beside it (``.json``), and return the report.

    Both files are written whole before one of them gets its name.

    Raises:
        ValueError: see :func:`transfer`; nothing is written then.
        OSError: from the file system.
    """
    network, report = transfer(source, target, seed)
    place = {
        "dataset": target.plans.get("dataset_name"),
        "plans": target.plans.get("plans_name"),
        "configuration": target.configuration,
        "seed": seed,
    }
    origin = {"source": source.origin, "target": place}
    content = json.dumps({**origin, **report.to_dict()}, indent=4) + "\n"
    with replacing(path) as checkpoint, replacing(path.with_suffix(".json")) as tensors:
        torch.save(_checkpoint(network, target, {**origin, **report.summary()}), checkpoint)
        tensors.write_text(content, encoding="utf-8")
    return report


def _checkpoint(network: nn.Module, target: WeightTarget, provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
        "current_epoch": 0,
        "init_args": {
            "plans": target.plans,
            "configuration": target.configuration,
            "fold": "all",
            "dataset_json": target.dataset,
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": None,
        PROVENANCE: dict(provenance),
    }
