"""What a sub-network answers to noise: the functional part of a model's description.

Source: MedNNS (``get_functional_encoding``: 64 Gaussian images, seed 42, features before the classifier) and TANS,
which describe a model by topology and response. For a U-Net, our choice: its bottleneck, by mean and maximum, because
behind instance normalisation the mean alone says little but the layer's own scale and shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

DESCRIPTION = (
    "bottleneck features of standard normal noise images: mean over space, then maximum over space, each a mean over "
    "the images and zero-padded to the width of the largest network"
)
"""What a response is, for whoever reads it."""


@dataclass(frozen=True)
class NoisePlan:
    """Which noise the networks are shown.

    Attributes:
        images: how many.
        seed: of the draw.

    Raises:
        ValueError: if there is no image.
    """

    images: int = 16
    seed: int = 42

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"noise images: expected at least 1, got {self.images}")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "what": DESCRIPTION}

    def draw(self, channels: int, size: Sequence[int]) -> torch.Tensor:
        """Return the images ``(N, channels, *size)`` on the CPU, image after image, the same on every machine.

        Example:
            >>> NoisePlan(2).draw(1, (4, 4)).shape
            torch.Size([2, 1, 4, 4])
        """
        generator = torch.Generator().manual_seed(self.seed)
        return torch.stack([torch.randn(channels, *size, generator=generator) for _ in range(self.images)])


@torch.no_grad()
def functional_response(network: nn.Module, noise: torch.Tensor, width: int) -> torch.Tensor:
    """Return the response ``(2 * width,)`` in single precision, on the CPU.

    ``r_c = mean_n mean_v f_c(n, v)`` and ``r_(width + c) = mean_n max_v f_c(n, v)`` with ``f = (f_1 .. f_k)`` the
    deepest features of the encoder; the places ``k .. width`` of both halves are 0. Images go through one by one.

    Args:
        network: a stock U-Net; it is put into evaluation mode for this and put back.
        noise: ``(N, C, *spatial)``.
        width: bottleneck channels of the largest network.

    Raises:
        ValueError: if the network has more channels than that.
    """
    encoder: Any = network.encoder
    device, was_training = next(encoder.parameters()).device, network.training
    network.eval()
    deepest = [encoder(image[None].to(device))[-1].flatten(2) for image in noise]
    network.train(was_training)
    parts = [torch.cat([part(f) for f in deepest]).mean(0) for part in (_mean, _maximum)]
    missing = width - len(parts[0])
    if missing < 0:
        raise ValueError(f"width: expected at least the {len(parts[0])} channels of the bottleneck, got {width}")
    return torch.cat([nn.functional.pad(part, (0, missing)) for part in parts]).float().cpu()


def _mean(features: torch.Tensor) -> torch.Tensor:
    return features.mean(-1)


def _maximum(features: torch.Tensor) -> torch.Tensor:
    return features.amax(-1)
