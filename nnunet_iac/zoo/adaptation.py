"""The depths and widths of one network on the plan of another: what a retrieved network looks like on a new data set.

The target's plan keeps what follows from its images: number of stages, strides, kernels, normalisation. Depths and
widths, which the retrieval chose, come from the source, stage by stage from full resolution down. Our choice: MedNNS
retrieves classifiers, whose architecture does not depend on the size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_iac.zoo.stock import StockArchitecture


def adapted(source: StockArchitecture, target: StockArchitecture) -> StockArchitecture:
    """Return the target's architecture with the source's depths and widths.

    Stages are counted from full resolution. Where the target has more stages than the source, they keep the plan's
    depth, and their width is the plan's times the fraction that the source's last stage has of the plan's width there
    (at least 1 channel). Decoder stages meet where their resolution is the same.

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
    shared = min(len(source.features), len(target.features))
    fraction = source.features[shared - 1] / target.features[shared - 1]
    deeper = [max(1, round(fraction * channels)) for channels in target.features[shared:]]
    return target.resized(
        [*source.features[:shared], *deeper],
        [*source.depths[:shared], *target.depths[shared:]],
        _decoder(source.decoder_depths, target.decoder_depths),
    )


def _decoder(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Return decoder depths, lowest resolution first; both end at full resolution."""
    shared = min(len(source), len(target))
    return [*target[: len(target) - shared], *source[len(source) - shared :]]
