"""The textbook PC-DARTS mixed cell: plain loops, one formula a line, slow and obviously right.

Source: yuhuixu1993/PC-DARTS, model_search.py and operations.py. Uses torch's functional operations and nothing of the
package; tests copy the weights in. Two things are the package's choice, not PC-DARTS': instance normalisation and
leaky rectifiers instead of batch normalisation and rectifiers, and kernels of size 1 along anisotropic axes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

NAMES = [
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
]

Weights = list[torch.Tensor]


def rectify(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def normalise(x: torch.Tensor) -> torch.Tensor:
    axes = tuple(range(2, x.ndim))
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def convolve(x: torch.Tensor, weight: torch.Tensor, dilation: int = 1, groups: int = 1) -> torch.Tensor:
    padding = tuple(dilation * (k // 2) for k in weight.shape[2:])
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    return convolution(x, weight, padding=padding, dilation=dilation, groups=groups)


def neighbours(x: torch.Tensor, looks: tuple[bool, ...], fill: float) -> list[torch.Tensor]:
    """The image shifted by -1, 0, 1 along every axis that is looked along; ``fill`` outside."""
    shifted = [x]
    for axis, look in enumerate(looks, start=2):
        if look:
            edge = torch.full_like(x.narrow(axis, 0, 1), fill)
            length = x.shape[axis]
            shifted = [
                y
                for s in shifted
                for y in (
                    s,
                    torch.cat([edge, s.narrow(axis, 0, length - 1)], axis),
                    torch.cat([s.narrow(axis, 1, length - 1), edge], axis),
                )
            ]
    return shifted


def max_pool(x: torch.Tensor, looks: tuple[bool, ...]) -> torch.Tensor:
    return torch.stack(neighbours(x, looks, -math.inf)).max(0).values


def average_pool(x: torch.Tensor, looks: tuple[bool, ...]) -> torch.Tensor:
    inside = sum(neighbours(torch.ones_like(x), looks, 0.0))
    return sum(neighbours(x, looks, 0.0)) / inside


def separable(x: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor, dilation: int) -> torch.Tensor:
    return normalise(convolve(convolve(rectify(x), depthwise, dilation, groups=x.shape[1]), pointwise))


def operation(name: str, x: torch.Tensor, weights: Weights, looks: tuple[bool, ...]) -> torch.Tensor:
    if name == "none":
        return torch.zeros_like(x)
    if name == "max_pool_3x3":
        return normalise(max_pool(x, looks))
    if name == "avg_pool_3x3":
        return normalise(average_pool(x, looks))
    if name == "skip_connect":
        return x
    if name.startswith("sep_conv"):
        return separable(separable(x, weights[0], weights[1], 1), weights[2], weights[3], 1)
    return separable(x, weights[0], weights[1], 2)


def softmax(logits: list[torch.Tensor]) -> list[torch.Tensor]:
    total = sum(torch.exp(v) for v in logits)
    return [torch.exp(v) / total for v in logits]


def shuffle(x: torch.Tensor, k: int) -> torch.Tensor:
    size = x.shape[1] // k
    return torch.stack([x[:, block * size + i] for i in range(size) for block in range(k)], dim=1)


def mixed_edge(
    x: torch.Tensor,
    alpha: torch.Tensor,
    active: list[bool],
    weights: list[Weights],
    k: int,
    looks: tuple[bool, ...],
) -> torch.Tensor:
    """``shuffle_K(cat[sum_o softmax(alpha)_o op_o(first C/K channels), the other channels])``."""
    part = x.shape[1] // k
    indices = [o for o in range(len(NAMES)) if active[o]]
    probabilities = softmax([alpha[o] for o in indices])
    mixed = torch.zeros_like(x[:, :part])
    for o, p in zip(indices, probabilities, strict=True):
        mixed = mixed + p * operation(NAMES[o], x[:, :part], weights[o], looks)
    return shuffle(torch.cat([mixed, x[:, part:]], dim=1), k)


def mixed_cell(
    second: torch.Tensor,
    skip: torch.Tensor,
    *,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    mask: torch.Tensor,
    inputs: Weights,
    edges: list[list[Weights]],
    projection: torch.Tensor,
    nodes: int,
    k: int,
    looks: tuple[bool, ...],
) -> torch.Tensor:
    """``skip + project(cat[node_1 ... node_n])``, ``node_i = sum_j softmax_node(beta)_j MixedOp_ij(h_j)``."""
    states = [normalise(convolve(rectify(s), w)) for s, w in zip((second, skip), inputs, strict=True)]
    edge = 0
    for node in range(nodes):
        sources = range(node + 2)
        edge_weights = softmax([beta[edge + j] for j in sources])
        total = torch.zeros_like(states[0])
        for j in sources:
            value = mixed_edge(states[j], alpha[edge + j], mask[edge + j].tolist(), edges[edge + j], k, looks)
            total = total + edge_weights[j] * value
        states.append(total)
        edge += len(sources)
    return skip + convolve(torch.cat(states[2:], dim=1), projection)
