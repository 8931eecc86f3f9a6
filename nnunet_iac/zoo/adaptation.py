"""The depths and widths of one network on the plan of another: what a retrieved network looks like on a new data set.

The target's plan keeps what follows from its images: number of stages, strides, kernels, normalisation. Depths and
widths, which the retrieval chose, come from the source, stage by stage from full resolution down. Our choice: MedNNS
retrieves classifiers, whose architecture does not depend on the size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nnunet_iac.zoo.stock import StockArchitecture


class Sized(Protocol):
    """What has widths and depths: an architecture, the space of a plan, :class:`Sizes`."""

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of each encoder stage, full resolution first."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each encoder stage, full resolution first."""

    @property
    def decoder_depths(self) -> tuple[int, ...]:
        """Layers of each decoder stage, lowest resolution first."""


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of a network; see :class:`Sized`."""

    features: tuple[int, ...]
    depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]


def adapted(source: StockArchitecture, target: StockArchitecture) -> StockArchitecture:
    """Return the target's architecture with the source's depths and widths.

    Args:
        source: of the retrieved network.
        target: of the target's plan.

    Raises:
        ValueError: if one has a plain encoder and the other a residual one, whose weights do not fit.

    Example:
        >>> def plan(features: list[int], depths: list[int]) -> StockArchitecture:
        ...     stages = len(features)
        ...     return StockArchitecture({
        ...         "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        ...         "arch_kwargs": {"n_stages": stages, "features_per_stage": features, "conv_op": "torch.nn.Conv2d",
        ...             "kernel_sizes": [[3, 3]] * stages, "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
        ...             "n_conv_per_stage": depths, "n_conv_per_stage_decoder": depths[1:]},
        ...         "_kw_requires_import": ["conv_op"]})
        >>> found = adapted(plan([8, 16], [1, 2]), plan([32, 64, 128], [2, 2, 2]))
        >>> found.features, found.depths, found.decoder_depths
        ((8, 16, 32), (1, 2, 2), (2, 2))
    """
    if source.kind != target.kind:
        raise ValueError(
            f"architecture: expected a {target.kind} as in the target's plan, got a {source.kind}; retrieve for plans "
            "of the same planner"
        )
    sizes = adapted_sizes(source, target)
    return target.resized(list(sizes.features), list(sizes.depths), list(sizes.decoder_depths))


def adapted_sizes(source: Sized, target: Sized) -> Sizes:
    """Return the widths and depths that a network gets on the plan of another.

    Stages are counted from full resolution. Where the target has more stages than the source, they keep the plan's
    depth, and their width is the plan's times the fraction that the source's last stage has of the plan's width there
    (at least 1 channel). Decoder stages meet where their resolution is the same.

    Args:
        source: the network.
        target: of the plan.

    Example:
        >>> adapted_sizes(Sizes((8, 16), (1, 2), (1,)), Sizes((32, 64, 128), (2, 2, 2), (2, 2)))
        Sizes(features=(8, 16, 32), depths=(1, 2, 2), decoder_depths=(2, 1))
    """
    shared = min(len(source.features), len(target.features))
    fraction = source.features[shared - 1] / target.features[shared - 1]
    deeper = [max(1, round(fraction * channels)) for channels in target.features[shared:]]
    return Sizes(
        (*source.features[:shared], *deeper),
        (*source.depths[:shared], *target.depths[shared:]),
        tuple(_decoder(source.decoder_depths, target.decoder_depths)),
    )


def _decoder(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Return decoder depths, lowest resolution first; both end at full resolution."""
    shared = min(len(source), len(target))
    return [*target[: len(target) - shared], *source[len(source) - shared :]]
