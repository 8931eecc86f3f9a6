"""Is there a relative of a target among the data sets of a zoo, and which: by transport between their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.similarity.labelled_features import alternate_halves
from nnunet_iac.similarity.mixture import label_transport
from nnunet_iac.similarity.outliers import Nearness, nearness


def find_nearness(sources: Sequence[Task], sample: DatasetSample) -> tuple[Nearness, list[str]]:
    """Compare a target with the sources by the transport between Gaussians of their labels.

    Returns:
        what :func:`~nnunet_iac.similarity.outliers.nearness` says of the data sets, and their names in its order.

    Raises:
        ValueError: if there is no source.
    """
    samples = list({task.dataset: task.sample for task in sources}.values())
    if not samples:
        raise ValueError(
            "--zoo: expected data sets other than the target, got none; build some with nnunet-iac zoo build"
        )
    gaussians = [one.gaussians for one in samples]
    own, halves = sample.gaussians, [half.gaussians for half in _halves(sample)]
    to_sources = [label_transport(one, own).distance for one in gaussians]
    among = np.array([[label_transport(a, b).distance for b in gaussians] for a in gaussians])
    within = label_transport(*halves).distance if halves else 0.0
    return nearness(to_sources, (among + among.T) / 2, within=within), [one.name for one in samples]


def near_text(near: Nearness, names: Sequence[str]) -> str:
    """Return in words how near the target is to the sources."""
    place = f"{names[near.source]} is the nearest of {len(names)} data sets (distance {near.distance:.3g}"
    if not near.usual:
        return f"{place}); too few to tell whether that is near."
    usual = f"theirs to their nearest: {min(near.usual):.3g} to {max(near.usual):.3g})"
    if near.is_outlier:
        return (
            f"No source is near: {place}; {usual}. A data set like the sources would be that far with probability "
            f"{near.p_value:.2g}."
        )
    return f"{place}; {usual}."


def alike_text(near: Nearness, names: Sequence[str]) -> str:
    """Return in words which sources look like the target's own data under another name; empty if none does."""
    if not near.alike:
        return ""
    found = ", ".join(names[place] for place in near.alike)
    return (
        f"{found}: no farther from the target than images of one data set are from each other. Under another name it "
        "may be the same data; its networks may then have seen the validation cases. If so, leave it out with "
        "--without, or by removing it from the zoo."
    )


def _halves(sample: DatasetSample) -> list[DatasetSample]:
    """Return two halves of each label's rows; nothing where a half would have fewer than two."""
    labels = np.asarray(sample.labels)
    if len(labels) < 4:
        return []
    return [replace(sample, features=sample.features[rows], labels=labels[rows]) for rows in alternate_halves(labels)]
