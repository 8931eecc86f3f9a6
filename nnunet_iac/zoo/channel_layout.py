"""Which channels each tensor of a stock network produces and reads, and which layer it belongs to.

One table serves the extraction of a sub-network, the count of its parameters and the sorting of channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.zoo.configuration import SubnetConfiguration


class Channels(NamedTuple):
    """A set of channels that have one order and one width.

    Attributes:
        role: ``image`` and ``classes`` (fixed); ``stage`` (what an encoder stage gives, whatever its depth), ``hidden``
            (between the two convolutions of a residual block), ``raised`` (what a transposed convolution gives) and
            ``decoded`` (what a decoder stage gives, whatever its depth).
        stage: encoder stage of the same resolution, whose width it has; of stages tied by shortcuts the first.
        block: number of the residual block for ``hidden``.
    """

    role: Literal["image", "classes", "stage", "hidden", "raised", "decoded"]
    stage: int = 0
    block: int = 0

    @property
    def fixed(self) -> bool:
        """Whether neither width nor order may change."""
        return self.role in ("image", "classes")


class Place(NamedTuple):
    """Layer ``number`` of a stage; a sub-network has it if the stage is deep enough."""

    part: Literal["encoder", "decoder"]
    stage: int
    number: int

    def exists(self, configuration: SubnetConfiguration) -> bool:
        """Whether the sub-network has this layer."""
        depths = configuration.depths if self.part == "encoder" else configuration.decoder_depths
        return self.number < depths[self.stage]


@dataclass(frozen=True)
class TensorLayout:
    """Layout of one tensor.

    Attributes:
        axes: for each leading axis that has channels, what they are: one set, or two that are concatenated.
        place: the layer, None for one that every sub-network has.
    """

    axes: tuple[tuple[Channels, ...], ...]
    place: Place | None = None


def channel_layout(network: Any, features: Sequence[int]) -> dict[str, TensorLayout]:
    """Return the layout of every parameter and buffer, under the first of its keys in the ``state_dict``.

    Args:
        network: ``PlainConvUNet`` or ``ResidualEncoderUNet``, or anything with its ``encoder`` and ``decoder``.
        features: channels of its encoder stages.
    """
    layers: dict[str, TensorLayout] = {}
    if hasattr(network.encoder, "stem"):
        layers.update(_residual_encoder(network.encoder, _tied(features)))
        last = Channels("stage", _tied(features)[-1])
        skips = [Channels("stage", first) for first in _tied(features)]
    else:
        layers.update(_plain_encoder(network.encoder))
        skips = [Channels("stage", stage) for stage in range(len(features))]
        last = skips[-1]
    layers.update(_decoder(network.decoder, skips, last))
    return {name: _of_tensor(name, tensor, layers) for name, tensor in unique_tensors(network).items()}


def select(tensor: torch.Tensor, layout: TensorLayout, indices: Mapping[Channels, torch.Tensor]) -> torch.Tensor:
    """Return the tensor at the given indices of each set of channels, in their order; other sets stay whole.

    Example:
        >>> layout = TensorLayout(((Channels("decoded"),), (Channels("raised"), Channels("stage"))))
        >>> select(torch.arange(8).view(2, 4), layout, {Channels("raised"): torch.tensor([1])})
        tensor([[1, 2, 3],
                [5, 6, 7]])
    """
    for axis, sets in enumerate(layout.axes):
        if not any(channels in indices for channels in sets):
            continue
        size = tensor.shape[axis] // len(sets)
        chosen = [part * size + indices.get(channels, torch.arange(size)) for part, channels in enumerate(sets)]
        tensor = tensor.index_select(axis, torch.cat(chosen).to(tensor.device))
    return tensor


def _tied(features: Sequence[int]) -> list[int]:
    """Return for each stage the first one whose channels are its own: equal widths are joined by identity."""
    first: list[int] = []
    for stage, channels in enumerate(features):
        first.append(first[-1] if stage and features[stage - 1] == channels else stage)
    return first


Layers = Iterator[tuple[str, TensorLayout]]


def _plain_encoder(encoder: Any) -> Layers:
    incoming = Channels("image")
    for stage, layers in enumerate(encoder.stages):
        own = Channels("stage", stage)
        for number, _ in enumerate(layers[0].convs):
            axes = ((own,), (own if number else incoming,))
            yield f"encoder.stages.{stage}.0.convs.{number}.", TensorLayout(axes, Place("encoder", stage, number))
        incoming = own


def _residual_encoder(encoder: Any, tied: Sequence[int]) -> Layers:
    incoming = Channels("stage", tied[0])
    yield "encoder.stem.convs.0.", TensorLayout(((incoming,), (Channels("image"),)))
    for stage, layers in enumerate(encoder.stages):
        own = Channels("stage", tied[stage])
        for number, _ in enumerate(layers.blocks):
            prefix, place = f"encoder.stages.{stage}.blocks.{number}.", Place("encoder", stage, number)
            hidden = Channels("hidden", stage, number)
            yield prefix + "conv1.", TensorLayout(((hidden,), (incoming,)), place)
            yield prefix + "conv2.", TensorLayout(((own,), (hidden,)), place)
            yield prefix + "skip.", TensorLayout(((own,), (incoming,)), place)
            incoming = own


def _decoder(decoder: Any, skips: Sequence[Channels], below: Channels) -> Layers:
    for number, layers in enumerate(decoder.stages):
        stage = len(skips) - 2 - number
        raised, own = Channels("raised", stage), Channels("decoded", stage)
        # A transposed convolution stores its inputs first; its bias is of its outputs, see _of_tensor.
        yield f"decoder.transpconvs.{number}.", TensorLayout(((below,), (raised,)))
        for depth, _ in enumerate(layers.convs):
            axes = ((own,), (own,) if depth else (raised, skips[stage]))
            yield f"decoder.stages.{number}.convs.{depth}.", TensorLayout(axes, Place("decoder", number, depth))
        yield f"decoder.seg_layers.{number}.", TensorLayout(((Channels("classes"),), (own,)))
        below = own


def _of_tensor(name: str, tensor: torch.Tensor, layers: Mapping[str, TensorLayout]) -> TensorLayout:
    layer = next(layout for prefix, layout in layers.items() if name.startswith(prefix))
    if tensor.dim() > 1:
        return layer
    if tensor.dim() == 0:
        return TensorLayout((), layer.place)
    outputs = layer.axes[1] if ".transpconvs." in name else layer.axes[0]
    return TensorLayout((outputs,), layer.place)
