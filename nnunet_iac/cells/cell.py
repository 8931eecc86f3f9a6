"""A cell in a skip connection: two inputs, a directed acyclic graph of nodes, and a projection that adds nothing yet.

The cell of level ``l`` returns ``skip + project(concat(node_1 ... node_n))``. ``project`` is zero at implantation, by
its weights or by a gain, so a freshly implanted cell changes no bit of the host's output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Cell, Genotype
from nnunet_iac.cells.operations import Stage, channels_last, make_operation

CHANNEL_MULTIPLE = 8
"""Node channels are a multiple of this, so that every allowed number of partial channels (1, 2, 4, 8) divides them."""


def node_channels(channels: int, width: float) -> int:
    """Return the channels of a node: ``width * channels``, rounded up to a multiple of 8.

    Our choice: the papers do not give the width. Half of the skip's channels keeps a cell cheaper than the stage
    it sits in.

    Example:
        >>> node_channels(32, 0.5), node_channels(30, 0.5), node_channels(4, 0.5)
        (16, 16, 8)
    """
    return max(1, math.ceil(channels * width / CHANNEL_MULTIPLE)) * CHANNEL_MULTIPLE


class SkipCell(nn.Module):
    """The frame that discrete and mixed cells share: inputs, body, projection, residual sum.

    Each input is brought to the node width by [non-linearity, pointwise, normalisation] (PC-DARTS' preprocessing). With
    ``W`` the projection, ``x`` all nodes side by side and ``g`` a gain of each channel, the cell adds to its skip::

        zero:        W x              W = 0 at first
        gain:        g * (W x)        g = 0 at first, W drawn as the host's convolutions are
        normalised:  g * norm(W x)    the same, after the host's normalisation without scale and shift

    The papers do not say how a cell starts; all three are our choices. ``gain`` has one for each channel as LayerScale
    (Touvron et al., ICCV 2021), but from zero as SkipInit (De and Smith, NeurIPS 2020); ``normalised`` is the zero
    scale of Goyal et al. (2017) without their shift. There is none that replaces the skip: it would destroy what a
    trained host knows.

    Args:
        stage: the host stage of this level.
        body: module that maps the list of two states, each ``(B, N, *spatial)`` with ``N`` node channels, to a list
            of node outputs of the same shape.
        shape: of the cell; its ``nodes`` are the number of those outputs.
        affine: learned scale and shift in the normalisations.
    """

    def __init__(self, stage: Stage, body: nn.Module, shape: CellShape, *, affine: bool) -> None:
        super().__init__()
        channels = node_channels(stage.channels, shape.width)
        self.second_input = shape.second_input
        self.inputs = nn.ModuleList(
            nn.Sequential(
                stage.activate(), stage.pointwise(stage.channels, channels), stage.normalise(channels, affine=affine)
            )
            for _ in range(2)
        )
        self.body = body
        self.projection = stage.pointwise(shape.nodes * channels, stage.channels)
        self.normalise: nn.Module = nn.Identity()
        if shape.projection == "normalised":
            self.normalise = stage.normalise(stage.channels, affine=False)
        self.gain: nn.Parameter | None = None
        if shape.projection != "zero":
            self.gain = nn.Parameter(torch.zeros(stage.channels))
        self.close()

    def close(self) -> None:
        """Set the projection, or its gain, to zero, so that the cell is the identity of its skip."""
        nn.init.zeros_(self.projection.weight if self.gain is None else self.gain)  # type: ignore[arg-type]

    def forward(self, skip: torch.Tensor, decoder_signal: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        """Return the new skip.

        Args:
            skip: encoder skip, ``(B, C, *spatial)``.
            decoder_signal: the decoder's up-sampled signal of the level, same shape; not read when
                ``second_input`` is ``encoder``.
            weights: passed to the body (the mixed cell's operation and edge weights).
        """
        second = decoder_signal if self.second_input == "decoder" else skip
        states = [self.inputs[0](channels_last(second)), self.inputs[1](channels_last(skip))]
        added = self.normalise(self.projection(torch.cat(self.body(states, *weights), dim=1)))
        return skip + (added if self.gain is None else _per_channel(self.gain, added) * added)


def _per_channel(gain: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a gain ``(C,)`` that multiplies ``(B, C, *spatial)``, in the precision of that."""
    return gain.to(x.dtype).view(-1, *(1,) * (x.ndim - 2))


class HostSkip(nn.Module):
    """The place of a cell in a skip connection that has none: the skip, bit for bit, and no parameter."""

    def forward(self, skip: torch.Tensor, decoder_signal: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        """Return the skip, ``(B, C, *spatial)``; the arguments are those of :class:`SkipCell`."""
        return skip


class DiscreteBody(nn.Module):
    """The graph of a found cell at full channels: a node is the plain sum of its edges (DARTS).

    Args:
        cell: for each node its ``(operation, input)`` edges.
        channels: node channels ``N``.
        stage: the host stage of this level.
    """

    def __init__(self, cell: Cell, channels: int, stage: Stage) -> None:
        super().__init__()
        self.sources = [[source for _, source in node] for node in cell]
        self.names = [[operation for operation, _ in node] for node in cell]
        self.nodes = nn.ModuleList(
            nn.ModuleList(make_operation(operation, channels, stage, affine=True) for operation, _ in node)
            for node in cell
        )

    def forward(self, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map two states ``(B, N, *spatial)`` to the list of node outputs."""
        reached = list(states)
        for sources, operations in zip(self.sources, self.nodes, strict=True):
            terms = [operation(reached[j]) for operation, j in zip(operations, sources, strict=True)]  # type: ignore[call-overload]
            reached.append(sum(terms[1:], terms[0]))
        return reached[2:]


class DiscreteCells(nn.Module):
    """The cells of a found genotype, one module for each skip connection (level 0 is full resolution).

    A genotype shared over levels shares the graph, not the weights: levels differ in channels. Levels above the
    genotype's ``first_level`` hold a :class:`HostSkip`.

    Raises:
        ValueError: if the genotype does not fit the number of levels.
    """

    def __init__(self, genotype: Genotype, stages: Sequence[Stage]) -> None:
        super().__init__()
        genotype.check_levels(len(stages))
        self.genotype = genotype
        self.levels = nn.ModuleList(
            HostSkip()
            if level < genotype.first_level
            else SkipCell(
                stage,
                DiscreteBody(genotype.cell(level), node_channels(stage.channels, genotype.width), stage),
                genotype,
                affine=True,
            )
            for level, stage in enumerate(stages)
        )

    def forward(self, level: int, skip: torch.Tensor, decoder_signal: torch.Tensor) -> torch.Tensor:
        """Return the new skip of one level; all tensors ``(B, C, *spatial)``."""
        return self.levels[level](skip, decoder_signal)
