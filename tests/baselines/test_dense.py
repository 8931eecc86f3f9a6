"""Dense skips: the nodes of UNet++ and nothing else, by the host's kernels and strides."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tiny_baselines import FEATURES, HOSTS, build, same
from tiny_hosts import image, stock_host
from torch import nn
from torch.nn import functional


def as_plainly_written(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """UNet++ as the paper writes it: X(i, j) = H(U(X(i+1, j-1)), X(i, 0), ..., X(i, j-1)), the decoder included."""
    skips = network.encoder(x)
    depth = len(skips) - 1

    @cache
    def node(i: int, j: int) -> torch.Tensor:
        if j == 0:
            return skips[i]
        row = [node(i, k) for k in range(j)]
        if i + j < depth:
            nested = network.cells.nodes[i][j - 1]
            return nested.blocks(torch.cat([nested.upsample(node(i + 1, j - 1)), *row], 1))
        return decoder_node(i, torch.cat([network.decoder.transpconvs[depth - 1 - i](node(i + 1, j - 1)), *row], 1))

    def decoder_node(i: int, everything: torch.Tensor) -> torch.Tensor:
        blocks = network.decoder.stages[depth - 1 - i].convs
        weights = [blocks[0].conv.weight] + ([network.cells.readers[i].conv.weight] if i + 1 < depth else [])
        convolve = functional.conv2d if everything.ndim == 4 else functional.conv3d
        y = convolve(everything, torch.cat(weights, 1), blocks[0].conv.bias, padding=blocks[0].conv.padding)
        return blocks[1:](blocks[0].nonlin(blocks[0].norm(y)))

    return network.decoder.seg_layers[-1](node(0, depth))


@pytest.mark.parametrize(("kind", "dimension"), HOSTS)
def test_it_is_unet_plus_plus(kind, dimension):
    network = build("dense", kind, dimension, stock=stock_host(kind, dimension, features=FEATURES)).double()
    x = image(dimension).double()
    assert torch.allclose(network(x), as_plainly_written(network, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize(("kind", "dimension"), HOSTS)
def test_where_no_nested_node_is_read_it_is_the_stock_network(kind, dimension, deep_supervision):
    stock = stock_host(kind, dimension, features=FEATURES, deep_supervision=deep_supervision)
    network = build("dense", kind, dimension, stock=stock, deep_supervision=deep_supervision)
    x = image(dimension)
    assert not same(network(x), stock(x)), "the nested nodes are not in the path at all"
    for reader in network.cells.readers:
        nn.init.zeros_(reader.conv.weight)
    assert same(network(x), stock(x))


def test_rows_get_shorter_towards_the_bottleneck_and_keep_the_shape_of_their_level():
    network = build("dense", dimension=3)
    skips = network.encoder(image(3))
    rows = network.cells(skips)
    assert [len(row) for row in rows] == [3, 2, 1]
    assert all(node.shape == skip.shape for row, skip in zip(rows, skips[:-1], strict=True) for node in row)
    assert all(torch.equal(row[0], skip) for row, skip in zip(rows, skips[:-1], strict=True))


def test_kernels_and_strides_are_those_of_the_plan():
    first, second = build("dense", dimension=3).cells.nodes
    assert [block[0].conv.kernel_size for block in first[0].blocks] == [(1, 3, 3)]
    assert [block[0].conv.kernel_size for block in second[0].blocks] == [(3, 3, 3)]
    assert (first[0].upsample.conv.kernel_size, first[0].upsample.conv.stride) == ((1, 2, 2), (1, 2, 2))
    assert (second[0].upsample.conv.kernel_size, second[0].upsample.conv.stride) == ((2, 2, 2), (2, 2, 2))


def test_a_node_is_built_of_the_hosts_parts():
    network = build("dense")
    (node, _), _ = network.cells.nodes
    norm, nonlinearity = node.blocks[0][1:]
    assert isinstance(norm, nn.InstanceNorm2d) and isinstance(nonlinearity, nn.LeakyReLU)
    assert node.blocks[0][1].eps == 1e-5 and node.blocks[0][1].affine


def test_the_bottleneck_reaches_no_nested_node():
    network = build("dense")
    skips = [skip.detach().requires_grad_() for skip in network.encoder(image())]
    sum(node.sum() for row in network.cells(skips) for node in row).backward()
    assert skips[-1].grad is None and all(skip.grad is not None for skip in skips[:-1])
