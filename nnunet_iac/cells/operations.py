"""The eight candidate operations of PC-DARTS at stride 1, in 2D and 3D, built from a host stage's own parts.

Source: operations.py of yuhuixu1993/PC-DARTS. Differences, all ours: normalisation and non-linearity are the host's
(nnU-Net: instance normalisation, leaky ReLU) because nnU-Net's batches are small, and kernels follow the stage's
anisotropy: an axis on which the plan convolves with size 1 is never looked along, neither by convolutions nor by
pooling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_iac.cells.genotype import OPERATIONS

CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


@dataclass(frozen=True)
class Stage:
    """What a host stage is made of, as far as its cell must know.

    Attributes:
        channels: channels of the skip connection.
        kernel: kernel size of the stage's convolutions for each spatial axis; its length is the dimension (2 or 3).
        norm: normalisation class, or None.
        norm_arguments: its keyword arguments.
        nonlinearity: non-linearity class, or None.
        nonlinearity_arguments: its keyword arguments.

    Raises:
        ValueError: if ``kernel`` has not two or three entries, ``channels`` is not positive, or the non-linearity has
            weights (PReLU).
    """

    channels: int
    kernel: tuple[int, ...]
    norm: type[nn.Module] | None = None
    norm_arguments: Mapping[str, Any] = field(default_factory=dict)
    nonlinearity: type[nn.Module] | None = nn.LeakyReLU
    nonlinearity_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.kernel) not in CONVOLUTIONS:
            raise ValueError(f"kernel: expected two or three sizes (2D or 3D), got {self.kernel}")
        if self.channels < 1:
            raise ValueError(f"channels: expected a positive integer, got {self.channels}")
        if any(True for _ in self.activate().parameters()):
            raise ValueError(
                f"nonlinearity: expected one without weights, got {self.nonlinearity}; the edges of a cell share it"
            )

    @property
    def dimension(self) -> int:
        """Spatial dimension, 2 or 3."""
        return len(self.kernel)

    def extent(self, size: int) -> tuple[int, ...]:
        """Return ``size`` on every axis along which the stage looks and 1 elsewhere.

        Example:
            >>> Stage(8, (1, 3, 3)).extent(5)
            (1, 5, 5)
        """
        return tuple(size if k > 1 else 1 for k in self.kernel)

    def normalise(self, channels: int, *, affine: bool) -> nn.Module:
        """Return the stage's normalisation for this many channels, with or without learned scale and shift."""
        if self.norm is None:
            return nn.Identity()
        arguments = dict(self.norm_arguments)
        if "affine" in arguments or not affine:
            arguments["affine"] = affine and arguments.get("affine", True)
        return FAST_NORMS.get(self.norm, self.norm)(channels, **arguments)

    def activate(self) -> nn.Module:
        """Return the stage's non-linearity, never in place: a state is read by several edges."""
        if self.nonlinearity is None:
            return nn.Identity()
        arguments = {k: v for k, v in self.nonlinearity_arguments.items() if k != "inplace"}
        return self.nonlinearity(**arguments)

    def pointwise(self, inputs: int, outputs: int) -> nn.Module:
        """Return a convolution of size 1 without bias."""
        return CONVOLUTIONS[self.dimension](inputs, outputs, 1, bias=False)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` with the channels of a pixel side by side, where that pays: on a CPU.

    What that brings: ``scripts/bench_step.py --levers``. Where gradients are computed, a batch of one image is left as
    it is: for it, PyTorch's instance normalisation (2.15, CPU), which the host has, returns a wrong gradient where the
    gradient that comes in has the channels last and the image has not (``tests/cells/test_operations.py``).
    """
    if x.device.type != "cpu" or (x.shape[0] == 1 and torch.is_grad_enabled()):
        return x
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim])


def instance_norm(
    x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None, eps: float = 1e-5
) -> torch.Tensor:
    """Return ``torch.nn.functional.instance_norm`` of ``(B, C, *spatial)``, by the faster way on a CPU.

    It is a group norm with one channel in each group. On a CPU, PyTorch (2.15) takes a third to a half of the time for
    that, forwards and backwards together, if the channels are not side by side (``scripts/bench_step.py --levers``).

    Args:
        x: the image.
        weight: scale of each channel, ``(C,)``; None for 1.
        bias: shift of each channel, ``(C,)``; None for 0.
        eps: added to the variance.
    """
    if x.device.type != "cpu":
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return F.group_norm(x.contiguous(), x.shape[1], weight, bias, eps)


class InstanceNorm2d(nn.InstanceNorm2d):
    """PyTorch's, by :func:`instance_norm` where it keeps no running statistics; the same keys in a checkpoint."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        if self.track_running_stats or x.ndim != 4:
            return super().forward(x)
        return instance_norm(x, self.weight, self.bias, self.eps)


class InstanceNorm3d(nn.InstanceNorm3d):
    """PyTorch's, by :func:`instance_norm` where it keeps no running statistics; the same keys in a checkpoint."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, D, H, W)`` to the same shape."""
        if self.track_running_stats or x.ndim != 5:
            return super().forward(x)
        return instance_norm(x, self.weight, self.bias, self.eps)


FAST_NORMS: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.InstanceNorm2d: InstanceNorm2d,
    nn.InstanceNorm3d: InstanceNorm3d,
}
"""What stands for a host's normalisation in a cell."""


class Zero(nn.Module):
    """The operation ``none``: zeros of the input's shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, *spatial)`` to zeros; the gradient with respect to ``x`` is zero too, not missing."""
        return x * 0.0


class DepthwiseBlock(nn.Module):
    """The block of separable and dilated operations: ``normalise(pointwise(depthwise(nonlinearity(x))))``.

    Args:
        channels: channels ``C`` of input and output.
        size: kernel size of the depthwise convolution along the axes that the stage looks along.
        dilation: its dilation.
        stage: the host stage whose parts are used.
        affine: learned scale and shift in the normalisation.
    """

    def __init__(self, channels: int, size: int, dilation: int, stage: Stage, *, affine: bool) -> None:
        super().__init__()
        kernel = stage.extent(size)
        self.nonlinearity = stage.activate()
        self.depthwise: Any = CONVOLUTIONS[stage.dimension](
            channels,
            channels,
            kernel,
            padding=tuple(dilation * h for h in _half(kernel)),
            dilation=dilation,
            groups=channels,
            bias=False,
        )
        self.pointwise: Any = stage.pointwise(channels, channels)
        self.normalisation = stage.normalise(channels, affine=affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, *spatial)`` to the same shape."""
        return self.normalisation(self.pointwise(self.depthwise(channels_last(self.nonlinearity(x)))))


def make_operation(name: str, channels: int, stage: Stage, *, affine: bool) -> nn.Module:
    """Build one candidate operation; it keeps the shape ``(B, C, *spatial)``.

    ==================  =====================================================================
    ``none``            zero
    ``max_pool_3x3``    max pooling of size 3, then normalisation
    ``avg_pool_3x3``    mean of size 3 over the pixels inside the image, then normalisation
    ``skip_connect``    identity
    ``sep_conv_k``      twice [non-linearity, depthwise k, pointwise, normalisation]
    ``dil_conv_k``      [non-linearity, depthwise k with dilation 2, pointwise, normalisation]
    ==================  =====================================================================

    Args:
        name: one of :data:`nnunet_iac.cells.genotype.OPERATIONS`.
        channels: channels ``C`` of input and output.
        stage: the host stage whose parts are used.
        affine: learned scale and shift in the normalisations (False during the search, as in DARTS: a scale
            would compete with the architecture weights).

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> operation = make_operation("dil_conv_5x5", 4, Stage(8, (3, 3)), affine=False)
        >>> operation(torch.zeros(2, 4, 12, 10)).shape
        torch.Size([2, 4, 12, 10])
    """
    if name not in OPERATIONS:
        raise ValueError(f"name: expected one of {OPERATIONS}, got {name!r}")
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name.endswith("pool_3x3"):
        return nn.Sequential(_pool(name, stage), stage.normalise(channels, affine=affine))
    size = int(name[-1])
    if name.startswith("sep"):
        return nn.Sequential(*(DepthwiseBlock(channels, size, 1, stage, affine=affine) for _ in range(2)))
    return DepthwiseBlock(channels, size, 2, stage, affine=affine)


def _pool(name: str, stage: Stage) -> nn.Module:
    kernel = stage.extent(3)
    padding = _half(kernel)
    if name == "max_pool_3x3":
        return MAX_POOLS[stage.dimension](kernel, stride=1, padding=padding)
    return AVERAGE_POOLS[stage.dimension](kernel, stride=1, padding=padding, count_include_pad=False)


def _half(kernel: Sequence[int]) -> tuple[int, ...]:
    return tuple(k // 2 for k in kernel)
