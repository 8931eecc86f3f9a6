"""Layers of a stock network at fewer channels: the first ``n`` of each, as views of the full weights.

Functions of a stock layer, its input and the number of output channels. How many input channels there are says the
input. A layer at its full width computes exactly what the stock layer computes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

CONVOLUTIONS: dict[int, Any] = {4: F.conv2d, 5: F.conv3d}
TRANSPOSED: dict[int, Any] = {4: F.conv_transpose2d, 5: F.conv_transpose3d}
"""By the number of axes of the input ``(B, C, *spatial)``."""


def block(layers: Any, x: torch.Tensor, channels: int, *, merges: bool = False) -> torch.Tensor:
    """Return what a ``ConvDropoutNormReLU`` gives at its first ``channels`` channels; ``(B, channels, *spatial)``.

    Args:
        layers: the stock block.
        x: ``(B, n, *spatial)``, the first ``n`` channels of its input; of both halves if it ``merges``.
        channels: output channels.
        merges: whether the input is a concatenation of two signals of equal width.
    """
    for layer in layers.all_modules:
        if layer is layers.conv:
            x = convolution(layer, x, channels, merges=merges)
        elif isinstance(layer, (_BatchNorm, _InstanceNorm)):
            x = normalisation(layer, x)
        else:
            x = layer(x)
    return x


def residual_block(layers: Any, x: torch.Tensor, channels: int) -> torch.Tensor:
    """Return what a ``BasicBlockD`` gives at its first ``channels`` channels; ``(B, channels, *spatial)``."""
    shortcut = x
    for layer in layers.skip if isinstance(layers.skip, nn.Sequential) else ():
        shortcut = block(layer, shortcut, channels) if hasattr(layer, "all_modules") else layer(shortcut)
    y: torch.Tensor = block(layers.conv2, block(layers.conv1, x, channels), channels)
    y += shortcut
    result: torch.Tensor = layers.nonlin2(y)
    return result


def convolution(layer: Any, x: torch.Tensor, channels: int, *, merges: bool = False) -> torch.Tensor:
    """Return the convolution with the first ``channels`` of its filters, read at the input's channels.

    The first convolution of a decoder stage reads up-sampled signal and skip, ``C`` channels each when full. Their
    first ``n`` are the columns ``[0, n)`` and ``[C, C + n)``.

    Example:
        >>> layer = nn.Conv2d(8, 4, 1, bias=False)
        >>> x = torch.ones(1, 4, 2, 2)
        >>> sliced = convolution(layer, x, 2, merges=True)
        >>> bool(torch.allclose(sliced[0, :, 0, 0], layer.weight[:2, [0, 1, 4, 5], 0, 0].sum(1)))
        True
    """
    weight, inputs = layer.weight[:channels], x.shape[1]
    if merges and inputs < weight.shape[1]:
        weight = weight.unflatten(1, (2, -1))[:, :, : inputs // 2].flatten(1, 2)
    bias = None if layer.bias is None else layer.bias[:channels]
    result: torch.Tensor = CONVOLUTIONS[x.ndim](
        x, weight[:, :inputs], bias, layer.stride, layer.padding, layer.dilation
    )
    return result


def transposed_convolution(layer: Any, x: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the transposed convolution with its first ``channels`` outputs, read at the input's channels."""
    bias = None if layer.bias is None else layer.bias[:channels]
    weight = layer.weight[: x.shape[1], :channels]
    result: torch.Tensor = TRANSPOSED[x.ndim](x, weight, bias, layer.stride)
    return result


def normalisation(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Return instance or batch normalisation of the input's channels, the layer's first.

    Batch normalisation in training uses the batch's statistics and leaves the running ones alone: they are the largest
    network's. In evaluation it uses their first entries, which are right for no sub-network; see
    :func:`nnunet_iac.zoo.subnetwork.recalibrate`.
    """
    n = x.shape[1]
    weight, bias, mean, variance = (
        None if value is None else value[:n]
        for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    )
    if isinstance(layer, _InstanceNorm):
        return F.instance_norm(x, weight=weight, bias=bias, eps=layer.eps)
    if layer.training or mean is None:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=layer.eps)
    return F.batch_norm(x, mean, variance, weight, bias, eps=layer.eps)
