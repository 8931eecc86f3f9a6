"""How to search: the record that fixes a search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from nnunet_iac.search.smoothing import SMALLEST, Perturbation
from nnunet_iac.search.stability import StabilityRule, drift_threshold

Mode = Literal["frozen", "joint"]
Selection = Literal["weights", "removal", "draw"]


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes:
        epochs: the budget.
        iterations: weight steps (and architecture steps, after the warm-up) of an epoch.
        warmup_epochs: first epochs with weight steps only; they open the cells' projections, without which
            architecture parameters get no gradient at all.
        prune: False runs the full search: nothing is pruned, nothing stops early.
        seed: of the cells' weights, the logits and the batches.
        drift: largest move of a logit in one epoch. The architecture learning rate is ``drift / iterations``, so
            that a search with few steps an epoch moves as far in an epoch as one with many (Adam moves a logit by
            at most about its learning rate in a step). Our choice: 0.2. PC-DARTS' schedule allows a total travel
            of 2 (CIFAR) to 11 (ImageNet).
        tau: stability threshold, None for the divergence of :meth:`resting_drift`.
        patience: see :class:`~nnunet_iac.search.stability.StabilityRule`.
        weight_lr: initial rate of the weights (SGD, Nesterov momentum 0.99, poly decay: nnU-Net's).
        weight_decay: of the weights.
        mode: host ``frozen`` or trained ``joint``-ly.
        perturbation: of the operation weights in the weight step (SmoothDARTS), see
            :mod:`nnunet_iac.search.smoothing`. Its size, beta-decay and the auxiliary skip change with
            ``epoch / epochs``: over the budget, of which a search that prunes may use a part only.
        perturbation_size: its size at the end of the budget.
        beta_decay: weight of ``mean_e logsumexp(alpha_e)`` in the architecture's loss at the end of the budget; it
            grows linearly from 0. Source: beta-DARTS (its code: ``50 epoch / 100``, 25 after 50 epochs). Gradients of
            alpha in a good host are about 1e-5, so that weights which balance them are small.
        auxiliary_skip: add ``(1 - epoch / epochs) * x`` to every edge besides its mixture (DARTS-). A search that
            prunes may end before this is 0, which DARTS- does not foresee; log and result then say how much was left.
        max_skips: largest number of ``skip_connect`` in a cell of the genotype (P-DARTS), None for any.
        easing: factor of the architecture's learning rate in the first ``easing_epochs`` epochs after the warm-up, for
            logits that start from another search. Nothing is pruned in them: an edge that moves slowly is not one that
            has come to rest. Our choice.
        easing_epochs: how many epochs.
        select: how the genotype is chosen after the last epoch: by the ``weights`` of operations and edges, or, where
            these decided nothing, by ``removal`` (:mod:`nnunet_iac.search.removal`) or by lot (``draw``,
            :mod:`nnunet_iac.search.drawing`). No epoch depends on it.
        select_batches: batches on which removals are compared.

    Raises:
        ValueError: if a number is out of range.
    """

    epochs: int = 200
    iterations: int = 50
    warmup_epochs: int = 5
    prune: bool = True
    seed: int = 0
    drift: float = 0.2
    tau: float | None = None
    patience: int = 2
    weight_lr: float = 1e-2
    weight_decay: float = 3e-5
    mode: Mode = "frozen"
    perturbation: Perturbation = "none"
    perturbation_size: float = 0.3
    beta_decay: float = 0.0
    auxiliary_skip: bool = False
    max_skips: int | None = None
    easing: float = 1.0
    easing_epochs: int = 0
    select: Selection = "weights"
    select_batches: int = 32

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.iterations < 1:
            raise ValueError(f"epochs, iterations: expected at least 1, got {self.epochs}, {self.iterations}")
        if not 1 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs: expected from 1 to epochs - 1 = {self.epochs - 1}, got {self.warmup_epochs}; "
                "without warm-up the cells add nothing and the architecture gets no gradient"
            )
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode: expected one of {get_args(Mode)}, got {self.mode!r}")
        if self.perturbation not in get_args(Perturbation):
            raise ValueError(f"perturbation: expected one of {get_args(Perturbation)}, got {self.perturbation!r}")
        if not SMALLEST <= self.perturbation_size <= 1:
            raise ValueError(f"perturbation_size: expected {SMALLEST} to 1, got {self.perturbation_size}")
        if self.beta_decay < 0:
            raise ValueError(f"beta_decay: expected 0 or more, got {self.beta_decay}")
        if self.max_skips is not None and self.max_skips < 0:
            raise ValueError(f"max_skips: expected None, 0 or more, got {self.max_skips}")
        if self.weight_lr <= 0:
            raise ValueError(f"weight_lr: expected a positive number, got {self.weight_lr}")
        if self.drift <= 0:
            raise ValueError(f"drift: expected a positive number, got {self.drift}")
        self._check_easing()
        self._check_selection()
        _ = self.rule  # checks tau and patience here, not after the warm-up

    def _check_easing(self) -> None:
        if not 0 < self.easing <= 1 or self.easing_epochs < 0:
            raise ValueError(
                f"easing, easing_epochs: expected a factor in (0, 1] and a number from 0, got {self.easing}, "
                f"{self.easing_epochs}"
            )

    def _check_selection(self) -> None:
        if self.select not in get_args(Selection):
            raise ValueError(f"select: expected one of {get_args(Selection)}, got {self.select!r}")
        if self.select_batches < 2:
            raise ValueError(f"select_batches: expected at least 2, to know their spread, got {self.select_batches}")

    @property
    def architecture_lr(self) -> float:
        """Learning rate of Adam for alpha and beta."""
        return self.drift / self.iterations

    def is_eased(self, epoch: int) -> bool:
        """Whether the architecture learns slowly in this epoch, counted from 0."""
        return self.easing < 1 and 0 <= epoch - self.warmup_epochs < self.easing_epochs

    def auxiliary_skip_at(self, epoch: int) -> float:
        """Return the weight of the auxiliary skip in this epoch, counted from 0; 0 where there is none.

        Example:
            >>> SearchPlan(auxiliary_skip=True).auxiliary_skip_at(80), SearchPlan().auxiliary_skip_at(80)
            (0.6, 0.0)
        """
        return 1 - epoch / self.epochs if self.auxiliary_skip else 0.0

    @property
    def rule(self) -> StabilityRule:
        """The pruning rule with its threshold tied to the architecture's learning rate and steps."""
        window = StabilityRule.window
        tau = self.tau if self.tau is not None else drift_threshold(self.resting_drift(window))
        return StabilityRule(tau=tau, window=window, patience=self.patience)

    def resting_drift(self, window: int) -> float:
        """Return the logit drift within a window that counts as standing still.

        The larger of a third of what the optimiser can move in the window, ``drift * window / 3``, and one and a half
        times what it moves at rest by noise alone, a walk of ``n = window * iterations`` steps: ``1.5 lr sqrt(n)``.
        The second matters where an epoch has few steps and each is therefore large. Our choice.
        """
        walk = self.architecture_lr * math.sqrt(window * self.iterations)
        return max(self.drift * window / 3, 1.5 * walk)
