"""A sub-network of the zoo as the start of a target: derived plans with its depths and widths, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nnunet_iac.cells.transfer_report import TransferReport
from nnunet_iac.cells.weight_transfer import Interface, transfer_weights, unique_tensors
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, derive
from nnunet_iac.nnunet.files.weights import WeightTarget, build_network, weight_target
from nnunet_iac.zoo.adaptation import adapted
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.stock import StockArchitecture
from nnunet_iac.zoo.subnetwork import Subnetwork

RETRIEVED_AS = "retrieved_as"
"""Key of plans that a retrieval wrote: their own name. Plans derived from them carry it too, under another name."""


@dataclass(frozen=True)
class RetrievedStart:
    """What a target is trained from.

    Attributes:
        target: plans with the retrieved depths and widths, and what the network reads and answers.
        network: stock network of these plans with the transferred weights.
        report: what became of each tensor.
    """

    target: WeightTarget
    network: nn.Module
    report: TransferReport


def retrieved_start(
    entry: Entry,
    candidate: Subnetwork,
    plans: Plans,
    configuration: str,
    dataset: Mapping[str, Any],
    *,
    name: str,
    seed: int = 0,
) -> RetrievedStart:
    """Put a sub-network's depths, widths and weights on a target's plans.

    Strides, kernels and the number of stages stay those of the target's plan
    (:func:`~nnunet_iac.zoo.adaptation.adapted`); weights come over as far as layers meet
    (:mod:`~nnunet_iac.cells.weight_transfer`), so that another number of channels, stages or axes is no obstacle.

    Args:
        entry: the supernet's.
        candidate: extracted from it.
        plans: of the target.
        configuration: of these plans.
        dataset: content of the target's ``dataset.json``.
        name: of the derived plans.
        seed: of what the source has no weights for.

    Raises:
        ValueError: if one is plain and the other residual, or the target's plans are no stock ones.
    """
    planned = StockArchitecture(configuration_of(plans, configuration)["architecture"])
    architecture = adapted(StockArchitecture(candidate.architecture), planned)
    derived = retrieved_plans(plans, configuration, name)
    derived["configurations"][configuration]["architecture"] = dict(architecture.record)
    target = weight_target(derived, configuration, dict(dataset))
    network = build_network(target, seed)
    source = Interface(entry.channels, entry.labels, entry.regions)
    report = transfer_weights(network, unique_tensors(candidate.network), source, target.interface)
    return RetrievedStart(target, network, report)


def retrieved_plans(plans: Plans, configuration: str, name: str) -> Plans:
    """Return derived plans that say that a retrieval wrote them, with the network of the plans.

    Raises:
        ValueError: if there is no such configuration, or its settings are bad.
    """
    return {**derive(plans, configuration, name, {}), RETRIEVED_AS: name}


def is_retrieved(plans: Plans) -> bool:
    """Return whether a retrieval wrote these very plans; earlier versions did not say so.

    Example:
        >>> [is_retrieved({"plans_name": name, RETRIEVED_AS: "found"}) for name in ("found", "derived")]
        [True, False]
    """
    return plans.get(RETRIEVED_AS, "") == plans.get("plans_name")
