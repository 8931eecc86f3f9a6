"""The network of a zoo's entry: rebuilt without running what foreign plans name, and as a checkpoint of nnU-Net."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.files.plans import configuration_of
from nnunet_iac.nnunet.files.weight_source import empty_host
from nnunet_iac.nnunet.files.weights import WeightTarget, write_weights
from nnunet_iac.nnunet.training.searched_host import CELLS
from nnunet_iac.zoo.entry import Entry

SEARCH = "search supernet"
"""Kind of entries that hold cells besides the network of their plans, see ``search_import``."""

OURS = "nnunet_iac."
"""Where the networks with cells, which plans may name besides stock hosts, come from."""


def empty_network(architecture: Mapping[str, Any], inputs: int, outputs: int) -> nn.Module:
    """Return the network of an architecture, cells included, without memory for its weights (on ``meta``).

    Raises:
        ValueError: if it is neither a stock host nor one of this package's networks around one, or names something
            that is no module of PyTorch.
    """
    host = empty_host(architecture, inputs, outputs)  # refuses what is no module of PyTorch
    name = str(architecture["network_class_name"])
    if "backbone" not in architecture["arch_kwargs"]:
        return host
    found = pydoc.locate(name) if name.startswith(OURS) else None
    if not (isinstance(found, type) and issubclass(found, CellUNet)):
        raise ValueError(
            f"plans: expected a stock host or a network of nnunet_iac around one, got {name!r}; networks of other "
            "packages cannot be kept in the zoo"
        )
    named = architecture["_kw_requires_import"]
    arguments = {k: _located(v) if k in named else v for k, v in architecture["arch_kwargs"].items()}
    try:
        with torch.device("meta"):
            return found(input_channels=inputs, num_classes=outputs, **arguments)
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"plans: expected the arguments of {name}, got damaged ones ({error!r})") from error


def entry_network(entry: Entry, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the network of an entry with its weights, in the types that these have.

    Of a search it is the host; see :func:`left_out`.

    Raises:
        ValueError: if the weights are not those of the entry's plans.
    """
    architecture = _architecture(entry)
    head = tensors.get("decoder.seg_layers.0.weight")
    if head is None:
        raise ValueError(
            f"entry {entry.id}: expected weights of a network of nnU-Net, got a {entry.kind} without its head"
        )
    network = empty_network(architecture, len(entry.channels), len(head))
    first_names = {id(value): name for name, value in unique_tensors(network).items()}
    stored = network.state_dict(keep_vars=True)
    try:
        # Shared modules stand under several names; each gets the one tensor.
        full = {name: tensors[first_names[id(value)]] for name, value in stored.items()}
        network.load_state_dict(full, assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"entry {entry.id}: expected weights of the network that its plans describe, got others ({error}); "
            "it was made by hand or is damaged"
        ) from error
    if (unknown := left_out(network, tensors)) and (entry.kind != SEARCH or not _are_cells(unknown)):
        raise ValueError(
            f"entry {entry.id}: expected weights of the network that its plans describe, got {len(unknown)} tensor(s) "
            f"more, such as {unknown[0]!r}, in a {entry.kind}; it was made by hand, or by another version of nnunet-iac"
        )
    return network


def left_out(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of an entry's tensors that its network has no place for: in a search, those of its cells."""
    return sorted(set(tensors) - set(network.state_dict()))


def _are_cells(names: Sequence[str]) -> bool:
    return all(name.startswith(CELLS) for name in names)


def write_network(entry: Entry, network: nn.Module, path: Path) -> None:
    """Write an entry's network as an ordinary checkpoint of nnU-Net, for ``-pretrained_weights``, whole or not at all.

    Raises:
        OSError: from the file system; an earlier file is untouched then.
    """
    write_weights(path, network, entry_target(entry, network), {"zoo_entry": entry.id, **entry.provenance})


def entry_target(entry: Entry, network: nn.Module) -> WeightTarget:
    """Return what an entry's network was made for."""
    outputs = len(network.state_dict()["decoder.seg_layers.0.weight"])
    return WeightTarget(
        plans=dict(entry.plans),
        configuration=entry.configuration,
        dataset=dict(entry.dataset_json),
        architecture=_architecture(entry),
        inputs=len(entry.channels),
        outputs=outputs,
    )


def check_starts(network: nn.Module, entry: Entry, target: WeightTarget) -> None:
    """Check that nnU-Net can start a target's network from an entry's, as ``-pretrained_weights`` asks.

    Every tensor but those of the segmentation layers must be there in the same shape.

    Raises:
        ValueError: if not; the message says what helps.
    """
    dimensions = len(configuration_of(target.plans, target.configuration)["patch_size"])
    entry.check_fit(dimensions=dimensions, channels=target.inputs)
    own, wanted = (
        {name: tuple(value.shape) for name, value in side.state_dict().items() if ".seg_layers." not in name}
        for side in (network, empty_network(target.architecture, target.inputs, target.outputs))
    )
    wrong = [name for name, shape in wanted.items() if own.get(name) != shape]
    if wrong:
        raise ValueError(
            f"entry: expected the architecture of {target.plans.get('plans_name')} {target.configuration}, "
            f"{entry.name} differs in {len(wrong)} tensor(s), the first is {wrong[0]}; extract it without a target and "
            "fit it with nnunet-iac transfer --from"
        )


def _architecture(entry: Entry) -> dict[str, Any]:
    try:
        return dict(configuration_of(dict(entry.plans), entry.configuration)["architecture"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"entry {entry.id}: expected plans of nnU-Net, got damaged ones ({error!r})") from error


def _located(name: Any) -> Any:
    return None if name is None else pydoc.locate(name)
