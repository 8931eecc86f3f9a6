"""Mixed cells of the search: every edge is a weighted sum of candidate operations on a part of the channels.

Source: PC-DARTS (Xu et al., ICLR 2020), model_search.py: partial channels by slice, bypass, channel shuffle, edge
normalisation. An operation that was pruned is not executed any more: its forward is not called and its weights get
no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.architecture import ArchitectureParameters
from nnunet_iac.cells.cell import CHANNEL_MULTIPLE, HostSkip, SkipCell, node_channels
from nnunet_iac.cells.cell_shape import CELL_INPUTS, CellShape, edges_of
from nnunet_iac.cells.discretise import SKIP
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.operations import Stage
from nnunet_iac.cells.outgoing import EdgeOperations, mix_outgoing


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Interleave ``groups`` blocks of channels: ``view(B, G, C/G, ...)``, swap the two axes, flatten.

    After the shuffle the next edge's first ``C / K`` channels come from every block, which makes a fixed slice
    behave like sampling.

    Example:
        >>> channel_shuffle(torch.arange(6.0).view(1, 6, 1, 1), 3).flatten().tolist()
        [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
    """
    batch, channels, *spatial = x.shape
    return x.view(batch, groups, channels // groups, *spatial).transpose(1, 2).reshape(batch, channels, *spatial)


class MixedBody(nn.Module):
    """The graph of a mixed cell: node ``i`` is the sum over its edges ``e`` of ``w_e * edge_e(state_j)``.

    ``edge_e(x) = shuffle_K(cat[sum_o p_eo op_eo(x[:, :C/K]), x[:, C/K:]])``. The shuffle is a fixed permutation, so
    it is done once for a node, after the sum over its edges.

    Args:
        nodes: nodes of the cell.
        channels: node channels ``C``; ``partial`` must divide them.
        partial: ``K``; the operations see ``C / K`` channels.
        stage: the host stage of this level.
    """

    def __init__(self, nodes: int, channels: int, partial: int, stage: Stage) -> None:
        super().__init__()
        self.wiring = edges_of(nodes)
        self.node_count = nodes
        self.partial = partial
        self.channels = channels // partial
        self.edges = nn.ModuleList(EdgeOperations(self.channels, stage) for _ in self.wiring)

    def forward(
        self,
        states: Sequence[torch.Tensor],
        probabilities: torch.Tensor,
        edge_weights: torch.Tensor,
        active: Sequence[Sequence[int]],
    ) -> list[torch.Tensor]:
        """Map two states ``(B, C, *spatial)`` to the node outputs, given ``(E, O)`` and ``(E,)`` weights."""
        weights = probabilities * edge_weights.unsqueeze(-1)
        parts = [self.parts(state) for state in states]
        mixed: list[list[torch.Tensor]] = [[] for _ in range(self.node_count)]
        nodes: list[torch.Tensor] = []
        for j in range(CELL_INPUTS + self.node_count):
            if j >= CELL_INPUTS:
                nodes.append(self.node(len(nodes), mixed[len(nodes)], parts, edge_weights))
                parts.append(self.parts(nodes[-1]))
            self._leave(j, parts[j][0], weights, active, mixed)
        return nodes

    def parts(self, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the channels that operations see, and those that pass by, if any."""
        return state.split([self.channels, state.shape[1] - self.channels], dim=1) if self.partial > 1 else (state,)

    def _leave(
        self,
        j: int,
        seen: torch.Tensor,
        weights: torch.Tensor,
        active: Sequence[Sequence[int]],
        mixed: list[list[torch.Tensor]],
    ) -> None:
        """Add to every node what state ``j`` gives it."""
        leaving = [e for e, (_, source) in enumerate(self.wiring) if source == j]
        if not leaving:
            return
        edges: list[Any] = [self.edges[e] for e in leaving]
        terms = mix_outgoing(seen, edges, weights[leaving], [active[e] for e in leaving])
        for e, found in zip(leaving, terms, strict=True):
            mixed[self.wiring[e][0]].extend(found)

    def node(
        self,
        node: int,
        mixed: Sequence[torch.Tensor],
        parts: Sequence[tuple[torch.Tensor, ...]],
        edge_weights: torch.Tensor,
    ) -> torch.Tensor:
        """Return a node: its mixed channels, then the bypassed ones, shuffled."""
        total = sum(mixed[1:], mixed[0]) if mixed else parts[0][0] * 0.0
        if self.partial == 1:
            return total
        entering = [(e, source) for e, (target, source) in enumerate(self.wiring) if target == node]
        (first, source), *others = entering
        passed = edge_weights[first] * parts[source][1]
        for e, source in others:
            passed = passed + edge_weights[e] * parts[source][1]
        return channel_shuffle(torch.cat([total, passed], dim=1), self.partial)


class MixedCells(nn.Module):
    """The search's cells, one for each skip connection, and their architecture parameters.

    Args:
        stages: host stages of the levels, full resolution first.
        shape: of the cells; None is the default one.
        partial: ``K``, one of 1, 2, 4, 8.
        shared: one set of architecture parameters for all levels, or one for each.
        generator: random numbers for the initial logits.

    Attributes:
        auxiliary_skip: ``b`` in ``b * x``, which is added to every edge's mixture, outside of its softmax (DARTS-).

    Raises:
        ValueError: if ``partial`` is not one of 1, 2, 4, 8, or no level is left for a cell.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        shape: CellShape | None = None,
        *,
        partial: int = 4,
        shared: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape = shape or CellShape()
        with_cells = shape.levels_with_cells(len(stages))
        if partial < 1 or CHANNEL_MULTIPLE % partial:
            raise ValueError(f"partial: expected 1, 2, 4 or 8 partial channels, got {partial}")
        self.shared = shared
        self.auxiliary_skip = 0.0
        self.architecture = ArchitectureParameters(
            groups=1 if shared else with_cells, nodes=shape.nodes, generator=generator
        )
        self.levels = nn.ModuleList(
            HostSkip()
            if level < shape.first_level
            else SkipCell(
                stage,
                MixedBody(shape.nodes, node_channels(stage.channels, shape.width), partial, stage),
                shape,
                affine=False,
            )
            for level, stage in enumerate(stages)
        )

    def forward(self, level: int, skip: torch.Tensor, decoder_signal: torch.Tensor) -> torch.Tensor:
        """Return the new skip of one level; all tensors ``(B, C, *spatial)``."""
        if level < self.shape.first_level:
            return skip
        group = 0 if self.shared else level - self.shape.first_level
        active = [self.architecture.active(group, e) for e in range(len(edges_of(self.shape.nodes)))]
        probabilities = self.architecture.probabilities()[group]
        if self.auxiliary_skip:
            active = [tuple({*edge, SKIP}) for edge in active]
            probabilities = probabilities + self.auxiliary_skip * torch.eye(len(OPERATIONS)).to(probabilities)[SKIP]
        edge_weights = self.architecture.edge_weights()[group]
        return self.levels[level](skip, decoder_signal, probabilities, edge_weights, active)
