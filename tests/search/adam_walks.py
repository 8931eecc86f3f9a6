"""Searches whose gradients are made up: logits moved by Adam as in a search, on noise, or on noise and a signal."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.stability import Decision, StabilityRule, StabilityState, chance_gap, update

EDGES = 14
"""Of a cell of four nodes; the plateau counts over all of them together."""
Gradients = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Gradients of the logits, given the probabilities and a random reward for each operation."""


def independent(probabilities: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    return -rewards * (probabilities > 0)


def through_the_softmax(probabilities: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """What ``-(probabilities * rewards).sum()`` gives: zero in sum, so that two operations move apart together."""
    return -probabilities * (rewards - (probabilities * rewards).sum(-1, keepdim=True))


class MadeUpSearches:
    """Searches of the default plan, after their warm-up; played side by side, because that is much faster.

    Attributes:
        masks: operations left, ``(searches, EDGES, O)``.
        decisions: what the rule said in each epoch until it stopped, for each search.
    """

    def __init__(
        self,
        iterations: int,
        count: int,
        gradients: Gradients = independent,
        *,
        rewards: torch.Tensor | float = 0.0,
        spread: float = 1.0,
        rule: StabilityRule | None = None,
        with_gap: bool = True,
    ) -> None:
        self.plan = SearchPlan(iterations=iterations)
        self.rule = rule or self.plan.rule
        self.gradients, self.rewards, self.spread, self.with_gap = gradients, rewards, spread, with_gap
        self.generator = torch.Generator().manual_seed(0)
        self.alpha = (1e-3 * torch.randn(count, EDGES, len(OPERATIONS), generator=self.generator)).requires_grad_()
        self.adam = torch.optim.Adam([self.alpha], lr=self.plan.architecture_lr, betas=(0.5, 0.999), eps=1e-16)
        self.variation = torch.zeros(self.alpha.shape, dtype=torch.float64)
        self.masks = torch.ones(self.alpha.shape, dtype=torch.bool)
        self.states = [StabilityState.start(1, EDGES, len(OPERATIONS)) for _ in range(count)]
        self.decisions: list[list[Decision]] = [[] for _ in range(count)]

    @property
    def touched(self) -> float:
        """Share of the edges that ever lost an operation."""
        return float((~self.masks).any(-1).double().mean())

    def run(self) -> MadeUpSearches:
        running = list(range(len(self.states)))
        for _ in range(self.plan.epochs - self.plan.warmup_epochs):
            for _ in range(self.plan.iterations):
                self._step()
            p = self._probabilities().double()
            gaps = chance_gap(self.variation, p) if self.with_gap else torch.zeros_like(p)
            running = [i for i in running if not self._decide(i, p[i : i + 1], gaps[i : i + 1]).stop]
            if not running:
                break
        return self

    def _step(self) -> None:
        draws = torch.randn(self.alpha.shape, generator=self.generator)
        self.alpha.grad = self.gradients(self._probabilities(), self.spread * draws + self.rewards)
        before = self.alpha.detach().clone()
        self.adam.step()
        self.variation += (self.alpha.detach() - before).double() ** 2

    def _decide(self, index: int, p: torch.Tensor, gap: torch.Tensor) -> Decision:
        topology, mask = str(p.argmax(-1).tolist()), self.masks[index : index + 1]
        self.states[index], decision = update(self.rule, self.states[index], p, mask, topology, gap=gap)
        self.masks[index] = decision.mask[0]
        moments = self.adam.state[self.alpha]
        for _, edge, operation in decision.pruned:
            moments["exp_avg"][index, edge] = 0.0
            moments["exp_avg_sq"][index, edge, operation] = 0.0
        self.decisions[index].append(decision)
        return decision

    def _probabilities(self) -> torch.Tensor:
        return self.alpha.detach().masked_fill(~self.masks, -torch.inf).softmax(-1)
