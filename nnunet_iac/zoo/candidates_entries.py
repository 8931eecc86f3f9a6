"""What a zoo keeps of a supernet, read back: the supernet itself, and its candidates with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.stock import StockArchitecture
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.supernet import ElasticUNet

SUPERNET, SUBNETWORKS, FEATURES = "supernet", "subnetworks", "dataset features"
"""Kinds of entries that ``nnunet-iac zoo build`` writes."""

_TENSORS = ("dice", "loss", "parameters", "responses")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Sub-networks of one supernet and what was measured with its weights.

    Attributes:
        entry: of the zoo.
        supernet: id of the supernet's entry.
        space: that they were drawn from.
        configurations: ``n`` of them; the first two are the largest and the smallest.
        dice: ``(n,)``, mean foreground Dice on held-out patches, 0 to 1.
        loss: ``(n,)``, nnU-Net's loss there.
        parameters: ``(n,)``, how many.
        responses: ``(n, F)``, see :mod:`nnunet_iac.zoo.candidates_response`.
        data: what they were measured on, as JSON has it.
        measured: how.
    """

    entry: Entry
    supernet: str
    space: ElasticSpace
    configurations: tuple[SubnetConfiguration, ...]
    dice: NDArray[np.float64]
    loss: NDArray[np.float64]
    parameters: NDArray[np.int64]
    responses: NDArray[np.float32]
    data: Mapping[str, Any]
    measured: Mapping[str, Any]


def supernet_facts(supernet: ElasticUNet) -> dict[str, Any]:
    """Return what :func:`read_supernet` needs besides the tensors, as JSON has it."""
    return {
        "architecture": dict(supernet.architecture.record),
        "input_channels": supernet.input_channels,
        "num_classes": supernet.num_classes,
        "space": asdict(supernet.space),
    }


def read_supernet(zoo: Zoo, entry: Entry, *, deep_supervision: bool = False) -> ElasticUNet:
    """Return the supernet of an entry with its weights, in evaluation mode on the CPU.

    What facts claim costs no memory before it is known to be what the weights' file holds: the network is first built
    without any.

    Args:
        zoo: where it lies.
        entry: of the kind ``supernet``.
        deep_supervision: see :class:`~nnunet_iac.zoo.supernet.ElasticUNet`.

    Raises:
        FileNotFoundError: if the weights are missing.
        ValueError: if the entry is of another kind, or its weights or facts are damaged or do not fit.
    """
    _check_kind(entry, SUPERNET)
    facts, tensors = entry.facts, zoo.read_weights(entry)
    try:
        space = _space(entry)
        architecture = StockArchitecture(facts["architecture"])
        _check_layers(architecture, tensors, entry)
        with torch.device("meta"):
            supernet = ElasticUNet(
                architecture,
                int(facts["input_channels"]),
                int(facts["num_classes"]),
                fractions=space.fractions,
                multiple=space.multiple,
                deep_supervision=deep_supervision,
            )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # torch's answer to sizes beyond 64 bits
        raise ValueError(
            f"entry {entry.id}: expected the facts of a supernet, got others ({error!r}); build it again"
        ) from error
    if supernet.space != space:
        raise ValueError(
            f"entry {entry.id}: expected the elastic space of its architecture, {supernet.space}, got {space}; it was "
            "made by hand or is damaged: build it again"
        )
    return _with_weights(supernet, tensors, entry).eval()


def subnetwork_architecture(entry: Entry, configuration: SubnetConfiguration) -> StockArchitecture:
    """Return the architecture of a sub-network by the facts of its supernet's entry; no weights are read.

    Raises:
        ValueError: if the entry is of another kind, its facts are damaged, or there is no such configuration.
    """
    _check_kind(entry, SUPERNET)
    try:
        space, architecture = _space(entry), StockArchitecture(entry.facts["architecture"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"entry {entry.id}: expected the facts of a supernet, got others ({error!r}); build it again"
        ) from error
    return architecture.resized(space.channels(configuration), configuration.depths, configuration.decoder_depths)


def read_candidates(zoo: Zoo, entry: Entry) -> Candidates:
    """Return the candidates of an entry of the kind ``subnetworks``.

    Raises:
        FileNotFoundError: if the weights' file is missing.
        ValueError: if the entry is of another kind, or damaged.
    """
    _check_kind(entry, SUBNETWORKS)
    tensors = zoo.read_weights(entry)
    try:
        configurations = tuple(SubnetConfiguration.from_dict(c) for c in entry.facts["configurations"])
        known: dict[str, Any] = {name: tensors[name].numpy() for name in _TENSORS}
        known.update({name: dict(entry.facts[name]) for name in ("data", "measured")})
        known.update(supernet=str(entry.facts["supernet"]), space=_space(entry))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"entry {entry.id}: expected candidates, got something else ({error!r})") from error
    wrong = {name: known[name].shape for name in _TENSORS if len(known[name]) != len(configurations)}
    if wrong:
        raise ValueError(
            f"entry {entry.id}: expected a number for each of {len(configurations)} configurations, got {wrong}; "
            "build it again"
        )
    return Candidates(entry=entry, configurations=configurations, **known)


def find_candidates(zoo: Zoo, start: str) -> Candidates:
    """Return candidates by the (start of the) id of their entry, or of their supernet's if it has one set only.

    Raises:
        ValueError: if there are none, or several sets.
    """
    entry = zoo.entry(start)
    if entry.kind != SUPERNET:
        return read_candidates(zoo, entry)
    found = [e for e in zoo.entries(Query(SUBNETWORKS)) if e.facts.get("supernet") == entry.id]
    if len(found) != 1:
        raise ValueError(
            f"id: expected one set of candidates of supernet {entry.id}, got {[e.id for e in found]}; name one of "
            "them, or measure some with nnunet-iac zoo build --c"
        )
    return read_candidates(zoo, found[0])


def _check_kind(entry: Entry, kind: str) -> None:
    if entry.kind != kind:
        raise ValueError(
            f"entry {entry.id}: expected one of the kind {kind!r}, got a {entry.kind!r} ({entry.name}); see "
            f'nnunet-iac zoo list --kind "{kind}"'
        )


def _check_layers(architecture: StockArchitecture, tensors: Mapping[str, torch.Tensor], entry: Entry) -> None:
    """Refuse more stages or layers than there are tensors; each has some, and building them takes time."""
    layers = int(architecture.arguments["n_stages"])
    if layers <= len(tensors):
        layers = sum(architecture.depths) + sum(architecture.decoder_depths)
    if layers > len(tensors):
        raise ValueError(
            f"entry {entry.id}: expected a tensor at least for each of {layers} layers of its architecture, got "
            f"{len(tensors)}; it was made by hand or is damaged: build it again"
        )


def _with_weights(supernet: ElasticUNet, tensors: Mapping[str, torch.Tensor], entry: Entry) -> ElasticUNet:
    """Give a supernet without memory its own and the weights, once these are known to fit."""
    own = unique_tensors(supernet)
    wrong = sorted(set(own) ^ set(tensors)) or [n for n, t in own.items() if t.shape != tensors[n].shape]
    if wrong:
        raise ValueError(
            f"entry {entry.id}: expected the weights of its architecture, {len(wrong)} tensor(s) differ, the first is "
            f"{wrong[0]}; it was made by hand or is damaged: build it again"
        )
    filled = supernet.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in unique_tensors(filled).items():
            tensor.copy_(tensors[name])
    return filled


def _space(entry: Entry) -> ElasticSpace:
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.facts["space"].items()}
    return ElasticSpace(**known)


def sees_alike(features: Entry, network: Entry) -> bool:
    """Return whether features are of images as a network sees them: the same plans, and in them the same patch."""
    if features.plans.get("plans_name") != network.plans.get("plans_name"):
        return False
    return features.configuration != network.configuration or features.patch_size == network.patch_size
