"""The supernet: one set of weights, the plan's own, that every narrower and shallower stock network is a slice of.

Source: once-for-all, ofa_resnets.py (first channels, first blocks), as MedNNS uses it for classifiers; there is no
published one for a U-Net. A sub-network takes the first ``k`` layers of each stage and the first ``n`` channels of each
layer. Its weights are views of the supernet's, so training one trains all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.zoo import elastic_layers as elastic
from nnunet_iac.zoo.channel_layout import channel_layout
from nnunet_iac.zoo.channel_order import importance_orders, reorder
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import FRACTIONS, MULTIPLE, ElasticSpace
from nnunet_iac.zoo.stock import StockArchitecture


class ElasticUNet(nn.Module):
    """An elastic ``PlainConvUNet`` or ``ResidualEncoderUNet``, 2D or 3D.

    It holds the stock network's encoder and decoder under their stock names: its ``state_dict`` is that of the plan's
    stock network and loads its checkpoints. Weights are initialised as nnU-Net does.

    Args:
        architecture: the section ``architecture`` of the plan's configuration.
        input_channels: image channels, the same for all sub-networks.
        num_classes: outputs (classes, or regions), the same for all sub-networks.
        fractions: see :class:`~nnunet_iac.zoo.elastic_space.ElasticSpace`.
        multiple: likewise.
        deep_supervision: return one output for each decoder stage, highest resolution first. It stands in
            ``decoder.deep_supervision``, where nnU-Net switches it.

    Attributes:
        space: the configurations that exist.
        layout: which channels each tensor has.

    Raises:
        ValueError: if the plan's network is not a stock host, or the widths do not suit it.

    Example:
        >>> supernet = ElasticUNet({
        ...     "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        ...     "arch_kwargs": {"n_stages": 2, "features_per_stage": [8, 16], "conv_op": "torch.nn.modules.conv.Conv2d",
        ...         "kernel_sizes": [[3, 3], [3, 3]], "strides": [[1, 1], [2, 2]], "n_conv_per_stage": [2, 2],
        ...         "n_conv_per_stage_decoder": [2], "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d"},
        ...     "_kw_requires_import": ["conv_op", "norm_op"]}, input_channels=1, num_classes=3, multiple=2)
        >>> supernet.parameter_count(supernet.space.largest), supernet.parameter_count(supernet.space.smallest)
        (6371, 203)
        >>> supernet(torch.zeros(1, 1, 8, 8), supernet.space.smallest)[0].shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        architecture: StockArchitecture | Mapping[str, Any],
        input_channels: int,
        num_classes: int,
        *,
        fractions: Sequence[float] = FRACTIONS,
        multiple: int = MULTIPLE,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(architecture, StockArchitecture):
            architecture = StockArchitecture(architecture)
        if input_channels < 1 or num_classes < 1:
            raise ValueError(
                f"input_channels, num_classes: expected at least 1, got {input_channels}, {num_classes}; "
                "take them from the data set"
            )
        self.architecture = architecture
        self.input_channels, self.num_classes = input_channels, num_classes
        self.space = ElasticSpace(
            features=architecture.features,
            depths=architecture.depths,
            decoder_depths=architecture.decoder_depths,
            residual=architecture.residual,
            fractions=tuple(fractions),
            multiple=multiple,
        )
        host: Any = architecture.build(input_channels, num_classes, deep_supervision=deep_supervision)
        host.apply(host.initialize)
        self.encoder: Any = host.encoder
        self.decoder: Any = host.decoder
        self.layout = channel_layout(self, architecture.features)

    def forward(
        self, x: torch.Tensor, configuration: SubnetConfiguration | None = None
    ) -> torch.Tensor | list[torch.Tensor]:
        """Map ``(B, C, *spatial)`` to logits ``(B, classes, *spatial)``, or a list of them under deep supervision.

        Args:
            x: images; each axis a multiple of the plan's total stride.
            configuration: the sub-network, None for the largest, which runs the stock code itself.

        Raises:
            ValueError: if the configuration does not exist or ``x`` does not fit the plan.
        """
        _check_images(x, self.input_channels, self.encoder.strides)
        if configuration is None or configuration == self.space.largest:
            result: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(x))
            return result
        return self.sliced_forward(x, configuration)

    def sliced_forward(self, x: torch.Tensor, configuration: SubnetConfiguration) -> torch.Tensor | list[torch.Tensor]:
        """Compute :meth:`forward` from slices whatever the configuration (the largest too, for tests and timings)."""
        channels = self.space.channels(configuration)
        skips = self._encode(x, channels, configuration.depths)
        return self._decode(skips, channels, configuration.decoder_depths)

    def parameter_count(self, configuration: SubnetConfiguration) -> int:
        """Return the number of parameters of a sub-network, without building it."""
        channels, full = self.space.channels(configuration), self.space.features
        total = 0
        for name, parameter in self.named_parameters():
            layout = self.layout[name]
            if layout.place is not None and not layout.place.exists(configuration):
                continue
            count = parameter.numel()
            for first, *_ in layout.axes:
                count = count if first.fixed else count // full[first.stage] * channels[first.stage]
            total += count
        return total

    def sort_channels(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Reorder all channels by importance, the most important first, so that a slice keeps those; in place.

        The importance of a channel is the L1 norm of the convolution weights that produce or read it. A set of channels
        with one order is permuted in all its tensors at once, and all layers of a stage share one order: the logits of
        every sub-network at full width, of any depth, stay as they are. Source of the idea: once-for-all
        (``re_organize_middle_weights``), there by the readers' weights only.

        Args:
            optimizer: of these weights; its momenta are permuted alike.
        """
        tensors = unique_tensors(self)
        orders = importance_orders(self.layout, tensors)
        reorder(self.layout, tensors, orders, optimizer)

    def _encode(self, x: torch.Tensor, channels: Sequence[int], depths: Sequence[int]) -> list[torch.Tensor]:
        residual = self.architecture.residual
        if residual:
            x = elastic.block(self.encoder.stem.convs[0], x, channels[0])
        skips = []
        for stage, width, depth in zip(self.encoder.stages, channels, depths, strict=True):
            for layers in (stage.blocks if residual else stage[0].convs)[:depth]:
                x = elastic.residual_block(layers, x, width) if residual else elastic.block(layers, x, width)
            skips.append(x)
        return skips

    def _decode(
        self, skips: Sequence[torch.Tensor], channels: Sequence[int], depths: Sequence[int]
    ) -> torch.Tensor | list[torch.Tensor]:
        decoder = self.decoder
        x, last = skips[-1], len(decoder.stages) - 1
        outputs = []
        for number, (raise_, stage, depth) in enumerate(zip(decoder.transpconvs, decoder.stages, depths, strict=True)):
            skip, width = skips[last - number], channels[last - number]
            x = torch.cat((elastic.transposed_convolution(raise_, x, width), skip), 1)
            for layer, layers in enumerate(stage.convs[:depth]):
                x = elastic.block(layers, x, width, merges=layer == 0)
            if decoder.deep_supervision or number == last:
                outputs.append(elastic.convolution(decoder.seg_layers[number], x, self.num_classes))
        return outputs[::-1] if decoder.deep_supervision else outputs[0]


def _check_images(x: torch.Tensor, channels: int, strides: Sequence[Sequence[int]]) -> None:
    steps = [1] * len(strides[0])
    for stride in strides:
        steps = [a * b for a, b in zip(steps, stride, strict=True)]
    if x.dim() != 2 + len(steps) or x.shape[1] != channels:
        raise ValueError(
            f"x: expected (B, {channels}, {', '.join('size' for _ in steps)}), got {tuple(x.shape)}; "
            "give images of the plan's dimension and channels"
        )
    if any(size % step for size, step in zip(x.shape[2:], steps, strict=True)):
        raise ValueError(
            f"x: expected sizes that are multiples of the plan's total stride {steps}, got {tuple(x.shape[2:])}; "
            "use the plan's patch size"
        )
