"""Tiny plans as nnU-Net writes them, supernets of them, images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nnunet_iac.zoo.supernet import ElasticUNet

UNET = "dynamic_network_architectures.architectures.unet."
CLASSES = {"plain": "PlainConvUNet", "residual": "ResidualEncoderUNet"}
DEPTHS = {"plain": ("n_conv_per_stage", [2, 2, 2]), "residual": ("n_blocks_per_stage", [1, 3, 2])}


def architecture(
    kind: str = "plain",
    dimension: int = 2,
    norm: str = "InstanceNorm",
    features: Sequence[int] = (8, 16, 16),
    **arguments: Any,
) -> dict[str, Any]:
    """The section of a plan; in 3D the first stage is anisotropic. The last two stages are equally wide."""
    stages = len(features)
    flat = [3] * dimension if dimension == 2 else [1, 3, 3]
    key, depths = DEPTHS[kind]
    return {
        "network_class_name": UNET + CLASSES[kind],
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
            "kernel_sizes": [flat] + [[3] * dimension] * (stages - 1),
            "strides": [[1] * dimension, [1, 2, 2][-dimension:]] + [[2] * dimension] * (stages - 2),
            key: depths[:stages],
            "n_conv_per_stage_decoder": [2, 1][: stages - 1],
            "conv_bias": True,
            "norm_op": f"torch.nn.{norm}{dimension}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            **arguments,
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def supernet(
    kind: str = "plain",
    dimension: int = 2,
    norm: str = "InstanceNorm",
    *,
    seed: int = 0,
    deep_supervision: bool = True,
    **more: Any,
) -> ElasticUNet:
    """A supernet whose weights and statistics are not special, two image channels, three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ElasticUNet(
            architecture(kind, dimension, norm, **more), 2, 3, multiple=2, deep_supervision=deep_supervision
        )
        disturb(network)
    return network.eval()


def disturb(network: nn.Module) -> None:
    """Move all weights and running statistics away from what they are by convention."""
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for name, statistic in network.named_buffers():
        if "running" in name:
            statistic += torch.rand_like(statistic)


def images(dimension: int = 2, *, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """A batch that every tiny plan takes."""
    shape = (16, 16) if dimension == 2 else (4, 16, 16)
    return torch.randn(batch, 2, *shape, generator=torch.Generator().manual_seed(seed))
