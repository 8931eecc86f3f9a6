"""Tiny hosts for the tests: arguments as a plans file gives them, stock networks with weights that are not special."""

from __future__ import annotations

from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

BACKBONES = {
    "plain": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "residual": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
}
CLASSES = {"plain": PlainConvUNet, "residual": ResidualEncoderUNet}


def host_arguments(kind: str = "plain", dimension: int = 2, features: tuple[int, ...] = (8, 16, 16)) -> dict[str, Any]:
    """Arguments of a host; in 3D the first stage is anisotropic, as nnU-Net plans it for thick slices."""
    stages = len(features)
    flat, cube = [1, 3, 3], [3, 3, 3]
    kernels = [[3, 3]] * stages if dimension == 2 else [flat] + [cube] * (stages - 1)
    strides = (
        [[1, 1]] + [[2, 2]] * (stages - 1) if dimension == 2 else [[1, 1, 1], [1, 2, 2]] + [[2, 2, 2]] * (stages - 2)
    )
    return {
        "input_channels": 1,
        "num_classes": 3,
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": {2: nn.Conv2d, 3: nn.Conv3d}[dimension],
        "kernel_sizes": kernels,
        "strides": strides,
        {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}[kind]: [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimension],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def stock_host(kind: str = "plain", dimension: int = 2, *, seed: int = 0, **arguments: Any) -> nn.Module:
    """A stock host, initialised as nnU-Net does and then moved, so that no weight is zero or one by convention."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = arguments.pop("features", (8, 16, 16))
        host = CLASSES[kind](**host_arguments(kind, dimension, features), **arguments)
        host.apply(host.initialize)
        for parameter in host.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return host


def image(dimension: int = 2, *, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """A batch that every tiny host takes."""
    shape = (16, 16) if dimension == 2 else (4, 16, 16)
    return torch.randn(batch, 1, *shape, generator=torch.Generator().manual_seed(seed))
