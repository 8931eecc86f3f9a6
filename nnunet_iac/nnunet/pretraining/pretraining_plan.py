"""What a pretraining is: its task, what watches it, how long it takes, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn

from nnunet_iac.robustness.selection import StoppingRule


class Task(Protocol):
    """What the encoder learns from."""

    unreadable: dict[str, str]

    @property
    def description(self) -> dict[str, Any]:
        """What a state must agree on to be continued, as JSON has it; without paths, it goes into the checkpoint."""

    def heads(self, features: int, outputs: int) -> nn.ModuleList:
        """Return the layers behind the network: ``features`` deepest, ``outputs`` last channels of the decoder."""

    def batch(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Return the head's number, images and targets of a batch, a function of the index alone."""

    def loss(self, network: nn.Module, heads: Sequence[nn.Module], batch: tuple[int, Any, Any]) -> torch.Tensor:
        """Return the loss of a batch on the network's device."""


class Watch(Protocol):
    """What says how good the encoder is."""

    @property
    def description(self) -> dict[str, Any]:
        """What a state must agree on to be continued, as JSON has it; without paths."""

    def __call__(self, encoder: nn.Module) -> float:
        """Return the robustness loss; lower is more robust."""


@dataclass(frozen=True)
class PretrainingPlan:
    """How long and how to pretrain; the optimiser is nnU-Net's, SGD with Nesterov momentum 0.99 and poly decay.

    Attributes:
        epochs: the full length.
        iterations: steps of an epoch.
        learning_rate: initial.
        weight_decay: of all weights.
        rule: when to stop, and how losses are smoothed.
        full: train the full length, whatever the rule says. A run that stopped early can be continued with it.
        seed: of weights and batches.

    Raises:
        ValueError: if a number is out of range.
    """

    epochs: int = 100
    iterations: int = 50
    learning_rate: float = 1e-2
    weight_decay: float = 3e-5
    rule: StoppingRule = field(default_factory=StoppingRule)
    full: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.iterations < 1 or not 0 < self.learning_rate < math.inf or self.seed < 0:
            raise ValueError(
                "epochs, iterations, learning rate, seed: expected positive numbers and a seed from 0, got "
                f"{self.epochs}, {self.iterations}, {self.learning_rate} and {self.seed}"
            )

    @property
    def stopping(self) -> StoppingRule:
        """The rule, or one that waits longer than the full length."""
        return replace(self.rule, patience=self.epochs) if self.full else self.rule


@dataclass(frozen=True)
class PretrainingResult:
    """How a pretraining ended.

    Attributes:
        epochs: that were trained.
        best_epoch: whose weights were written, counted from 1.
        losses: robustness loss of epoch 0 (random weights), 1, ...; lower is more robust.
        training_losses: mean training loss of epoch 1, 2, ...
        stopped_early: whether patience ran out.
        beats_initialisation: whether the best loss is below that of random weights.
        seconds: of training and scoring.
    """

    epochs: int
    best_epoch: int
    losses: tuple[float, ...]
    training_losses: tuple[float, ...]
    stopped_early: bool
    beats_initialisation: bool
    seconds: float
