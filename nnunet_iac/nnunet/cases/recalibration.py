"""Running statistics of batch normalisation for a network out of a supernet, whose own are the largest network's."""

from __future__ import annotations

from torch import nn

from nnunet_iac.nnunet.cases.image_samples import PreparedData, sample_batches
from nnunet_iac.zoo.subnetwork import recalibrate

PATCHES = 128
"""That statistics are the mean over, in batches of the plan's size."""


def recalibrate_on(network: nn.Module, data: PreparedData, *, seed: int, patches: int = PATCHES) -> int:
    """Replace running statistics by those of patches of a data set; other normalisations keep none and stay.

    Args:
        network: where it is, in whatever mode.
        data: cases to look at; their labels say only where.
        seed: of the patches.
        patches: how many.

    Returns:
        The number of layers that were recalibrated.
    """
    batches = sample_batches(data, count=patches, batch_size=int(data.planned["batch_size"]), seed=seed)
    return recalibrate(network, (images for images, _ in batches))
