"""When an edge may lose operations: Jensen-Shannon stability *and* a decision (IAC-LTH, made exact).

The paper (arXiv 2604.14849) tracks each edge's distribution over operations by Jensen-Shannon divergence and prunes
weak operations once it is stable; it gives no threshold, schedule or stop rule. The exact rule below is our choice.
After each epoch with architecture updates::

    for every edge e with two or more active operations:
        p_t   = softmax(alpha_e) over the active operations
        J_t   = JSD(p_t, p_{t-w}) / ln 2              # in [0, 1]; only once the window holds w + 1 epochs
        stable  += 1 if J_t < tau else reset to 0
        decided  = (H(p_t)/ln(active) <= entropy_bound  or  p_first - p_second >= margin_bound)
                   and ln(p_first / p_last) >= chance_gap_last
        if stable >= patience and decided:
            prune every operation with p < p_first / ratio, and at least the weakest one, among those with
            ln(p_first / p) >= chance_gap (never the last operation other than `none`); restart the window
    stop when every edge has one operation left (besides `none`) and the top-2 topology stood still for
    `patience` epochs,
    or (undecided) when for `plateau` epochs nothing was pruned and no further edge was decided

A near-uniform edge is stable too (nothing moves where there is no signal); it is never pruned, because it is not
decided. Nor is an edge whose logits drifted apart by chance. Without signal Adam moves a logit by a random walk; the
variance of a lead is then the sum of its squared steps ``Q``, times three for the memory of Adam's first moment
(``(1 + b) / (1 - b)`` with ``b = 0.5``). A lead of operation ``i`` over ``j`` counts only beyond four standard
deviations of that walk, ``chance_gap = 4 sqrt(3 (Q_i + Q_j))``.

How often chance prunes all the same, with 1, 2, 3, 5, 7, 10 or 50 (the default) steps an epoch, is measured in
``tests/search/test_chance.py``. Searches without any signal end at the plateau: of 14,000 edges each at most 0.2 %
lost an operation (30, with 7 steps), none with 1, 2 and 50. Where other edges keep the search going for its whole
budget of 200 epochs, it was 0.1 to 3.9 % of 2,800 edges each (most with 10 steps, 2.0 % with 50). Operations coupled
by the softmax push each other apart; with independent gradients it was at most 0.02 and 1.3 %.

The price is paid in steps: a signal without noise needs 24 (``2 n lr >= 4 sqrt(6 n) lr``), a noisy one more. With one
step an epoch that is more than the plateau, so that such a search ends undecided even on the clearest data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nnunet_iac.cells.discretise import NONE

DEVIATIONS = 4.0
"""Standard deviations of a walk without signal that a lead must pass to count; see :func:`chance_gap`."""


@dataclass(frozen=True)
class StabilityRule:
    """Thresholds of the rule above.

    Attributes:
        tau: largest normalised divergence that counts as standing still; see :func:`drift_threshold`.
        window: ``w``, epochs between the two distributions that are compared.
        patience: consecutive stable epochs before an edge is pruned, and epochs the topology must stand still.
        entropy_bound: an edge with normalised entropy up to this is decided.
        margin_bound: so is one whose first operation leads the second by this much probability.
        ratio: operations this many times less probable than the first go together.
        plateau: epochs without any progress after which the search is over, undecided: operations that are equally
            good would otherwise keep it going to the end of its budget.

    Raises:
        ValueError: if a value is out of range.
    """

    tau: float
    window: int = 2
    patience: int = 2
    entropy_bound: float = 0.75
    margin_bound: float = 0.2
    ratio: float = 4.0
    plateau: int = 20

    def __post_init__(self) -> None:
        checks = {
            "tau": (self.tau > 0, "a positive number"),
            "window": (self.window >= 1, "a positive number of epochs"),
            "patience": (self.patience >= 1, "a positive number of epochs"),
            "entropy_bound": (0 < self.entropy_bound < 1, "a number between 0 and 1"),
            "margin_bound": (0 < self.margin_bound < 1, "a number between 0 and 1"),
            "ratio": (self.ratio > 1, "a number above 1"),
            "plateau": (self.plateau >= 1, "a positive number of epochs"),
        }
        for name, (valid, expected) in checks.items():
            if not valid:
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)}")


@dataclass(frozen=True)
class StabilityState:
    """What the rule remembers between epochs; tensors on the CPU, ready for ``torch.save``.

    Attributes:
        history: the last ``w + 1`` distributions, oldest first, ``(T, G, E, O)``.
        age: epochs since an edge's window was restarted, ``(G, E)``.
        stable: consecutive stable epochs, ``(G, E)``.
        topology: the last kept edges and operations, as text.
        still: epochs for which the topology did not change.
        most: largest number of edges that were decided at once.
        quiet: epochs since something was pruned or that number grew.
    """

    history: torch.Tensor
    age: torch.Tensor
    stable: torch.Tensor
    topology: str = ""
    still: int = 0
    most: int = 0
    quiet: int = 0

    @classmethod
    def start(cls, groups: int, edges: int, operations: int) -> StabilityState:
        """Return the state before the first epoch."""
        zeros = torch.zeros(groups, edges, dtype=torch.long)
        return cls(torch.zeros(0, groups, edges, operations), zeros, zeros.clone())


@dataclass(frozen=True)
class Decision:
    """What the rule says after one epoch.

    Attributes:
        mask: operations that stay, ``(G, E, O)``.
        jsd: normalised divergence, ``(G, E)``; NaN while an edge's window is not full.
        decided: edges that are decided, ``(G, E)``.
        pruned: ``(group, edge, operation)`` triples that leave now.
        stop: whether the search is over.
    """

    mask: torch.Tensor
    jsd: torch.Tensor
    decided: torch.Tensor
    pruned: tuple[tuple[int, int, int], ...]
    stop: bool


def jensen_shannon(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return the Jensen-Shannon divergence along the last axis, divided by ``ln 2``, in [0, 1].

    ``JSD(p, q) = KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p + q) / 2`` and ``0 ln 0 = 0``.

    Example:
        >>> one_hot = torch.eye(3)
        >>> float(jensen_shannon(one_hot[0], one_hot[1])), float(jensen_shannon(one_hot[0], one_hot[0]))
        (1.0, 0.0)
    """
    p, q = p.double(), q.double()
    m = (p + q) / 2
    # For tiny differences the three entropies cancel; clamping keeps round-off from leaving [0, 1].
    divergence = (torch.xlogy(p, p) + torch.xlogy(q, q)) / 2 - torch.xlogy(m, m)
    return (divergence.sum(-1) / math.log(2)).clamp(0.0, 1.0)


def drift_threshold(logit_drift: float) -> float:
    """Return the normalised divergence that a logit drift of this standard deviation causes.

    ``J = drift^2 / (8 ln 2)``, from ``JSD = Var_p(delta alpha) / 8`` for small drifts (checked in a test). This
    ties the threshold to what the architecture optimiser can move within the window instead of a bare number.

    Example:
        >>> round(drift_threshold(0.08), 5)
        0.00115
    """
    return logit_drift**2 / (8 * math.log(2))


def normalised_entropy(probabilities: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return ``H(p) / ln(active operations)`` along the last axis; 0 where one operation is left."""
    entropy = -torch.xlogy(probabilities, probabilities).sum(-1)
    return torch.where(mask.sum(-1) > 1, entropy / mask.sum(-1).clamp(min=2).log(), torch.zeros_like(entropy))


def chance_gap(variation: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Return the lead in logits over each operation that a walk without signal would hardly give, ``(G, E, O)``.

    ``DEVIATIONS sqrt(3 (Q_first + Q_o))``, where ``first`` is the edge's most probable operation.

    Args:
        variation: ``Q``, the sum of each logit's squared steps so far, ``(G, E, O)``.
        probabilities: ``(G, E, O)``.

    Example:
        >>> float(chance_gap(torch.full((1, 1, 2), 1 / 6), torch.tensor([[[0.9, 0.1]]]))[0, 0, 1])
        4.0
    """
    first = variation.gather(-1, probabilities.argmax(-1, keepdim=True))
    return DEVIATIONS * (3.0 * (first + variation)).sqrt()


def decided_edges(
    rule: StabilityRule, probabilities: torch.Tensor, mask: torch.Tensor, gap: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Return which edges are decided, ``(G, E)``; one real operation left is decided too."""
    first, second = probabilities.topk(2, dim=-1).values.unbind(-1)
    single = _real(mask).sum(-1) == 1
    clear = (normalised_entropy(probabilities, mask) <= rule.entropy_bound) | (first - second >= rule.margin_bound)
    last = probabilities.masked_fill(~mask, torch.inf).argmin(-1, keepdim=True)
    return single | (clear & _behind(probabilities, mask, gap).gather(-1, last).squeeze(-1))


def update(
    rule: StabilityRule,
    state: StabilityState,
    probabilities: torch.Tensor,
    mask: torch.Tensor,
    topology: str,
    *,
    gap: torch.Tensor | float = 0.0,
    prune: bool = True,
) -> tuple[StabilityState, Decision]:
    """Advance the rule by one epoch; pure: nothing is changed in place.

    Args:
        rule: the thresholds.
        state: what was remembered.
        probabilities: ``(G, E, O)`` of this epoch, 0 where pruned.
        mask: operations still active, ``(G, E, O)``.
        topology: text that names the kept edges and operations of this epoch.
        gap: lead that chance explains, ``(G, E, O)`` or one number; see :func:`chance_gap`.
        prune: False records divergences and decisions but never prunes and never stops (the full search).
    """
    p = probabilities.detach().double().cpu()
    mask = mask.cpu()
    history = torch.cat([state.history.to(p), p.unsqueeze(0)])[-(rule.window + 1) :]
    age = state.age + 1
    full = age > rule.window
    jsd = torch.where(full, jensen_shannon(p, history[0]), torch.full_like(p[..., 0], torch.nan))
    stable = torch.where(full & (jsd < rule.tau), state.stable + 1, torch.zeros_like(state.stable))
    decided = decided_edges(rule, p, mask, gap)
    ripe = (stable >= rule.patience) & decided & (_real(mask).sum(-1) > 1)
    remove = _weakest(rule, p, mask, gap) & ripe.unsqueeze(-1) if prune else torch.zeros_like(mask)
    restarted = remove.any(-1)
    still = state.still + 1 if topology == state.topology else 0
    count = int(decided.sum())
    progress = bool(restarted.any()) or count > state.most
    new_state = StabilityState(
        history=history,
        age=torch.where(restarted, torch.zeros_like(age), age),
        stable=torch.where(restarted, torch.zeros_like(stable), stable),
        topology=topology,
        still=still,
        most=max(state.most, count),
        quiet=0 if progress else state.quiet + 1,
    )
    pruned = tuple((int(g), int(e), int(o)) for g, e, o in remove.nonzero())
    single = _real(mask).sum(-1) == 1
    found = bool(single.all()) and still >= rule.patience and not pruned
    stop = prune and (found or new_state.quiet >= rule.plateau)
    return new_state, Decision(mask & ~remove, jsd, decided, pruned, stop)


def _real(mask: torch.Tensor) -> torch.Tensor:
    others = mask.clone()
    others[..., NONE] = False
    return others


def _behind(p: torch.Tensor, mask: torch.Tensor, gap: torch.Tensor | float) -> torch.Tensor:
    """Return the active operations that trail the first by at least ``gap`` in logits, ``(G, E, O)``."""
    lead = (p.amax(-1, keepdim=True) / p.clamp(min=torch.finfo(p.dtype).tiny)).log()
    return mask & (lead > 0) & (lead >= gap)


def _weakest(rule: StabilityRule, p: torch.Tensor, mask: torch.Tensor, gap: torch.Tensor | float) -> torch.Tensor:
    """Return what an edge loses when it is pruned, ``(G, E, O)``: the laggards, at least the last, never the leader."""
    active = p.masked_fill(~mask, torch.inf)
    first = p.amax(-1, keepdim=True)
    remove = (active < first / rule.ratio) | (active == active.amin(-1, keepdim=True))
    remove &= _behind(p, mask, gap)
    # The strongest real operation stays even where `none` leads: discretisation needs one to choose.
    leader = p.masked_fill(~_real(mask), -1.0).argmax(-1, keepdim=True)
    return remove.scatter(-1, leader, False)
