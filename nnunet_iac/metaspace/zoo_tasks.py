"""Reading tasks from a zoo: scored sub-networks and features of the data set's images.

Two kinds of entries, written by ``nnunet-iac zoo build``:

- ``subnetworks``: tensors ``dice``, ``loss``, ``parameters`` ``(n,)`` and ``responses`` ``(n, R)``; facts
  ``configurations``, a list of :meth:`SubnetConfiguration.to_dict`, and ``supernet``, the id of the supernet's entry,
  whose fact ``space`` has the fields of an :class:`ElasticSpace`.
- ``dataset features``: tensors ``features`` ``(N, F)`` and ``labels`` ``(N,)``; fact ``encoder``, the name of the
  frozen encoder that made them.

They belong together if data set and plans configuration are the same. Several entries of sub-networks for one data set
(folds, say) are tasks of their own; of several entries of its features those of the same plans and patch size count, of
these the newest. Where none are of the same, the newest of all count, and a line says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

from nnunet_iac.metaspace.task import Candidates, DatasetSample, Task
from nnunet_iac.metaspace.topology import topology
from nnunet_iac.zoo.candidates_entries import FEATURES, SUBNETWORKS, sees_alike
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.store import Zoo


def read_tasks(
    zoo: Zoo, *, configurations: Collection[str] = (), skipped: Callable[[str], None] | None = None
) -> list[Task]:
    """Return the tasks of a zoo, by data set and configuration.

    Args:
        zoo: that was built.
        configurations: only those of these plans configurations, such as ``2d``; default: all.
        skipped: is told of each entry that cannot be used, which is left out then; None makes it an error. It is told
            of features of other plans or another patch size too, which without it are a warning.

    Raises:
        FileNotFoundError: if there is no zoo, or weights are missing.
        ValueError: if there are no sub-networks, an entry lacks something, or features are missing or ambiguous.
    """
    found = [e for e in zoo.entries(Query(SUBNETWORKS)) if not configurations or e.configuration in configurations]
    if not found:
        which = f" for {', '.join(sorted(configurations))}" if configurations else ""
        raise ValueError(f"zoo: expected entries of kind {SUBNETWORKS!r}{which}, got none; nnunet-iac zoo build")
    samples: dict[str, DatasetSample] = {}
    tasks = []
    for entry in found:
        try:
            features = _features_entry(zoo, entry)
            if not sees_alike(features, entry):
                (skipped or _warn)(
                    f"NOTE: entry {entry.id} ({entry.name}) is told by features of other plans or another patch size "
                    f"({features.plans.get('plans_name')}, {list(features.patch_size)}); the zoo has none of its own"
                )
            if features.id not in samples:
                samples[features.id] = read_sample(zoo, features)
            tasks.append(Task(_name(entry, found), samples[features.id], read_candidates(zoo, entry)))
        except (ValueError, FileNotFoundError) as error:
            if skipped is None:
                raise
            skipped(f"left out: entry {entry.id} ({entry.name}) cannot be used: {error}")
    return tasks


def left_without(tasks: Sequence[Task], datasets: Collection[str]) -> list[Task]:
    """Return the tasks of all data sets but some, without those whose weights have seen one of these.

    Raises:
        ValueError: if there is nothing of one of them, which is a slip of the pen.
    """
    known = sorted({task.dataset for task in tasks})
    if strange := sorted(set(datasets) - set(known)):
        raise ValueError(f"--without: expected full names of data sets of the zoo, {known}, got {strange}")
    return [task for task in tasks if not set(datasets) & set(task.lineage)]


def read_sample(zoo: Zoo, entry: Entry) -> DatasetSample:
    """Return the image features of an entry.

    Raises:
        ValueError: if the entry lacks something, or a number is not finite; the message names it.
    """
    tensors = zoo.read_weights(entry)
    features, labels = (_tensor(entry, tensors, name) for name in ("features", "labels"))
    try:
        encoder = encoder_identity(_fact(entry, "encoder"), entry.dimensions)
        return DatasetSample(entry.dataset, features.double().numpy(), encoder, labels.numpy())
    except ValueError as error:
        raise ValueError(f"entry {entry.id} ({entry.name}): {error}") from error


def encoder_identity(encoder: Any, dimensions: int) -> dict[str, Any]:
    """Return what says which encoder made a sample's features.

    The embedded encoder has one name in 2D and in 3D, but features of the two cannot be compared. So a space is fitted
    in 2D or in 3D.

    Args:
        encoder: its name, as the entry's fact has it.
        dimensions: spatial axes of the images that it looked at.
    """
    return {"encoder": encoder, "dimensions": dimensions}


def read_candidates(zoo: Zoo, entry: Entry) -> Candidates:
    """Return the scored sub-networks of an entry.

    Raises:
        ValueError: if the entry or its supernet's lacks something, or numbers do not fit; the message names it.
    """
    tensors = zoo.read_weights(entry)
    dice, parameters, responses = (
        _tensor(entry, tensors, name).double().numpy() for name in ("dice", "parameters", "responses")
    )
    supernet = zoo.entry(str(_fact(entry, "supernet")))
    space = _space(supernet)
    # Entries of versions that did not know of them have none.
    seen = tuple(map(str, supernet.facts.get("ancestors", ())))
    try:
        configurations = tuple(SubnetConfiguration.from_dict(c) for c in _fact(entry, "configurations"))
        rows = [topology(space, c, p, entry.dimensions) for c, p in zip(configurations, parameters, strict=True)]
        table = np.reshape(rows, (len(rows), -1))
        return Candidates(table, responses, dice, parameters, configurations, supernet.id, space, seen)
    except (ValueError, TypeError) as error:
        raise ValueError(f"entry {entry.id} ({entry.name}): {error}") from error


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _features_entry(zoo: Zoo, entry: Entry) -> Entry:
    """Return the features of the data set of an entry, as the entry's plans see it if there are such."""
    dataset, configuration = entry.dataset, entry.configuration
    found = [e for e in zoo.entries(Query(FEATURES, dataset=dataset)) if e.configuration == configuration]
    if not found:
        raise ValueError(
            f"zoo: expected an entry of kind {FEATURES!r} for {dataset} {configuration}, got none; nnunet-iac zoo "
            "build writes it"
        )
    return max(found, key=lambda features: (sees_alike(features, entry), features.created, features.id))


def _space(entry: Entry) -> ElasticSpace:
    record = _fact(entry, "space")
    names = {item.name for item in fields(ElasticSpace)}
    if not isinstance(record, Mapping) or not names >= set(record):
        raise ValueError(f"entry {entry.id} ({entry.name}): fact space: expected the fields {sorted(names)}")
    known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
    try:
        return ElasticSpace(**known)
    except (ValueError, TypeError) as error:
        raise ValueError(f"entry {entry.id} ({entry.name}): fact space: {error}") from error


def _name(entry: Entry, entries: Collection[Entry]) -> str:
    key = (entry.dataset, entry.configuration)
    is_only = sum((e.dataset, e.configuration) == key for e in entries) == 1
    return " ".join(key) if is_only else f"{' '.join(key)} ({entry.id})"


def _fact(entry: Entry, name: str) -> Any:
    if name not in entry.facts:
        raise ValueError(
            f"entry {entry.id} ({entry.name}): expected the fact {name!r}, got {sorted(entry.facts)}; build it again"
        )
    return entry.facts[name]


def _tensor(entry: Entry, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(
            f"entry {entry.id} ({entry.name}): expected the tensor {name!r}, got {sorted(tensors)}; build it again"
        )
    return tensors[name]
