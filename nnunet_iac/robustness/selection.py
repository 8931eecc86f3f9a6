"""Which checkpoint to take: the best of given ones (offline), or when to stop while they are made (online).

Scores are losses of :mod:`nnunet_iac.robustness.score`: lower is more robust. Neither promises a gain over full
pretraining: on the published curves it scores higher than the losses' choice (:mod:`nnunet_iac.robustness.yardsticks`).
Neither can say that no pretraining would be best; :mod:`nnunet_iac.robustness.hybrid` can.

The paper's code has no selection, and the pages read name neither patience nor smoothing. Both rules are
reconstructions, and smoothing is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


def best_checkpoint(losses: Mapping[int, float]) -> int:
    """Return the length of pretraining with the smallest loss; of equal ones the shortest (our choice).

    Args:
        losses: loss by length, in epochs from 1.

    Raises:
        ValueError: if there are none, one is not finite, or length 0 is among them: random initialisation is not a
            checkpoint that the loss may choose.

    Example:
        >>> best_checkpoint({1: 0.5, 20: 0.3, 100: 0.3})
        20
    """
    if not losses:
        raise ValueError("losses: expected at least one checkpoint, got none")
    bad = {length: loss for length, loss in losses.items() if not math.isfinite(loss)}
    if bad:
        raise ValueError(f"losses: expected finite numbers, got {bad}; leave those checkpoints out")
    if min(losses) < 1:
        raise ValueError(
            f"losses: expected lengths from 1, got {min(losses)}; random initialisation is compared by a probe "
            "(nnunet_iac.robustness.hybrid)"
        )
    return min(losses, key=lambda length: (losses[length], length))


@dataclass(frozen=True)
class StoppingRule:
    """When to stop pretraining.

    Attributes:
        patience: checks without a new minimum after which it stops.
        smoothing: ``a`` in ``s_t = a s_{t-1} + (1 - a) loss_t``, ``s_1 = loss_1``; 0 takes the losses as they are.

    Raises:
        ValueError: if a value is out of range.
    """

    patience: int = 2
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience: expected a positive number of checks, got {self.patience}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing: expected a number from 0 to below 1, got {self.smoothing}")


@dataclass(frozen=True)
class OnlineState:
    """What the rule remembers between checks; plain numbers, for a checkpoint of the pretraining.

    Attributes:
        rule: the rule.
        initial_loss: loss of the random initialisation, if it was scored; it is compared, never chosen.
        checks: losses seen so far.
        smoothed: the last smoothed loss.
        best_loss: the smallest smoothed loss.
        best_check: the check that had it, counted from 1; 0 before the first.
        waited: checks since then.
    """

    rule: StoppingRule = StoppingRule()
    initial_loss: float | None = None
    checks: int = 0
    smoothed: float | None = None
    best_loss: float | None = None
    best_check: int = 0
    waited: int = 0

    @property
    def stopped(self) -> bool:
        """Whether patience ran out."""
        return self.waited >= self.rule.patience

    @property
    def beats_initialisation(self) -> bool | None:
        """Whether the best smoothed loss is below that of the random initialisation; None if that is not known."""
        if self.initial_loss is None or self.best_loss is None:
            return None
        return self.best_loss < self.initial_loss

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> OnlineState:
        """Return what :meth:`to_json` was made of."""
        return cls(**{**content, "rule": StoppingRule(**content["rule"])})


@dataclass(frozen=True)
class OnlineDecision:
    """What the rule says after a check.

    Attributes:
        stop: whether to stop pretraining now.
        improved: whether this check is the best so far, so that its weights should be kept.
        best_check: the check whose weights to use, counted from 1.
    """

    stop: bool
    improved: bool
    best_check: int


def update(state: OnlineState, loss: float) -> tuple[OnlineState, OnlineDecision]:
    """Advance by one check; pure. Only a strictly smaller loss is a new minimum.

    A state that has stopped stays as it is.

    Raises:
        ValueError: if the loss is not finite.

    Example:
        >>> state = OnlineState(StoppingRule(patience=2))
        >>> for loss in (0.5, 0.3, 0.4, 0.4):
        ...     state, decision = update(state, loss)
        >>> decision
        OnlineDecision(stop=True, improved=False, best_check=2)
    """
    if not math.isfinite(loss):
        raise ValueError(
            f"loss: expected a finite number, got {loss} at check {state.checks + 1}; the encoder diverged, "
            f"the weights of check {state.best_check} are the best so far"
        )
    if state.stopped:
        return state, OnlineDecision(True, False, state.best_check)
    a = state.rule.smoothing
    smoothed = loss if state.smoothed is None else a * state.smoothed + (1 - a) * loss
    seen = replace(state, checks=state.checks + 1, smoothed=smoothed)
    improved = state.best_loss is None or smoothed < state.best_loss
    if improved:
        after = replace(seen, best_loss=smoothed, best_check=seen.checks, waited=0)
    else:
        after = replace(seen, waited=state.waited + 1)
    return after, OnlineDecision(after.stopped, improved, after.best_check)
