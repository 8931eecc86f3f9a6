"""A meta-space as an entry of the zoo: tensors and facts, nothing pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nnunet_iac.metaspace.networks import MetaNetworks
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.standardisation import Standardisation
from nnunet_iac.zoo.entry import Description

KIND = "meta-space"
"""Kind of the entry."""

SCHEMA = 1
"""Version of its tensors and facts; readers refuse others."""

EMBEDDINGS = "embeddings"
"""Name of the tensor of the data sets' embeddings; the others are those of the networks."""

# Spaces that were stored without ``digests`` are read too; a retrieval asks for them.
_FACTS = ("schema", "settings", "encoder", "tasks", "datasets", "losses", "report")


def to_entry(space: MetaSpace, *, report: Mapping[str, Any] | None = None) -> tuple[Description, dict[str, Tensor]]:
    """Return what a zoo stores of a meta-space.

    An entry describes a network on images; channels, spacing and patch are placeholders here.

    Args:
        space: the space.
        report: how it did on held-out data sets, as JSON, kept among the facts.
    """
    count = len(set(space.datasets))
    about = Description(
        kind=KIND,
        name=f"meta-space of {count} data sets",
        dataset=f"{count} data sets",
        plans={},
        configuration="any",
        trainer="nnunet_iac.metaspace.fitting.fit",
        channels=("image features",),
        spacing=(1.0, 1.0),
        patch_size=(1, 1),
        facts={
            "schema": SCHEMA,
            "settings": space.settings.to_dict(),
            "encoder": space.encoder,
            "tasks": list(space.tasks),
            "datasets": list(space.datasets),
            "digests": list(space.digests),
            "ancestors": list(space.ancestors),
            "losses": dict(space.losses),
            "report": dict(report) if report is not None else None,
        },
    )
    return about, {**space.networks.state_dict(), EMBEDDINGS: space.embeddings}


def from_entry(entry: Description, tensors: Mapping[str, Tensor]) -> MetaSpace:
    """Return the meta-space of an entry; it gives the same numbers as the one that was stored.

    Raises:
        ValueError: if the entry is of another kind or version, or facts or tensors do not fit.
    """
    facts = entry.facts
    if entry.kind != KIND:
        raise ValueError(f"entry: expected one of kind {KIND!r}, got {entry.kind!r}; list them with --kind {KIND}")
    if facts.get("schema") != SCHEMA:
        raise ValueError(
            f"entry: expected a meta-space of version {SCHEMA}, got {facts.get('schema')!r}; fit it again with "
            "nnunet-iac zoo fit, or install the version that wrote it"
        )
    if missing := [name for name in _FACTS if name not in facts]:
        raise ValueError(f"entry: expected the facts {list(_FACTS)}, missing: {missing}; fit it again")
    try:
        settings = FitSettings(**facts["settings"])
        networks = _networks(tensors, settings)
        embeddings = tensors[EMBEDDINGS]
    except (TypeError, KeyError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"entry: expected settings and tensors of a meta-space, got {told}; fit it again") from error
    return MetaSpace(
        networks=networks,
        settings=settings,
        encoder=facts["encoder"],
        tasks=tuple(facts["tasks"]),
        datasets=tuple(facts["datasets"]),
        embeddings=embeddings,
        losses=dict(facts["losses"]),
        digests=tuple(facts.get("digests", ())),
        ancestors=tuple(facts.get("ancestors", ())),
    )


def _networks(tensors: Mapping[str, Tensor], settings: FitSettings) -> MetaNetworks:
    widths = [len(tensors[f"{name}.mean"]) for name in ("images", "topology", "responses")]
    images, topology, responses = map(Standardisation, widths)
    networks = MetaNetworks(images, topology, responses, settings)
    networks.load_state_dict({name: tensor for name, tensor in tensors.items() if name != EMBEDDINGS})
    return networks.requires_grad_(False).eval()
