"""Architecture logits that Adam moves as a search does, on gradients that are nothing but noise, or noise and signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.stability import Decision, StabilityRule, StabilityState, chance_gap, update

EDGES = 14
"""Of a cell of four nodes; the plateau counts over all of them together."""
Noise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Gradients of the logits, given the probabilities and standard normal numbers."""


def independent(probabilities: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    return draws * (probabilities > 0)


def through_the_softmax(probabilities: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Random rewards for each operation, as a mixed edge passes them on: zero in sum, hence anticorrelated."""
    return -probabilities * (draws - (probabilities * draws).sum(-1, keepdim=True))


@dataclass
class Walks:
    """Searches side by side, each ``(1, EDGES, O)``; one that stopped stands still.

    Attributes:
        mask: operations left, ``(searches, EDGES, O)``.
        last: what the rule said last, for each search.
        ended: epochs after the warm-up until each search stopped.
        decided_at: first epoch in which each edge was decided, 0 for never, ``(searches, EDGES)``.
    """

    mask: torch.Tensor
    last: list[Decision]
    ended: list[int]
    decided_at: torch.Tensor

    @property
    def touched(self) -> float:
        """Share of the edges that ever lost an operation."""
        return float((~self.mask).any(-1).double().mean())


def walk(
    iterations: int,
    searches: int,
    noise: Noise = independent,
    *,
    reward: torch.Tensor | None = None,
    spread: float = 1.0,
    rule: StabilityRule | None = None,
    with_gap: bool = True,
    seed: int = 0,
) -> Walks:
    """Play searches with the default plan through Adam and the rule; ``reward`` ``(O,)`` is the signal, if any."""
    plan = SearchPlan(iterations=iterations)
    rule = rule or plan.rule
    generator = torch.Generator().manual_seed(seed)
    alpha = (1e-3 * torch.randn(searches, EDGES, len(OPERATIONS), generator=generator)).requires_grad_()
    adam = torch.optim.Adam([alpha], lr=plan.architecture_lr, betas=(0.5, 0.999), eps=1e-16)
    variation = torch.zeros(alpha.shape, dtype=torch.float64)
    states = [StabilityState.start(1, EDGES, len(OPERATIONS)) for _ in range(searches)]
    walks = Walks(torch.ones(alpha.shape, dtype=torch.bool), [None] * searches, [0] * searches, torch.zeros(searches, EDGES))
    for epoch in range(1, plan.epochs - plan.warmup_epochs + 1):
        for _ in range(iterations):
            draws = spread * torch.randn(alpha.shape, generator=generator)
            alpha.grad = noise(_softmax(alpha, walks.mask), draws + (0.0 if reward is None else reward))
            before = alpha.detach().clone()
            adam.step()
            variation += (alpha.detach() - before).double() ** 2
        p = _softmax(alpha, walks.mask).double()
        gaps = chance_gap(variation, p) if with_gap else torch.zeros_like(p)
        for s in (s for s in range(searches) if not walks.ended[s]):
            topology = str(p[s].argmax(-1).tolist())
            states[s], decision = update(rule, states[s], p[s : s + 1], walks.mask[s : s + 1], topology, gap=gaps[s : s + 1])
            walks.last[s], walks.mask[s] = decision, decision.mask[0]
            walks.decided_at[s][decision.decided[0] & (walks.decided_at[s] == 0)] = epoch
            walks.ended[s] = epoch if decision.stop else 0
            for _, edge, operation in decision.pruned:
                adam.state[alpha]["exp_avg"][s, edge] = 0.0
                adam.state[alpha]["exp_avg_sq"][s, edge, operation] = 0.0
        if all(walks.ended):
            break
    return walks


def _softmax(alpha: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return alpha.detach().masked_fill(~mask, -torch.inf).softmax(-1)
