"""Operations of undecided edges drawn by lot, because the largest weight of an undecided edge is not a neutral choice.

A search without enough steps ends with leads that chance explains. Their argmax is no finding, and it is no fair draw
either: the logits of an operation on different edges move together, so the edges of one search choose alike (all
pooling, or all convolutions), where cells drawn at random have some of each (``scripts/bench_operations.py``). So, for
an edge that its weights did not decide, or on which `none` leads::

    candidates(e) = {o active, o != none : ln(p_best / p_o) = 0 or < chance_gap(e, o)}
    the edge keeps one of them, each with the same probability

``chance_gap`` is that of :mod:`nnunet_iac.search.stability`, ``best`` the edge's most probable operation but `none`.
Nothing else is touched: other edges keep their first operation, and a node the inputs it would have without a draw
(there is no test of these). The lot depends on the seed and the shape of the cells alone, so two searches of one seed
that decided nothing draw the same. Source: our choice; the papers take the argmax whether it means something or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_iac.cells.architecture import START
from nnunet_iac.cells.discretise import NONE
from nnunet_iac.search.stability import chance_gap

STEP = 1e-9
"""Relative decrease of the weight from one place in the drawn order to the next."""


@dataclass(frozen=True)
class Drawing:
    """What was drawn; axes ``G`` groups, ``E`` edges, ``O`` operations.

    Attributes:
        weights: for :func:`~nnunet_iac.cells.discretise.discretise`, ``(G, E, O)``: the probabilities without `none`.
            On an edge that the lot chose for, every candidate has the edge's largest probability, less 1e-9 of it for
            each place in the drawn order: the drawn operation wins, `search.max_skips` finds the next, and which inputs
            a node keeps does not change.
        candidates: among how many an edge's operation was drawn, ``(G, E)``; 1 where there was no choice.
    """

    weights: torch.Tensor
    candidates: torch.Tensor

    @property
    def drawn(self) -> int:
        """How many edges the lot chose for."""
        return int((self.candidates > 1).sum())


def draw(
    probabilities: torch.Tensor, mask: torch.Tensor, variation: torch.Tensor, decided: torch.Tensor, *, seed: int
) -> Drawing:
    """Draw an operation for every undecided edge; pure, and the same on every machine.

    Args:
        probabilities: of the search, ``(G, E, O)``, 0 where pruned.
        mask: active operations, ``(G, E, O)``.
        variation: sum of each logit's squared steps, ``(G, E, O)``; the noise that it started from is added.
        decided: edges that keep their first operation unless it is `none`, ``(G, E)``.
        seed: of the draw.

    Example:
        >>> p, everything = torch.full((1, 2, 8), 0.1), torch.ones(1, 2, 8, dtype=torch.bool)
        >>> p[:, :, 4] = 0.3
        >>> found = draw(p, everything, torch.ones(1, 2, 8), torch.tensor([[True, False]]), seed=0)
        >>> found.candidates.tolist(), found.drawn
        ([[1, 7]], 1)
    """
    p, mask, decided = (tensor.detach().cpu() for tensor in (probabilities, mask, decided))
    p = p.double().masked_fill(~mask, 0.0)
    kept = decided & (p.argmax(-1) != NONE)
    p[..., NONE] = 0.0
    best = p.amax(-1, keepdim=True)
    lead = (best / p.clamp(min=torch.finfo(p.dtype).tiny)).log()
    walked = variation.double().cpu() + START**2  # where the logits started is chance too
    candidates = (p > 0) & ((lead == 0) | (lead < chance_gap(walked, p)))
    lots = torch.rand(p.shape, generator=torch.Generator().manual_seed(seed), dtype=p.dtype)
    lots = lots.masked_fill(~candidates, -1.0)
    place = (lots.unsqueeze(-2) > lots.unsqueeze(-1)).sum(-1).to(p)
    drawn = (best * (1 - STEP * place)).masked_fill(~candidates, 0.0)
    return Drawing(torch.where(kept.unsqueeze(-1), p, drawn), torch.where(kept, 1, candidates.sum(-1)))
