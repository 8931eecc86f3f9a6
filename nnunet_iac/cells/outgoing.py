"""The edges that leave one state, computed together: the same mathematics as edge by edge, in fewer, larger calls.

All these edges read the same image, so

* pooling and the non-linearity in front of the first convolutions are computed once;
* depthwise and pointwise convolution have nothing between them, so their product is one ordinary kernel,
  ``W[o, i, k] = P[o, i] D[i, k]``, and the kernels of all edges are one convolution. For few channels this is
  cheaper than depthwise convolutions, which leave a processor's vector units idle, above all dilated ones;
* the search's normalisations have no scale of their own, so the weight of an operation takes its place. The weighted
  image is never an extra copy in memory.

What an edge lost to pruning is left out of the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.operations import DepthwiseBlock, Stage, channels_last, make_operation

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

    def blocks(self, operation: int) -> list[DepthwiseBlock]:
        """Return the one or two blocks of a convolving operation."""
        return [m for m in self.operations[operation].modules() if isinstance(m, DepthwiseBlock)]


def mix_outgoing(
    x: torch.Tensor, edges: Sequence[EdgeOperations], weights: torch.Tensor, active: Sequence[Sequence[int]]
) -> list[list[torch.Tensor]]:
    """Return for each edge the terms ``weights[e, o] * op_eo(x)`` whose sum is its mixture; `none` has no term.

    Args:
        x: the image that all edges read, ``(B, C, *spatial)``.
        edges: the ``n`` edges.
        weights: ``(n, O)``.
        active: for each edge the indices of the operations to execute.
    """
    x = channels_last(x)
    terms: list[list[torch.Tensor]] = [[] for _ in edges]
    for o in NOT_CONVOLVING:
        users = [e for e in range(len(edges)) if o in active[e]]
        if users:
            image = edges[users[0]].operations[o](x)
            for e in users:
                terms[e].append(weights[e, o] * image)
    for o in CONVOLVING:
        users = [e for e in range(len(edges)) if o in active[e]]
        if users:
            mixed = _convolve_all(x, [edges[e].blocks(o) for e in users], weights[users, o])
            for e, term in zip(users, mixed.split(x.shape[1], dim=1), strict=True):
                terms[e].append(term)
    return terms


def _convolve_all(x: torch.Tensor, edges: Sequence[Sequence[DepthwiseBlock]], weights: torch.Tensor) -> torch.Tensor:
    """Apply one operation of several edges to ``(B, C, *spatial)``; ``(B, n * C, *spatial)``, each edge weighted."""
    channels = x.shape[1]
    last = len(edges[0]) - 1
    for position, blocks in enumerate(zip(*edges, strict=True)):
        x = _convolve(blocks[0].nonlinearity(channels_last(x)), blocks, shared_input=position == 0)
        x = _normalise(x, blocks, weights.repeat_interleave(channels) if position == last else None)
    return x


def _convolve(x: torch.Tensor, blocks: Sequence[DepthwiseBlock], *, shared_input: bool) -> torch.Tensor:
    """Apply depthwise and pointwise convolution of ``n`` blocks, to one image or to ``n`` images side by side."""
    first = blocks[0].depthwise
    geometry: dict[str, Any] = {"padding": first.padding, "dilation": first.dilation}
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    count, channels = len(blocks), first.in_channels
    if channels <= DENSE_CHANNELS:
        kernels = torch.cat([b.pointwise.weight * b.depthwise.weight.transpose(0, 1) for b in blocks])
        return convolution(x, kernels, groups=1 if shared_input else count, **geometry)
    depthwise = [b.depthwise.weight for b in blocks]
    if shared_input:
        # Channel i of the image gives channels i * n ... i * n + n - 1.
        x = convolution(x, torch.stack(depthwise, dim=1).flatten(0, 1), groups=channels, **geometry)
        x = x.unflatten(1, (channels, count)).transpose(1, 2).flatten(1, 2)
    else:
        x = convolution(x, torch.cat(depthwise), groups=count * channels, **geometry)
    return convolution(x, torch.cat([b.pointwise.weight for b in blocks]), groups=count)  # type: ignore[misc]


def _normalise(x: torch.Tensor, blocks: Sequence[DepthwiseBlock], scale: torch.Tensor | None) -> torch.Tensor:
    """Normalise each block's channels of ``(B, n * C, *spatial)`` and multiply every channel by its scale."""
    first = blocks[0].normalisation
    if isinstance(first, nn.modules.instancenorm._InstanceNorm):
        return F.instance_norm(x, weight=scale, eps=first.eps)
    x = torch.cat([b.normalisation(part) for b, part in zip(blocks, x.chunk(len(blocks), dim=1), strict=True)], dim=1)
    return x if scale is None else x * scale.view(-1, *(1 for _ in range(x.ndim - 2)))
