"""Importance of channels and their reordering, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nnunet_iac.zoo.channel_layout import Channels, TensorLayout, select

Orders = Mapping[Channels, torch.Tensor]
"""For each set of channels, the indices of the old order in the new one."""


def importance_orders(layouts: Mapping[str, TensorLayout], tensors: Mapping[str, torch.Tensor]) -> Orders:
    """Return the orders in which importance falls.

    ``I_c = sum |w|`` over all convolution weights that produce or read channel ``c``, wherever in the stage they are.
    Channels of equal importance keep their order.

    Args:
        layouts: of the tensors.
        tensors: parameters and buffers by name.

    Example:
        >>> layouts = {"weight": TensorLayout(((Channels("stage"),), (Channels("image"),)))}
        >>> importance_orders(layouts, {"weight": torch.tensor([[1.0], [-3.0], [2.0]])})[Channels("stage")]
        tensor([1, 2, 0])
    """
    importance: dict[Channels, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            continue
        size = tensor.detach().abs().double()
        for axis, sets in enumerate(layouts[name].axes):
            norms = size.sum([a for a in range(size.dim()) if a != axis])
            for channels, part in zip(sets, norms.chunk(len(sets)), strict=True):
                if not channels.fixed:
                    importance[channels] = importance.get(channels, torch.zeros_like(part)) + part
    return {channels: torch.argsort(-value, stable=True).cpu() for channels, value in importance.items()}


@torch.no_grad()
def reorder(
    layouts: Mapping[str, TensorLayout],
    tensors: Mapping[str, torch.Tensor],
    orders: Orders,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Permute all tensors in place, and what an optimiser keeps of the shape of each (momenta)."""
    for name, tensor in tensors.items():
        state = {} if optimizer is None else optimizer.state.get(tensor, {})
        for value in (tensor, *state.values()):
            if isinstance(value, torch.Tensor) and value.shape == tensor.shape:
                value.copy_(select(value, layouts[name], orders))
