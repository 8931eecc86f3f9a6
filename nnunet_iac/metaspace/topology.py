"""The topology of a sub-network as numbers that mean the same for every plan.

Stages are counted from full resolution, in the encoder and in the decoder, up to :data:`STAGES` of them; a stage that
a plan does not have is 0, which no real one is. Depths and widths are relative to the plan's largest network. So plans
of different depth, 2D and 3D, plain and residual live in one space; the last two are told by a number each (our choice:
what is learned about depth and width is shared between them, and the numbers let the model encoder tell them apart).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_iac.zoo.adaptation import Sized, Sizes
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace

Array = NDArray[np.float64]

STAGES = 10
"""Encoder stages that fit. nnU-Net halves each axis down to 4 voxels: 8 stages at 512 voxels, 10 at 2,048."""

RELATIVE = STAGES + STAGES + (STAGES - 1)
"""Leading columns that are relative to the plan: encoder depths, encoder widths, decoder depths."""

TOPOLOGY = RELATIVE + 3
"""All columns: the relative ones, log10 of the number of parameters, 3D or not, residual or not."""


def topology(space: ElasticSpace, configuration: SubnetConfiguration, parameters: float, dimensions: int) -> Array:
    """Return the topology ``(TOPOLOGY,)`` of one sub-network.

    Args:
        space: of the supernet's plan.
        configuration: of the sub-network.
        parameters: of the sub-network, at least 1.
        dimensions: spatial axes of the plan, 2 or 3.

    Raises:
        ValueError: if the configuration does not exist in the space, the plan has more than :data:`STAGES` stages, or
            a number is out of range.

    Example:
        >>> space = ElasticSpace((32, 64), (2, 4), (2,), residual=False)
        >>> row = topology(space, SubnetConfiguration((1, 4), (1,), (0.5, 1.0)), 1000, 2)
        >>> row[:3].tolist(), row[STAGES : STAGES + 3].tolist(), row[RELATIVE:].round(3).tolist()
        ([0.5, 1.0, 0.0], [0.5, 1.0, 0.0], [3.0, 0.0, 0.0])
    """
    if len(space.depths) > STAGES:
        raise ValueError(f"space: expected at most {STAGES} encoder stages, got {len(space.depths)}")
    if not (math.isfinite(parameters) and parameters >= 1):
        raise ValueError(f"parameters: expected a number of at least 1, got {parameters}")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions: expected 2 or 3 spatial axes, got {dimensions}")
    sizes = Sizes(space.channels(configuration), configuration.depths, configuration.decoder_depths)
    kind = [math.log10(parameters), float(dimensions == 3), float(space.residual)]
    return np.concatenate([relative_sizes(sizes, space), kind])


def relative_sizes(sizes: Sized, plan: Sized) -> Array:
    """Return the columns ``(RELATIVE,)`` of a network on a plan; the network need not be one of an elastic space.

    Args:
        sizes: of the network, of as many stages as the plan has.
        plan: what they are relative to.
    """
    return np.concatenate(
        [
            _padded(sizes.depths, plan.depths, STAGES),
            _padded(sizes.features, plan.features, STAGES),
            _padded(sizes.decoder_depths[::-1], plan.decoder_depths[::-1], STAGES - 1),
        ]
    )


def relative_distances(rows: ArrayLike, others: ArrayLike) -> Array:
    """Return the squared distances ``(n, m)`` of topologies ``(n, TOPOLOGY)`` and ``(m, TOPOLOGY)``.

    Only the columns relative to the plan count, so that equal configurations of one space have distance 0 exactly.

    Example:
        >>> rows = np.zeros((2, TOPOLOGY))
        >>> rows[1, 0], rows[1, -1] = 0.5, 1.0
        >>> relative_distances(rows, rows).tolist()
        [[0.0, 0.25], [0.25, 0.0]]
    """
    a, b = np.asarray(rows)[:, :RELATIVE], np.asarray(others)[:, :RELATIVE]
    return np.stack([np.square(b - row).sum(axis=1) for row in a])


def _padded(values: Sequence[int], largest: Sequence[int], size: int) -> Array:
    ratios = np.asarray(values, dtype=np.float64) / np.asarray(largest, dtype=np.float64)
    return np.concatenate([ratios, np.zeros(size - len(ratios))])
