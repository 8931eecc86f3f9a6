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
    "bottleneck features of standard normal noise images: for each channel its mean and its maximum over space, both a "
    "mean over the images; zero-padded to the width of the largest network"
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

    ``r_(2c) = mean_n mean_v f_c(n, v)`` and ``r_(2c + 1) = mean_n max_v f_c(n, v)`` with ``f_0 .. f_(k-1)`` the deepest
    features of the encoder; the places from ``2k`` on are 0. So responses of networks of other widths agree channel by
    channel once the shorter one is padded. Images go through one by one.

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
    both = torch.stack([torch.cat([part(f) for f in deepest]).mean(0) for part in (_mean, _maximum)], dim=1)
    missing = width - len(both)
    if missing < 0:
        raise ValueError(f"width: expected at least the {len(both)} channels of the bottleneck, got {width}")
    return nn.functional.pad(both.flatten(), (0, 2 * missing)).float().cpu()


def _mean(features: torch.Tensor) -> torch.Tensor:
    return features.mean(-1)


def _maximum(features: torch.Tensor) -> torch.Tensor:
    return features.amax(-1)
