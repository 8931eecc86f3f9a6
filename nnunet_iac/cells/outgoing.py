"""The edges that leave one state, computed together: the same mathematics as edge by edge, in fewer, larger calls.

All these edges read the same image, so

* pooling and the non-linearity in front of the first convolutions are computed once;
* depthwise and pointwise convolution have nothing between them, so their product is one ordinary kernel,
  ``W[o, i, k] = P[o, i] D[i, k]``, and the kernels of all edges are one convolution. For few channels this is
  cheaper than depthwise convolutions, which leave a processor's vector units idle, above all dilated ones;
* the search's normalisations have no scale of their own, so the weight of an operation takes its place. The weighted
  image is never an extra copy in memory, and operations of the same edges are added up before they are parted.

What an edge lost to pruning is left out of the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.operations import DepthwiseBlock, Stage, channels_last, instance_norm, make_operation

DENSE_CHANNELS = 16
"""Up to this many channels the product kernel is the faster form on a CPU (``scripts/bench_step.py --levers``)."""

CONVOLVING = tuple(o for o, name in enumerate(OPERATIONS) if "conv" in name)
NOT_CONVOLVING = tuple(o for o, name in enumerate(OPERATIONS) if "conv" not in name and name != "none")


class EdgeOperations(nn.Module):
    """The eight operations of one edge, without scales of their own: a place for their weights.

    Args:
        channels: channels the operations see.
        stage: the host stage of this level.
    """

    def __init__(self, channels: int, stage: Stage) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make_operation(name, channels, stage, affine=False) for name in OPERATIONS)
        # Found once: every step asks for them hundreds of times.
        self._blocks = [[m for m in o.modules() if isinstance(m, DepthwiseBlock)] for o in self.operations]

    def blocks(self, operation: int) -> list[DepthwiseBlock]:
        """Return the one or two blocks of a convolving operation."""
        return self._blocks[operation]


def mix_outgoing(
    x: torch.Tensor, edges: Sequence[EdgeOperations], weights: torch.Tensor, active: Sequence[Sequence[int]]
) -> list[list[torch.Tensor]]:
    """Return for each edge terms whose sum is its mixture ``sum_o weights[e, o] * op_eo(x)``; `none` has no part in it.

    Args:
        x: the image that all edges read, ``(B, C, *spatial)``.
        edges: the ``n`` edges.
        weights: ``(n, O)``.
        active: for each edge the indices of the operations to execute.
    """
    x = channels_last(x)
    terms: list[list[torch.Tensor]] = [[] for _ in edges]
    for users, mixed in (*_weighted_images(x, edges, weights, active), *_convolved(x, edges, weights, active)):
        for e, term in zip(users, mixed, strict=True):
            terms[e].append(term)
    return terms


Users = Sequence[int]
"""Edges that an operation is executed for."""


def _weighted_images(
    x: torch.Tensor, edges: Sequence[EdgeOperations], weights: torch.Tensor, active: Sequence[Sequence[int]]
) -> Iterator[tuple[Users, Sequence[torch.Tensor]]]:
    """Weigh pooled images, and the image itself, for all edges that have such operations."""
    for o in NOT_CONVOLVING:
        users = [e for e in range(len(edges)) if o in active[e]]
        if users:
            first, *others = (edges[e].operations[o] for e in users)
            image = first(x)
            _share_statistics(first, others)
            yield users, [weights[e, o] * image for e in users]


def _share_statistics(first: nn.Module, others: Sequence[nn.Module]) -> None:
    """Give pooling of the other edges the running statistics of the first, if it keeps any (batch normalisation).

    They have seen the same image. Without this the first edge alone would keep them, and begin anew once it is pruned.
    """
    if isinstance(first, nn.Sequential) and (known := dict(first.named_buffers())):
        for other in others:
            for name, value in other.named_buffers():
                value.copy_(known[name])


def _instance_eps(module: nn.Module) -> float | None:
    """Return the ``eps`` of an instance normalisation, None for another module."""
    return float(module.eps) if isinstance(module, nn.modules.instancenorm._InstanceNorm) else None


def _convolved(
    x: torch.Tensor, edges: Sequence[EdgeOperations], weights: torch.Tensor, active: Sequence[Sequence[int]]
) -> list[tuple[Users, Sequence[torch.Tensor]]]:
    """Mix convolved images; operations of the same edges are one sum, which is then parted into edges."""
    sums: dict[tuple[int, ...], torch.Tensor] = {}
    activated = None
    for o in CONVOLVING:
        users = tuple(e for e in range(len(edges)) if o in active[e])
        if users:
            blocks = [edges[e].blocks(o) for e in users]
            activated = blocks[0][0].nonlinearity(x) if activated is None else activated
            mixed = _convolve_all(activated, blocks, weights[list(users), o])
            sums[users] = sums[users] + mixed if users in sums else mixed
    return [(users, mixed.split(x.shape[1], dim=1)) for users, mixed in sums.items()]


def _convolve_all(x: torch.Tensor, edges: Sequence[Sequence[DepthwiseBlock]], weights: torch.Tensor) -> torch.Tensor:
    """Apply one operation of several edges behind the first non-linearity of ``(B, C, *spatial)``.

    Returns:
        ``(B, n * C, *spatial)``, each edge weighted.
    """
    channels = x.shape[1]
    last = len(edges[0]) - 1
    for position, blocks in enumerate(zip(*edges, strict=True)):
        if position > 0:
            x = _activated_in_place(channels_last(x), blocks[0].nonlinearity)
        x = _convolve(x, blocks, shared_input=position == 0)
        x = _normalise(x, blocks, weights.repeat_interleave(channels) if position == last else None)
    return x


def _activated_in_place(x: torch.Tensor, nonlinearity: nn.Module) -> torch.Tensor:
    """Apply a non-linearity to an image that nobody else reads: what is kept for the gradient is one image, not two.

    On a CPU alone: elsewhere instance normalisation returns a view, whose gradient would be copied.
    """
    if x.device.type != "cpu" or not isinstance(nonlinearity, nn.LeakyReLU):
        return nonlinearity(x)
    return F.leaky_relu(x, nonlinearity.negative_slope, inplace=True)


def _convolve(x: torch.Tensor, blocks: Sequence[DepthwiseBlock], *, shared_input: bool) -> torch.Tensor:
    """Apply depthwise and pointwise convolution of ``n`` blocks, to one image or to ``n`` images side by side."""
    first = blocks[0].depthwise
    geometry: dict[str, Any] = {"padding": first.padding, "dilation": first.dilation}
    convolution: Any = F.conv2d if x.ndim == 4 else F.conv3d
    count, channels = len(blocks), first.in_channels
    if channels <= DENSE_CHANNELS:
        pointwise = torch.cat([b.pointwise.weight for b in blocks]).unflatten(0, (count, channels))
        depthwise = torch.cat([b.depthwise.weight for b in blocks]).unflatten(0, (count, channels)).transpose(1, 2)
        kernels = (pointwise * depthwise).flatten(0, 1)
        return convolution(x, kernels, groups=1 if shared_input else count, **geometry)
    apart = [b.depthwise.weight for b in blocks]
    if shared_input:
        # Channel i of the image gives channels i * n ... i * n + n - 1.
        x = convolution(x, torch.stack(apart, dim=1).flatten(0, 1), groups=channels, **geometry)
        x = x.unflatten(1, (channels, count)).transpose(1, 2).flatten(1, 2)
    else:
        x = convolution(x, torch.cat(apart), groups=count * channels, **geometry)
    together = [b.pointwise.weight for b in blocks]
    return convolution(x, torch.cat(together), groups=count)


def _normalise(x: torch.Tensor, blocks: Sequence[DepthwiseBlock], scale: torch.Tensor | None) -> torch.Tensor:
    """Normalise each block's channels of ``(B, n * C, *spatial)`` and multiply every channel by its scale."""
    if (eps := _instance_eps(blocks[0].normalisation)) is not None:
        return instance_norm(x, scale, eps=eps)
    x = torch.cat([b.normalisation(part) for b, part in zip(blocks, x.chunk(len(blocks), dim=1), strict=True)], dim=1)
    return x if scale is None else x * scale.view(-1, *(1 for _ in range(x.ndim - 2)))
