"""The baselines on tiny hosts, built as nnU-Net builds them."""

from __future__ import annotations

from typing import Any

import torch
from tiny_hosts import BACKBONES, host_arguments
from torch import nn

from nnunet_iac.baselines.attention import AttentionUNet
from nnunet_iac.baselines.dense import DenseSkipUNet
from nnunet_iac.cells.network import CellUNet

FEATURES = (6, 10, 12, 12)
HOSTS = [("plain", 2), ("plain", 3), ("residual", 2), ("residual", 3)]
NETWORKS: dict[str, type[Any]] = {"attention": AttentionUNet, "dense": DenseSkipUNet}


def build(name: str, kind: str = "plain", dimension: int = 2, *, stock: nn.Module | None = None, **more: Any) -> Any:
    """A baseline, with the stock host's weights if one is given."""
    network: CellUNet = NETWORKS[name](BACKBONES[kind], **host_arguments(kind, dimension, FEATURES), **more)
    network.apply(network.initialize)
    if stock is not None:
        fit = network.load_state_dict(stock.state_dict(), strict=False)
        assert not fit.unexpected_keys and all(key.startswith("cells.") for key in fit.missing_keys)
    return network


def listed(outputs: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs as a list, with deep supervision or without."""
    return outputs if isinstance(outputs, list) else [outputs]


def same(a: torch.Tensor | list[torch.Tensor], b: torch.Tensor | list[torch.Tensor]) -> bool:
    """Whether two outputs are equal bit for bit."""
    pairs = zip(listed(a), listed(b), strict=True)
    return type(a) is type(b) and all(torch.equal(x, y) for x, y in pairs)
