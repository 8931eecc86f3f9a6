"""Mixed cells edge by edge and operation by operation, as the published PC-DARTS runs them.

Source: yuhuixu1993/PC-DARTS, model_search.py: every edge calls every operation's module on its own slice, `none`
included, concatenates the bypass and shuffles. It shares the modules of the package's cells, so that both can be
compared in one network, and takes the memory layout that it is given. It is the slow side of a benchmark; the
independent check is ``textbook_cell``. Normalisations are PyTorch's own, not the package's faster form.
"""

from __future__ import annotations

from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_iac.cells.cell import SkipCell
from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.mixed import MixedBody, MixedCells


class EdgewiseCells(nn.Module):
    """Drop-in for :class:`MixedCells` in a ``CellUNet``; the parameters are those of ``cells``."""

    def __init__(self, cells: MixedCells) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, level: int, skip: torch.Tensor, decoder_signal: torch.Tensor) -> torch.Tensor:
        operations = "nnunet_iac.cells.operations"
        layout = patch(f"{operations}.channels_last", lambda x: x)
        with patch(f"{operations}.instance_norm", pytorchs_instance_norm), layout:
            return self._forward(level, skip, decoder_signal)

    def _forward(self, level: int, skip: torch.Tensor, decoder_signal: torch.Tensor) -> torch.Tensor:
        architecture = self.cells.architecture
        group = 0 if self.cells.shared else level
        cell = self.cells.levels[level]
        states = [cell.inputs[0](decoder_signal), cell.inputs[1](skip)]
        active = [architecture.active(group, e) for e in range(len(edges_of(self.cells.shape.nodes)))]
        probabilities, edge_weights = architecture.probabilities()[group], architecture.edge_weights()[group]
        return skip + cell.projection(torch.cat(nodes(cell, states, probabilities, edge_weights, active), dim=1))


def pytorchs_instance_norm(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    return F.instance_norm(x, weight=weight, bias=bias, eps=eps)


def nodes(
    cell: SkipCell,
    states: list[torch.Tensor],
    probabilities: torch.Tensor,
    edge_weights: torch.Tensor,
    active: list[tuple[int, ...]],
) -> list[torch.Tensor]:
    body = cell.body
    assert isinstance(body, MixedBody)
    for node in range(body.node_count):
        total = torch.zeros_like(states[0])
        for e, (target, source) in enumerate(body.wiring):
            if target == node:
                total = total + edge_weights[e] * edge(body, e, states[source], probabilities[e], active[e])
        states.append(total)
    return states[2:]


def edge(
    body: MixedBody, e: int, state: torch.Tensor, probabilities: torch.Tensor, active: tuple[int, ...]
) -> torch.Tensor:
    part, bypass = state[:, : body.channels], state[:, body.channels :]
    mixed = torch.zeros_like(part)
    for o in range(len(OPERATIONS)):
        if o in active:
            mixed = mixed + probabilities[o] * body.edges[e].operations[o](part)
    out = torch.cat([mixed, bypass], dim=1)
    blocks = out.view(out.shape[0], body.partial, -1, *out.shape[2:])
    return blocks.transpose(1, 2).reshape(out.shape)
