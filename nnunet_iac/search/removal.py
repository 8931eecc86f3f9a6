"""Operations and inputs selected by what their removal does to the loss (DARTS-PT), not by their weights.

Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (ICLR 2021), and its code,
ruocwang/darts-pt, sota/cnn/projection.py. On ``n`` batches of the architecture's cases that the search did not draw::

    d[b, r] = L_b(without r) - L_b           # r: an operation of an edge, or an edge; the same batches for all
    s[r]    = mean_b d[b, r]

    an edge that its weights did not decide keeps the operation with the largest s, a node the two edges

Removed means that the logit is ``-inf``: the softmax gives its share to what is left (the published code sets the
weight to zero, which shrinks the sum as well). `none` is never chosen, so it is never scored.

The paper has no test of whether a lead is more than chance. Our choice: a choice is decided if all that it keeps beats
all that it leaves, ``max_{k kept, l left} p(k, l) <= LEVEL``. ``p(k, l)`` is of the paired t-test of
``d[., k] - d[., l]`` with ``n - 1`` degrees of freedom; the maxima of all edges and nodes are corrected together by
Holm. The test is two-sided although only the leader can win, because the same batches say who leads. They are drawn
from a few patients: the answer holds for the images of these, not for patients in general.

The paper discretises one edge, trains on, then asks for the next. Here all are asked at once, our choice: the answer is
a function of the search's last state and costs no training. Without that training, edges that are asked later would be
judged in a network whose weights never met the choices before them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.special import stdtr

from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.discretise import NONE
from nnunet_iac.cells.genotype import EDGES_PER_NODE
from nnunet_iac.multiple_testing import holm

LEVEL = 0.05
"""Probability that chance decides anything at all."""


class Part(NamedTuple):
    """What is removed: an operation of an edge, or (``operation`` None) the edge."""

    group: int
    edge: int
    operation: int | None


@dataclass(frozen=True)
class Removal:
    """What removals said; axes ``G`` groups, ``E`` edges, ``O`` operations, ``N`` nodes; NaN where nothing was asked.

    Attributes:
        batches: how many.
        loss: mean loss with nothing removed.
        operations: mean rise of the loss without an operation, ``(G, E, O)``.
        operation_errors: its standard error.
        edges: mean rise of the loss without an edge, ``(G, E)``.
        edge_errors: its standard error.
        operation_p: corrected p-value of an edge's choice, ``(G, E)``.
        input_p: of a node's two inputs, ``(G, N)``.
        forwards: of the network.
        seconds: wall-clock.
    """

    batches: int
    loss: float
    operations: torch.Tensor
    operation_errors: torch.Tensor
    edges: torch.Tensor
    edge_errors: torch.Tensor
    operation_p: torch.Tensor
    input_p: torch.Tensor
    forwards: int = 0
    seconds: float = 0.0

    @property
    def decided(self) -> torch.Tensor:
        """Edges whose operation removal decided, ``(G, E)``."""
        return self.operation_p <= LEVEL

    @property
    def decided_inputs(self) -> torch.Tensor:
        """Nodes whose two inputs removal decided, ``(G, N)``."""
        return self.input_p <= LEVEL

    @property
    def largest(self) -> float:
        """The largest rise of the loss without one operation; 0 if none was asked."""
        return float(self.operations.nan_to_num(-math.inf).max()) if self.asked else 0.0

    @property
    def asked(self) -> int:
        """How many edges were asked for their operation."""
        return int((~self.operation_p.isnan()).sum())

    def weights(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what :func:`~nnunet_iac.cells.discretise.discretise` takes, ``(G, E, O)`` and ``(G, E)``.

        ``1 / (1 + how many of the edge's operations rank higher)``, and the same among the cell's edges; the best has
        1, ties stay ties. On an edge that was not asked it is ``p / max p`` without `none`.

        Args:
            probabilities: of the search, ``(G, E, O)``.
        """
        p = probabilities.detach().double().cpu().clone()
        p[..., NONE] = 0.0
        asked = ~self.operation_p.isnan().unsqueeze(-1)
        ranked = _standing(self.operations).masked_fill(self.operations.isnan(), 0.0)
        return torch.where(asked, ranked, p / p.amax(-1, keepdim=True)), _standing(self.edges)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; what was not asked is null."""
        tensors = ("operations", "operation_errors", "edges", "edge_errors", "operation_p", "input_p")
        return {
            "batches": self.batches,
            "forwards": self.forwards,
            "seconds": round(self.seconds, 2),
            "level": LEVEL,
            "loss": self.loss,
            **{name: _plain(getattr(self, name).tolist()) for name in tensors},
            "decided": self.decided.tolist(),
            "decided_inputs": self.decided_inputs.tolist(),
        }


def judge(
    losses: torch.Tensor, parts: Sequence[Part], shape: tuple[int, ...], nodes: int, *, seconds: float = 0.0
) -> Removal:
    """Return what the losses say; pure.

    Args:
        losses: one row for each of ``n >= 2`` batches: with nothing removed, then without each part, ``(n, 1 + R)``.
        parts: the ``R`` parts.
        shape: ``(G, E, O)``.
        nodes: of a cell.
        seconds: to record.
    """
    count, rises = len(losses), losses[:, 1:] - losses[:, :1]
    statistics = torch.stack([rises.mean(0), rises.std(0) / math.sqrt(count)])
    operations, edges = _unknown((2, *shape)), _unknown((2, *shape[:2]))
    choices: dict[tuple[int, int, bool], list[int]] = {}
    wiring = edges_of(nodes)
    for r, part in enumerate(parts):
        if part.operation is None:
            edges[:, part.group, part.edge] = statistics[:, r]
            choices.setdefault((part.group, wiring[part.edge][0], True), []).append(r)
        else:
            operations[:, part.group, part.edge, part.operation] = statistics[:, r]
            choices.setdefault((part.group, part.edge, False), []).append(r)
    keep = {choice: EDGES_PER_NODE if choice[2] else 1 for choice in choices}
    asked = [choice for choice, among in choices.items() if len(among) > keep[choice]]
    corrected = holm([_p_value(rises[:, choices[choice]], keep[choice]) for choice in asked])
    operation_p, input_p = _unknown(shape[:2]), _unknown((shape[0], nodes))
    for (group, place, of_node), p in zip(asked, corrected, strict=True):
        (input_p if of_node else operation_p)[group, place] = p
    return Removal(
        batches=count,
        loss=float(losses[:, 0].mean()),
        operations=operations[0],
        operation_errors=operations[1],
        edges=edges[0],
        edge_errors=edges[1],
        operation_p=operation_p,
        input_p=input_p,
        forwards=losses.numel(),
        seconds=seconds,
    )


def _p_value(rises: torch.Tensor, keep: int) -> float:
    """Return the p-value of the ``keep`` parts with the largest means against all others; rises are ``(n, parts)``."""
    order = rises.mean(0).argsort(descending=True, stable=True)
    lead = rises[:, order[:keep], None] - rises[:, None, order[keep:]]
    t = lead.mean(0) / (lead.std(0) / math.sqrt(len(rises)))
    # 0 / 0: parts without any effect lead by nothing.
    smallest = float(t.nan_to_num(nan=0.0, posinf=math.inf).min())
    return min(1.0, 2 * float(stdtr(len(rises) - 1, -smallest)))


def _unknown(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.full(shape, math.nan, dtype=torch.float64)


def _standing(scores: torch.Tensor) -> torch.Tensor:
    """Return ``1 / (1 + how many of the last axis are larger)``."""
    return 1.0 / (1 + (scores.unsqueeze(-2) > scores.unsqueeze(-1)).sum(-1).double())


def _plain(values: Any) -> Any:
    if isinstance(values, list):
        return [_plain(v) for v in values]
    return None if math.isnan(values) else values
