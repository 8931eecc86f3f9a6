"""Encoders that look at images: any checkpoint of nnU-Net, a model of timm, or the embedded random one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from nnunet_iac.nnunet.files.weight_source import empty_host, read_weight_source
from nnunet_iac.similarity.encoder import RandomEncoder

RANDOM = "random"
TIMM = "timm:"


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """A frozen encoder that takes images of any channel count.

    Attributes:
        name: what was asked for.
        module: maps ``(B, C, *spatial)`` to feature maps, the deepest last; in evaluation mode.
        dimensions: spatial axes of its images.
        channels: that its images must have, None for any.
        device: where it computes.
    """

    name: str
    module: nn.Module
    dimensions: int
    channels: int | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __call__(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the feature maps ``(B, C_l, *spatial_l)`` of images, on :attr:`device`; see :func:`fit_channels`.

        Raises:
            ValueError: if the images have another number of spatial axes.
        """
        self.check_dimensions(images.ndim - 2)
        with torch.no_grad():
            images = images.to(self.device)
            levels = self.module(images if self.channels is None else fit_channels(images, self.channels))
        return list(levels)

    def check_dimensions(self, dimensions: int) -> None:
        """Refuse images of another number of spatial axes.

        Raises:
            ValueError: naming the encoder. A 3D convolution would take 2D images for one image without a batch.
        """
        if dimensions != self.dimensions:
            raise ValueError(
                f"images: expected {self.dimensions} spatial axes, as the encoder {self.name} takes, got {dimensions}; "
                "choose another encoder, or another configuration with -c"
            )


def load_encoder(
    name: str, dimensions: int, device: torch.device | str = "cpu", *, trust: bool = False
) -> ImageEncoder:
    """Return an encoder in evaluation mode.

    Args:
        name: ``random`` for the embedded one, ``timm:NAME`` for a pretrained model of timm (downloaded by timm if it
            is not in its cache), else the path of a checkpoint of nnU-Net, stock or with cells.
        dimensions: spatial axes of the images, 2 or 3.
        device: where it will compute.
        trust: see :func:`nnunet_iac.nnunet.files.hosts.read_checkpoint`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the checkpoint is not that of a stock host, timm cannot load the model, or the encoder is for
            images of another number of axes.

    Example:
        >>> encoder = load_encoder("random", dimensions=2)
        >>> [tuple(level.shape) for level in encoder(torch.zeros(1, 3, 16, 16))][-1]
        (1, 128, 2, 2)
    """
    place = torch.device(device)
    if name == RANDOM:
        module: nn.Module = RandomEncoder(cast(Literal[2, 3], dimensions))
        return ImageEncoder(name, module.eval().to(place), dimensions, None, place)
    module, axes, channels = _timm(name) if name.startswith(TIMM) else _checkpoint(Path(name), trust)
    encoder = ImageEncoder(name, module.eval().to(place), axes, channels, place)
    encoder.check_dimensions(dimensions)
    return encoder


def fit_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Return images ``(B, channels, *spatial)``.

    As they are where they fit; otherwise the mean over the channels, repeated (our choice: images are z-scored, so
    their mean is a grey image on a comparable scale, and no channel is preferred).

    Example:
        >>> fit_channels(torch.tensor([[[1.0], [3.0]]]), 3).tolist()
        [[[2.0], [2.0], [2.0]]]
    """
    if images.shape[1] == channels:
        return images
    grey = images.mean(dim=1, keepdim=True)
    return grey.expand(-1, channels, *[-1] * (images.ndim - 2))


def _checkpoint(path: Path, trust: bool) -> tuple[nn.Module, int, int]:
    """Return the encoder of a checkpoint, its spatial axes and its channels; cells are left out."""
    source = read_weight_source(path, trust=trust)
    inputs = len(source.interface.channels)
    host: Any = empty_host(source.architecture, inputs, outputs=2)  # the encoder does not depend on the outputs
    encoder: nn.Module = host.encoder.to_empty(device="cpu")
    prefix = "encoder."
    encoder.load_state_dict({k[len(prefix) :]: v for k, v in source.weights.items() if k.startswith(prefix)})
    axes = next(w.ndim for w in encoder.parameters() if w.ndim > 1) - 2
    return encoder, axes, inputs


class _TimmLevels(nn.Module):
    """A feature extractor of timm with its feature maps as ``(B, C, *spatial)``, whatever order it has itself."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name
        self.channels_last = "NHWC" in str(getattr(model, "output_fmt", "NCHW"))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        try:
            levels = self.model(images)
        except AssertionError as error:  # timm's answer to a size that a transformer was not made for
            raise ValueError(
                f"encoder: expected images that {self.name} takes, got {tuple(images.shape)} ({error}); choose a "
                "convolutional model, or another patch size"
            ) from error
        return [level.movedim(-1, 1) if self.channels_last else level for level in levels]


def _timm(name: str) -> tuple[nn.Module, int, int]:
    import timm

    try:
        model: Any = timm.create_model(name.removeprefix(TIMM), pretrained=True, features_only=True)
    except Exception as error:  # whatever timm, its hub or the network raise
        raise ValueError(
            f"encoder: expected a model that timm can load with its weights, got {name!r} ({error}); "
            "check timm.list_models(pretrained=True) and the network, or use the embedded encoder: random"
        ) from error
    return _TimmLevels(model, name), 2, int(model.default_cfg["input_size"][0])
