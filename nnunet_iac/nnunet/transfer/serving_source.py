"""Which searches of a zoo can serve a target: cells alike, data of others, features to compare by; else why not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.nnunet.cases import dataset_features
from nnunet_iac.nnunet.zoo_entries import search_import
from nnunet_iac.similarity.labelled_features import LabelledFeatures
from nnunet_iac.zoo.entry import Entry

MULTI = "multi"
"""``transfer.source`` that takes the newest search on several data sets."""


@dataclass(frozen=True)
class TransferTarget:
    """What a search is to be started for.

    Attributes:
        dataset: full name.
        configuration: such as ``2d``.
        dimensions: 2 or 3.
        nodes: of a cell.
        features: computes the features of its label regions; called only if they are needed.
    """

    dataset: str
    configuration: str
    dimensions: int
    nodes: int
    features: Callable[[], LabelledFeatures]


def datasets_of(entry: Entry) -> tuple[str, ...]:
    """Return the data sets that an entry was searched on: several after ``zoo build --multi``, else one."""
    found = entry.facts.get("datasets")
    return tuple(map(str, found)) if isinstance(found, list) and found else (entry.dataset,)


def lineage_of(entry: Entry) -> tuple[str, ...]:
    """Return the data sets that an entry's weights have seen, its own first."""
    return (*datasets_of(entry), *map(str, entry.facts.get("ancestors", ())))


def problem_of(entry: Entry, nodes: int) -> str:
    """Return why a search cannot start from an entry, naming both sides; empty if it can."""
    if entry.kind != search_import.KIND:
        return f"it is a {entry.kind!r}, no {search_import.KIND!r}"
    operations = tuple(entry.facts.get("operations", ()))
    if operations != OPERATIONS:
        return (
            f"its edges have {len(operations)} operations ({', '.join(map(str, operations))}), those of this version "
            f"of nnunet-iac {len(OPERATIONS)} ({', '.join(OPERATIONS)})"
        )
    found = entry.facts.get("cell", {}).get("nodes")
    return "" if found == nodes else f"its cells have {found} nodes, cell.nodes is {nodes}"


def why_not_nearest(entry: Entry, target: TransferTarget, described: Collection[str]) -> str:
    """Return why a target cannot take a search as the nearest; empty if it can.

    Args:
        entry: the search's.
        target: what it is for.
        described: data sets that the zoo has features of to compare by.
    """
    if len(datasets_of(entry)) > 1:
        return (
            f"it was searched on {len(datasets_of(entry))} data sets together, which have no distance; "
            f"transfer.source={MULTI} or transfer.source={entry.id} takes it"
        )
    if target.dataset in lineage_of(entry)[1:]:
        return f"its weights started from the target's own data set; transfer.source={entry.id} takes it all the same"
    if entry.dataset == target.dataset:
        return (
            "it was searched on the target's own data set and may have seen this fold's validation cases; "
            f"transfer.source={entry.id} takes it all the same"
        )
    if entry.dataset not in described:
        place = f"{entry.dataset} in {target.dimensions}D"
        return f"the zoo has no {dataset_features.FEATURES} of {place} by the embedded encoder"
    return problem_of(entry, target.nodes)


def why_not_multi(entry: Entry, target: TransferTarget) -> str:
    """Return why a target cannot start from a search on several data sets; empty if it can."""
    if target.dataset in lineage_of(entry):
        return (
            f"{target.dataset}, the target, is among the data sets that its weights have seen; "
            f"transfer.source={entry.id} takes it all the same"
        )
    if entry.dimensions != target.dimensions:
        return (
            f"it was searched in {entry.dimensions}D, the target is in {target.dimensions}D; "
            f"transfer.source={entry.id} takes it all the same"
        )
    return problem_of(entry, target.nodes)
