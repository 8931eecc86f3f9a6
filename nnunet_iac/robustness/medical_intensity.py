"""Perturbations of CT and MR images, of MONAI's transforms: what a scanner may change, and anatomy does not.

Sizes are our choice: mild, of the order of the paper's colour jitter (5 to 10 %) and well inside nnU-Net's own
augmentation. Lengths of intensity are in units of the normalised image: for nnU-Net's z-scored images, of its standard
deviation. All channels of an image share one draw, except for the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandBiasField,
    RandGaussianNoise,
    RandScaleIntensityFixedMean,
    RandShiftIntensity,
)


@dataclass(frozen=True)
class ComputedTomography:
    """Another window level and width, and noise; no gamma: Hounsfield units are a linear scale.

    Attributes:
        shift: the level moves by up to this much either way (calibration, contrast agent).
        width: deviations from the image's mean are multiplied by up to ``1 +- width``.
        noise: standard deviation of Gaussian noise.
    """

    shift: float = 0.1
    width: float = 0.1
    noise: float = 0.05

    def __call__(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        """Return a perturbed version of ``(C, *spatial)``."""
        transforms = [
            RandShiftIntensity(offsets=self.shift, prob=1.0),
            RandScaleIntensityFixedMean(factors=self.width, prob=1.0),
            RandGaussianNoise(std=self.noise, sample_std=False, prob=1.0),
        ]
        return _apply(Compose(transforms), image, seed)


@dataclass(frozen=True)
class MagneticResonance:
    """A coil's smooth bias field, another contrast and gamma, and noise.

    The field is a factor ``exp(polynomial of degree 3)``; factors make sense on a scale that starts at 0, so the
    image's smallest value is taken off before and added again after. Gamma keeps smallest and largest value.

    Attributes:
        bias: each coefficient of the field's polynomial (Legendre) lies between minus and plus this. At 0.05 a corner
            changes by about 9 % (2D, 10 coefficients) or 13 % (3D, 20), one standard deviation.
        gamma: the exponent lies between ``1 - gamma`` and ``1 + gamma``.
        contrast: deviations from the image's mean are multiplied by up to ``1 +- contrast``.
        noise: standard deviation of Gaussian noise.
    """

    bias: float = 0.05
    gamma: float = 0.1
    contrast: float = 0.1
    noise: float = 0.05

    def __call__(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        """Return a perturbed version of ``(C, *spatial)``."""
        transforms = [
            RandBiasField(degree=3, coeff_range=(-self.bias, self.bias), prob=1.0),
            RandScaleIntensityFixedMean(factors=self.contrast, prob=1.0),
            RandAdjustContrast(gamma=(1.0 - self.gamma, 1.0 + self.gamma), prob=1.0),
            RandGaussianNoise(std=self.noise, sample_std=False, prob=1.0),
        ]
        lowest = image.min()
        return _apply(Compose(transforms), image - lowest, seed) + lowest


def _apply(transform: Compose, image: torch.Tensor, seed: int) -> torch.Tensor:
    transform.set_random_state(seed=seed)
    changed = transform(image)
    # MONAI returns its own subclass, which would follow the features through the encoder.
    return changed.as_tensor() if hasattr(changed, "as_tensor") else changed
