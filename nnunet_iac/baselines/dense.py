"""``DenseSkipUNet``: a stock nnU-Net host with the nested dense skips of UNet++, named by the plans file.

Source: Zhou et al. 2018, UNet++, arXiv 1807.10165; convolutions and transposed convolutions are MONAI's
``Convolution``. MONAI's own UNet++ doubles every axis and has five levels of kernel 3, so it cannot follow a plan with
anisotropic kernels and strides; here both, the number of convolutions, normalisation and non-linearity are the host's.
What differs from the paper:

* host, training and deep supervision (one output for each decoder stage, not for each node of full resolution) are
  nnU-Net's;
* the paper's up-sampling layer is a transposed convolution, as in the host's decoder and in MONAI;
* the nested nodes have no dropout, whatever the host has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.operations import Stage

Rows = list[list[torch.Tensor]]


class DenseSkipUNet(CellUNet):
    """The host's encoder and decoder under their stock names, with :class:`DenseSkips` as ``cells``.

    The host's decoder stages are the last nodes of UNet++'s rows. Such a node convolves its up-sampled signal together
    with its whole row; the part of that convolution that reads signal and encoder skip is the host's own, the part
    that reads nested nodes is in ``cells`` (:meth:`DenseSkips.read`), and their sum is the convolution of the whole.

    Args:
        backbone: dotted name of the host class, see :func:`nnunet_iac.cells.network.host_class`.
        deep_supervision: return one output for each decoder stage, highest resolution first, as the host does.
        **host_arguments: the host's own arguments.

    Raises:
        ValueError: for an unknown host.

    Example:
        >>> network = DenseSkipUNet("PlainConvUNet", input_channels=1, num_classes=2, n_stages=3,
        ...     features_per_stage=[8, 16, 32], conv_op=nn.Conv2d, kernel_sizes=3, strides=[1, 2, 2],
        ...     n_conv_per_stage=1, n_conv_per_stage_decoder=1, norm_op=nn.InstanceNorm2d, nonlin=nn.LeakyReLU)
        >>> network(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, backbone: str, deep_supervision: bool = False, **host_arguments: Any) -> None:
        super().__init__(backbone, Genotype.identity(), deep_supervision, **host_arguments)
        # Forked: with one seed the host draws the weights that it draws without nested nodes.
        with torch.random.fork_rng(devices=[]):
            self.implant(
                DenseSkips(
                    self.stages,
                    strides=[tuple(stride) for stride in self.encoder.strides[1:-1]],
                    convolutions=[len(stage.convs) for stage in reversed(self.decoder.stages)],
                    bias=self.encoder.conv_bias,
                )
            )

    def _decode(self, skips: Sequence[torch.Tensor], cells: Any) -> torch.Tensor | list[torch.Tensor]:
        # The loop of the stock UNetDecoder.forward; a test keeps the two bit-equal where no nested node is read.
        decoder = self.decoder
        rows = cells(skips)
        x = skips[-1]
        outputs = []
        last = len(decoder.stages) - 1
        for s, (upsample, stage) in enumerate(zip(decoder.transpconvs, decoder.stages, strict=True)):
            skip, *nested = rows[last - s]
            x = torch.cat((upsample(x), skip), 1)
            x = _merge(stage, x, cells.read(last - s, nested)) if nested else stage(x)
            if decoder.deep_supervision or s == last:
                outputs.append(decoder.seg_layers[s](x))
        return outputs[::-1] if decoder.deep_supervision else outputs[0]


class DenseSkips(nn.Module):
    """The nested nodes of UNet++ between an encoder and a decoder, and what the decoder reads of them.

    With ``L`` skips, level 0 at full resolution, ``X(i, 0)`` the encoder's skip and ``U`` up-sampling:
    ``X(i, j) = H(U(X(i+1, j-1)), X(i, 0), ..., X(i, j-1))`` for ``1 <= j < L - i``.

    Args:
        stages: the host's stages with a skip connection, full resolution first.
        strides: step from each of them to the next, one fewer than stages.
        convolutions: convolutions of a node of each level.
        bias: whether the nodes' convolutions have a bias.
    """

    def __init__(
        self, stages: Sequence[Stage], *, strides: Sequence[tuple[int, ...]], convolutions: Sequence[int], bias: bool
    ) -> None:
        super().__init__()
        rows = range(len(stages) - 1)
        self.nodes: Any = nn.ModuleList(
            nn.ModuleList(
                NestedNode(stages[i], stages[i + 1].channels, strides[i], earlier, convolutions[i], bias=bias)
                for earlier in range(1, len(stages) - i)
            )
            for i in rows
        )
        self.readers = nn.ModuleList(
            _convolution(stages[i], (len(stages) - 1 - i) * stages[i].channels, bias=False) for i in rows
        )

    def forward(self, skips: Sequence[torch.Tensor]) -> Rows:
        """Return for each level ``i`` its row ``X(i, 0), X(i, 1), ...``, each ``(B, C_i, *spatial_i)``.

        Args:
            skips: the encoder's features of all stages, full resolution first; the last one (the bottleneck) is the
                decoder's alone.
        """
        rows = [[skip] for skip in skips[:-1]]
        for column in range(len(self.nodes)):
            for level in range(len(self.nodes) - column):
                rows[level].append(self.nodes[level][column](rows[level + 1][column], rows[level]))
        return rows

    def read(self, level: int, nested: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the part of the decoder's first convolution of a level that reads its nested nodes."""
        read: torch.Tensor = self.readers[level](torch.cat(tuple(nested), 1))
        return read


class NestedNode(nn.Module):
    """A node ``X(i, j)``: a decoder stage of the host that reads ``j`` earlier nodes of its row.

    Args:
        stage: the host stage of this level.
        below: channels of the level below.
        stride: step to the level below, also the kernel of the transposed convolution, as in the host's decoder.
        earlier: number ``j`` of earlier nodes in the row, the encoder's skip among them.
        convolutions: number of blocks [convolution, normalisation, non-linearity].
        bias: whether the convolutions have a bias.

    Example:
        >>> node = NestedNode(Stage(8, (1, 3, 3)), 16, (1, 2, 2), 1, 2, bias=True)
        >>> node(torch.zeros(1, 16, 4, 5, 5), [torch.zeros(1, 8, 4, 10, 10)]).shape
        torch.Size([1, 8, 4, 10, 10])
    """

    def __init__(
        self, stage: Stage, below: int, stride: tuple[int, ...], earlier: int, convolutions: int, *, bias: bool
    ) -> None:
        super().__init__()
        channels = stage.channels
        self.upsample = Convolution(
            stage.dimension,
            below,
            channels,
            strides=stride,
            kernel_size=stride,
            padding=0,
            output_padding=0,
            bias=bias,
            is_transposed=True,
            conv_only=True,
        )
        inputs = [(1 + earlier) * channels, *[channels] * (convolutions - 1)]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    _convolution(stage, n, bias=bias), stage.normalise(channels, affine=True), stage.activate()
                )
                for n in inputs
            )
        )

    def forward(self, below: torch.Tensor, row: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the node ``(B, C, *spatial)`` from the node below it and the earlier nodes of its row."""
        node: torch.Tensor = self.blocks(torch.cat((self.upsample(below), *row), 1))
        return node


def _convolution(stage: Stage, inputs: int, *, bias: bool) -> nn.Module:
    return Convolution(stage.dimension, inputs, stage.channels, kernel_size=stage.kernel, bias=bias, conv_only=True)


def _merge(stage: Any, x: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """Run a decoder stage of the host, with ``read`` added to its first convolution."""
    first, *others = stage.convs
    convolve, *rest = first.all_modules
    x = convolve(x) + read
    for module in (*rest, *others):
        x = module(x)
    return x
