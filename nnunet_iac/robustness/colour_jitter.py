"""The paper's perturbation: torchvision's colour jitter, for normalised images, with one draw for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torchvision.transforms import functional

CHANNELS = (1, 3)
"""What torchvision's colour functions take; saturation and hue leave images of one channel as they are."""


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue in random order, as ``torchvision.transforms.ColorJitter`` does it.

    torchvision wants intensities in [0, 1]. An image is mapped there by its smallest and largest value over all
    channels (so that colours keep their relations) and mapped back after; what leaves [0, 1] is clipped, as
    torchvision does it. On z-scored channels hue and saturation are those of the normalised image.

    Attributes:
        brightness: factor within ``1 +- brightness``.
        contrast: factor within ``1 +- contrast``.
        saturation: factor within ``1 +- saturation``.
        hue: shift within ``+- hue`` of the colour circle, at most 0.5.
    """

    brightness: float = 0.1
    contrast: float = 0.05
    saturation: float = 0.1
    hue: float = 0.05

    def __call__(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        """Return a jittered version of ``(C, *spatial)``, with two or three spatial axes.

        Raises:
            ValueError: if there are neither 1 nor 3 channels.
        """
        if image.shape[0] not in CHANNELS:
            raise ValueError(
                f"image: expected 1 or 3 channels for a colour jitter, got {image.shape[0]}; "
                "use the perturbation for ct or mr"
            )
        lowest, highest = image.min(), image.max()
        width = highest - lowest if highest > lowest else torch.ones_like(highest)
        # Every step is pointwise or uses the mean of the whole image, so a volume may pass as one large slice.
        unit = ((image - lowest) / width).flatten(1, -2) if image.ndim > 3 else (image - lowest) / width
        for adjust, factor in self._draw(torch.Generator().manual_seed(seed)):
            unit = adjust(unit, factor)
        return unit.reshape(image.shape) * width + lowest

    def _draw(self, generator: torch.Generator) -> list[tuple[Callable[..., torch.Tensor], float]]:
        """Return what is done, in random order."""
        order = torch.randperm(4, generator=generator).tolist()
        either_way = (2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1).tolist()
        steps = [
            (functional.adjust_brightness, 1 + self.brightness * either_way[0]),
            (functional.adjust_contrast, 1 + self.contrast * either_way[1]),
            (functional.adjust_saturation, 1 + self.saturation * either_way[2]),
            (functional.adjust_hue, self.hue * either_way[3]),
        ]
        return [steps[number] for number in order]
