"""Small labelled feature sets for the tests of similarity."""

from __future__ import annotations

import numpy as np

from nnunet_iac.similarity.labelled_features import LabelledFeatures, label_groups
from nnunet_iac.similarity.mixture import LabelGaussians, label_gaussians


def labelled(seed: int, *, labels: int = 3, per_label: int = 8, dimensions: int = 4) -> LabelledFeatures:
    """Samples of ``labels`` random Gaussians, label after label, numbered from 1."""
    rng = np.random.default_rng(seed)
    groups = [
        rng.standard_normal(dimensions)
        + rng.standard_normal((per_label, dimensions)) @ rng.standard_normal((dimensions, dimensions)) / 2
        for _ in range(labels)
    ]
    return LabelledFeatures(np.concatenate(groups), np.repeat(np.arange(1, labels + 1), per_label))


def gaussians_of(side: LabelledFeatures) -> LabelGaussians:
    return label_gaussians(label_groups(side))
