"""A data set as an entry of the zoo: features of its label regions, for distances to data sets that come later."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.nnunet.cases.encoders import RANDOM, load_encoder
from nnunet_iac.nnunet.cases.image_samples import PreparedData, sample_batches
from nnunet_iac.nnunet.files.interfaces import interface_of
from nnunet_iac.similarity.features import embed
from nnunet_iac.similarity.labelled_features import LabelledFeatures
from nnunet_iac.zoo.candidates_entries import FEATURES
from nnunet_iac.zoo.entry import Description, Entry

PATCHES = 128
"""How many patches describe a data set."""

VOLUMES_AT_A_TIME, SLICES_AT_A_TIME = 1, 8
"""Responses of full resolution are many times the patch."""


def region_features(
    data: PreparedData, *, patches: int = PATCHES, seed: int = 0, device: torch.device | str = "cpu"
) -> LabelledFeatures:
    """Return features of the label regions of a data set, in those of the embedded encoder.

    Every data set is looked at in its own plan's spacing and patch size; features of 2D and 3D cannot be compared.

    Args:
        data: see :func:`~nnunet_iac.nnunet.cases.image_samples.prepared_data`.
        patches: how many are looked at.
        seed: of their draw.
        device: where to compute.

    Raises:
        ValueError: if no patch has a labelled voxel, or ``patches`` is not positive.
    """
    if patches < 1:
        raise ValueError(f"patches: expected at least one, got {patches}")
    encoder = load_encoder(RANDOM, data.dimensions, device)
    at_a_time = SLICES_AT_A_TIME if data.dimensions == 2 else VOLUMES_AT_A_TIME
    batches = sample_batches(data, count=patches, batch_size=at_a_time, seed=seed)
    try:
        return embed(lambda images: [level.cpu() for level in encoder(images)], batches, data.label_names).side
    except ValueError as error:
        raise ValueError(f"{data.dataset}: {error}") from error


def dataset_features(
    data: PreparedData, *, patches: int = PATCHES, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[Description, dict[str, torch.Tensor]]:
    """Return what :meth:`~nnunet_iac.zoo.store.Zoo.add` takes to keep a data set's features.

    Returns:
        the description, and the tensors ``features`` ``(N, F)`` in float32 and ``labels`` ``(N,)`` in int64, one row
        for each region of each patch; the labels' names are among the facts.

    Raises:
        ValueError: as :func:`region_features`, or if ``dataset.json`` is damaged.
    """
    side = region_features(data, patches=patches, seed=seed, device=device)
    outputs = PlansManager(data.plans).get_label_manager(dict(data.content)).num_segmentation_heads
    interface = interface_of(data.content, len(data.channel_names), outputs)
    about = Description(
        kind=FEATURES,
        name=f"{data.dataset}/{FEATURES.replace(' ', '_')}__{data.plans['plans_name']}__{data.configuration}",
        dataset=data.dataset,
        plans=data.plans,
        configuration=data.configuration,
        trainer="nnunet-iac",
        labels=interface.labels,
        regions=interface.regions,
        channels=interface.channels,
        spacing=tuple(data.planned["spacing"]),
        patch_size=data.patch_size,
        dataset_json=data.content,
        provenance={"fold": data.fold, "made_with": {name: version(name) for name in ("nnunet-iac", "torch")}},
        facts={
            "encoder": RANDOM,
            "patches": patches,
            "seed": seed,
            "cases": len(data.cases),
            "names": {str(label): name for label, name in side.names.items()},
        },
    )
    return about, {"features": torch.as_tensor(side.features).float(), "labels": torch.as_tensor(side.labels)}


def features_of(entry: Entry, tensors: Mapping[str, torch.Tensor]) -> LabelledFeatures:
    """Return the features that an entry keeps.

    Raises:
        ValueError: if it is of another kind, made by another encoder than the embedded one, or damaged.
    """
    encoder = entry.facts.get("encoder")
    if entry.kind != FEATURES or encoder != RANDOM:
        raise ValueError(
            f"entry {entry.id}: expected {FEATURES} of the embedded encoder, got a {entry.kind!r} of {encoder!r}; add "
            "them with nnunet-iac zoo build"
        )
    try:
        names: dict[str, Any] = entry.facts.get("names", {})
        known = {int(label): str(name) for label, name in names.items()}
        return LabelledFeatures(tensors["features"].double().numpy(), tensors["labels"].numpy(), known)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"entry {entry.id}: expected features and labels, got others ({error!r})") from error
