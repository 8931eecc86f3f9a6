"""The checkpoint that weights are taken from: read, and checked tensor by tensor against its own plans.

A checkpoint may come from anywhere, and plans name classes by dotted names. So the source's network is never built
from these as nnU-Net does it: the host must be a stock one, and what it is made of must be modules of PyTorch.
"""

from __future__ import annotations

import hashlib
import inspect
import pydoc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.network import host_class
from nnunet_iac.cells.weight_transfer import Interface, stock_key, unique_tensors
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.interfaces import interface_of
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, read_plans

TRUSTED = ("torch.nn.", "dynamic_network_architectures.building_blocks.")
"""Where the modules that a source's plans name may come from."""


@dataclass(frozen=True)
class WeightSource:
    """A checkpoint that fits its plans.

    Attributes:
        file: its name, without folder.
        sha256: of the file.
        weights: its ``state_dict``.
        plans: of the data set that it was trained on.
        configuration: name of its configuration.
        architecture: of that configuration.
        interface: what it reads and answers.
    """

    file: str
    sha256: str
    weights: Mapping[str, torch.Tensor]
    plans: Plans
    configuration: str
    architecture: dict[str, Any]
    interface: Interface

    @property
    def origin(self) -> dict[str, Any]:
        """Where the weights come from, as JSON has it."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "dataset": self.plans.get("dataset_name"),
            "plans": self.plans.get("plans_name"),
            "configuration": self.configuration,
        }


def read_weight_source(
    path: Path, plans: Path | None = None, configuration: str | None = None, *, trust: bool = False
) -> WeightSource:
    """Read a checkpoint of nnU-Net without running code from it.

    Args:
        path: the checkpoint.
        plans: plans file of a checkpoint that carries none; ``dataset.json`` is read beside it if it is there.
        configuration: of these plans (default: the one that the checkpoint names).
        trust: see :func:`nnunet_iac.nnunet.files.hosts.read_checkpoint`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the checkpoint is damaged, foreign, without plans, not that of a stock host (with or without
            cells), does not fit its plans, or holds NaN or Inf.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    known = checkpoint.get("init_args")
    known = known if isinstance(known, dict) else {}
    carried = known.get("configuration")
    configuration = configuration or (carried if isinstance(carried, str) else None)
    found, dataset = known.get("plans"), known.get("dataset_json")
    if plans is not None:
        found, beside = read_plans(plans), plans.with_name("dataset.json")
        dataset = dataset or (read_object(beside) if beside.is_file() else None)
    if not isinstance(found, dict) or not isinstance(found.get("configurations"), dict) or configuration is None:
        raise ValueError(
            f"checkpoint: expected one that carries its plans and configuration, got none in {path}; "
            "nnunet-iac transfer takes them with --source-plans and --source-configuration"
        )
    weights = {stock_key(key): value for key, value in checkpoint["network_weights"].items()}
    architecture = _architecture(found, configuration, path)
    interface = _check(weights, architecture, dataset if isinstance(dataset, dict) else {}, path)
    return WeightSource(path.name, sha256_of(path), weights, found, configuration, architecture, interface)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def empty_host(architecture: Mapping[str, Any], inputs: int, outputs: int) -> nn.Module:
    """Return the stock host of an architecture without memory for its weights (on the ``meta`` device).

    Raises:
        ValueError: if it is not a stock host, or names something that is no module of PyTorch.
    """
    arguments = dict(architecture["arch_kwargs"])
    host = host_class(arguments.get("backbone", architecture["network_class_name"]))
    for name in architecture["_kw_requires_import"]:
        arguments[name] = _module(name, arguments.get(name))
    accepted = inspect.signature(host).parameters
    arguments = {name: value for name, value in arguments.items() if name in accepted}
    with torch.device("meta"):
        return host(input_channels=inputs, num_classes=outputs, **arguments)


def _module(argument: str, name: Any) -> type[nn.Module] | None:
    if name is None:
        return None
    found = pydoc.locate(name) if isinstance(name, str) and name.startswith(TRUSTED) else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"plans: expected a module of PyTorch for {argument}, got {name!r}; give the stock plans")
    return found


def _architecture(plans: Plans, configuration: str, path: Path) -> dict[str, Any]:
    try:
        return dict(configuration_of(plans, configuration)["architecture"])
    except ValueError as error:
        raise ValueError(
            f"{error}; these are the plans of {path.name}, others are given with --source-plans"
        ) from error


def _check(
    weights: Mapping[str, Any], architecture: Mapping[str, Any], dataset: Mapping[str, Any], path: Path
) -> Interface:
    """Check the host's tensors against the plans; return what the network reads and answers."""
    wrong = sorted(key for key, value in weights.items() if not isinstance(value, torch.Tensor))
    if wrong:
        raise ValueError(f"checkpoint: expected tensors only in network_weights, got others at {wrong[:3]} in {path}")
    try:
        reader, head = _ends(weights, architecture)
        expected = unique_tensors(empty_host(architecture, reader.shape[1], head.shape[0]))
    except (KeyError, TypeError, AttributeError, AssertionError, IndexError, StopIteration, RuntimeError) as error:
        raise ValueError(
            f"checkpoint: expected the network of its plans, found none such in {path} ({error!r}); "
            "give a checkpoint of nnU-Net, or transfer it with --source-plans if those inside are not its own"
        ) from error
    problems = [f"{key} is missing" for key in expected if key not in weights] + [
        f"{key}: expected {tuple(value.shape)}, got {tuple(weights[key].shape)}"
        for key, value in expected.items()
        if key in weights and value.shape != weights[key].shape
    ]
    if problems:
        raise ValueError(
            f"checkpoint: expected the network of its plans, got {len(problems)} tensor(s) that differ in {path}: "
            f"{'; '.join(problems[:3])}. nnunet-iac transfer takes its own plans with --source-plans"
        )
    broken = [key for key in expected if not bool(torch.isfinite(weights[key]).all())]
    if broken:
        raise ValueError(
            f"checkpoint: expected finite weights, got NaN or Inf in {len(broken)} tensor(s) of {path}, the first is "
            f"{broken[0]}; take an earlier checkpoint"
        )
    return interface_of(dataset, reader.shape[1], head.shape[0])


def _ends(weights: Mapping[str, torch.Tensor], architecture: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights that read the image and those that answer."""
    keys: Any = empty_host(architecture, 1, 1).keys_to_in_proj
    return next(weights[f"{k}.weight"] for k in keys if f"{k}.weight" in weights), weights[
        "decoder.seg_layers.0.weight"
    ]
