"""Is there a relative of a target among the data sets of a zoo, and which: by transport between their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunet_iac.metaspace.task import DatasetSample, Task
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
    own = sample.gaussians
    to_sources = [label_transport(one, own).distance for one in gaussians]
    among = np.array([[label_transport(a, b).distance for b in gaussians] for a in gaussians])
    return nearness(to_sources, (among + among.T) / 2), [one.name for one in samples]


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
