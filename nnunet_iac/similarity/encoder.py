"""The embedded default encoder: a small convolutional network with fixed random weights, the same on every machine.

It needs no download and no training, takes any number of channels in 2D and 3D, and always returns features of the
same size, so that data sets of different modalities can be compared. It sees intensity and texture at several scales,
not anatomy: a trained encoder knows more, and this one is the default because everyone has it (our choice; random
filters followed by a modulus, as in scattering transforms).

How the same weights arise everywhere: the raw 64-bit stream of numpy's PCG64, which numpy guarantees, mapped to
uniform numbers by arithmetic that is exact in binary. Features differ between machines by rounding of the
convolutions only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.random import PCG64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (15, 48, 64, 128)
"""Filters of each level; with the intensity itself 256 responses, with mean and deviation 512 features."""

SMALLEST_DEVIATION = 1e-6
"""Channels of an image with a smaller standard deviation are constant: their normalised intensity is 0."""


class RandomEncoder(nn.Module):
    """Fixed random filters at several scales.

    Each channel of each image is normalised to mean 0 and standard deviation 1 over the whole image. The first level
    applies the same filters (mean 0, size 3) to every channel and averages the modulus over the channels, so that
    features do not depend on the number or order of channels. Later levels halve the resolution (mean pooling),
    convolve and take the modulus. There are no trainable parameters; weights are buffers.

    Args:
        dimensions: 2 or 3, the number of spatial axes.
        widths: filters of each level.
        seed: of the weights; features of different seeds, widths or dimensions cannot be compared.

    Raises:
        ValueError: if ``dimensions`` is neither 2 nor 3, or ``widths`` is empty or not positive.

    Example:
        >>> levels = RandomEncoder(2)(torch.zeros(1, 3, 20, 24))
        >>> [tuple(level.shape) for level in levels]
        [(1, 1, 20, 24), (1, 15, 20, 24), (1, 48, 10, 12), (1, 64, 5, 6), (1, 128, 3, 3)]
    """

    def __init__(self, dimensions: Literal[2, 3] = 2, *, widths: Sequence[int] = WIDTHS, seed: int = 0) -> None:
        super().__init__()
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions: expected 2 or 3 spatial axes, got {dimensions}")
        if not widths or min(widths) < 1:
            raise ValueError(f"widths: expected at least one positive number of filters, got {tuple(widths)}")
        self.dimensions, self.widths, self.seed = dimensions, tuple(widths), seed
        stream = PCG64(seed)
        for level, (inputs, outputs) in enumerate(itertools.pairwise((1, *self.widths))):
            weight = _uniform(stream, (outputs, inputs, *[3] * dimensions)) * math.sqrt(3 / (inputs * 3**dimensions))
            if level == 0:
                weight -= weight.mean(axis=tuple(range(2, weight.ndim)), keepdims=True)
            self.register_buffer(f"weight_{level}", torch.from_numpy(weight.astype(np.float32)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the responses of each level: the normalised intensity, then one tensor for each of ``widths``.

        Args:
            images: ``(B, C, *spatial)``, real numbers of any scale; every spatial axis at least 1.

        Returns:
            ``(B, 1, *spatial)``, then ``(B, width, *spatial / 2**level)``, rounded up. An image with NaN has NaN
            responses; a constant channel counts as zeros.

        Raises:
            ValueError: if the number of axes does not fit the encoder.
        """
        if images.ndim != self.dimensions + 2 or images.numel() == 0:
            raise ValueError(
                f"images: expected (batch, channels, *spatial) with {self.dimensions} spatial axes and none of them "
                f"empty, got shape {tuple(images.shape)}; slice volumes for a 2D encoder or use RandomEncoder(3)"
            )
        convolve = functional.conv2d if self.dimensions == 2 else functional.conv3d
        pool = functional.avg_pool2d if self.dimensions == 2 else functional.avg_pool3d
        x = _normalised(images.float())
        batch, channels = x.shape[:2]
        levels = [x.mean(dim=1, keepdim=True)]
        x = convolve(x.flatten(0, 1)[:, None], self.get_buffer("weight_0"), padding=1).abs()
        levels.append(x.unflatten(0, (batch, channels)).mean(dim=1))
        for level in range(1, len(self.widths)):
            window = [min(2, size) for size in levels[-1].shape[2:]]
            x = pool(levels[-1], window, ceil_mode=True, count_include_pad=False)
            levels.append(convolve(x, self.get_buffer(f"weight_{level}"), padding=1).abs())
        return levels


def _normalised(images: Tensor) -> Tensor:
    """Return every channel of every image with mean 0 and standard deviation 1, constant ones as zeros."""
    axes = tuple(range(2, images.ndim))
    centred = images - images.mean(dim=axes, keepdim=True)
    deviation = centred.square().mean(dim=axes, keepdim=True).sqrt()
    return torch.where(deviation < SMALLEST_DEVIATION, torch.zeros_like(centred), centred / deviation)


def _uniform(stream: PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers in [-1, 1) from the raw stream: its upper 53 bits, exactly."""
    raw = np.asarray(stream.random_raw(math.prod(shape)), dtype=np.uint64)
    return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1).reshape(shape)
