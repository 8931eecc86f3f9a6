"""The training of a supernet as a loop that may be killed: one state, written whole after each epoch.

Everything is a function of the seed, the epoch and the step: networks of a step, batches, what a layer draws. On a CPU
a run that was killed and continued is bit-equal to one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import trange

from nnunet_iac.cells.health import all_finite
from nnunet_iac.cells.module_names import in_words
from nnunet_iac.nnunet.files.run_state import damaged, read_state, write_state
from nnunet_iac.search.turns import finish
from nnunet_iac.zoo.distillation import Activation
from nnunet_iac.zoo.shrinking import SupernetPlan
from nnunet_iac.zoo.supernet import ElasticUNet
from nnunet_iac.zoo.supernet_training import Loss, train_step

Log = Callable[[str], None]


@dataclass(frozen=True)
class Lessons:
    """What a supernet learns from.

    Attributes:
        open_batches: ``open(start)`` returns an endless iterator over batches, the first of number ``start``; it may
            have a ``_finish``, which is called when the training is done.
        loss: of outputs and targets under deep supervision.
        activation: what logits mean.
        iterations: steps of an epoch.

    Raises:
        ValueError: if an epoch has no step.
    """

    open_batches: Callable[[int], Iterator[Mapping[str, Any]]]
    loss: Loss
    activation: Activation
    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"--iterations: expected at least 1, got {self.iterations}")


class SupernetRun:
    """One training: supernet, optimiser, and how far it is.

    Args:
        supernet: with its initial weights; it is moved to the device and trained in place.
        plan: how to train it.
        lessons: what it learns from.
        state: file of the state; its folder must exist when it is run.
        identity: what a state must agree on to be continued, besides the plan and the iterations; as JSON has it.
        device: where to train.

    Attributes:
        epoch: epochs that were trained.
        history: for each of them phase, rate, mean losses of the largest and of the smallest network, and seconds.
    """

    def __init__(
        self,
        supernet: ElasticUNet,
        plan: SupernetPlan,
        lessons: Lessons,
        state: Path,
        identity: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self.supernet, self.plan, self.lessons, self.state = supernet.to(device), plan, lessons, state
        self.identity = {**identity, "plan": dict(vars(plan)), "iterations": lessons.iterations}
        self.device = device
        self.optimizer = torch.optim.SGD(
            supernet.parameters(),
            plan.learning_rate,
            momentum=plan.momentum,
            nesterov=plan.momentum > 0,
            weight_decay=plan.weight_decay,
        )
        self.scaler = torch.amp.GradScaler("cuda") if device.type == "cuda" else None
        self.epoch = 0
        self.history: list[dict[str, Any]] = []

    def resume(self) -> bool:
        """Go on where an earlier run was stopped; return whether there was one.

        Raises:
            ValueError: if that run was another one, or its state is damaged.
        """
        state = read_state(self.state, self.identity, self.device)
        if state is None:
            return False
        try:
            self.supernet.load_state_dict(state["supernet"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scaler is not None and state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.history = int(state["epoch"]), json.loads(state["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(self.state, error) from error
        return True

    def run(self, log: Log, until: int | None = None) -> None:
        """Train what is left of the plan; the supernet is in evaluation mode afterwards.

        Args:
            log: receives a line for each epoch.
            until: stop after this many epochs of the plan.

        Raises:
            FloatingPointError: if a gradient or a weight is not finite; the state of the epoch before is whole.
        """
        last = self.plan.epochs if until is None else until
        if self.epoch < last:
            batches: Any = self.lessons.open_batches(self.epoch * self.lessons.iterations)
            try:
                while self.epoch < last:
                    self._run_epoch(batches, log)
            finally:
                finish(batches)
        self.supernet.eval()

    def _run_epoch(self, batches: Iterator[Mapping[str, Any]], log: Log) -> None:
        started, plan, epoch = time.perf_counter(), self.plan, self.epoch
        if plan.sorts_channels_at(epoch):
            self.supernet.sort_channels(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate_at(epoch)
        self.supernet.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence((plan.seed, epoch)).generate_state(1)[0]))
            steps = trange(self.lessons.iterations, desc=f"epoch {epoch + 1}", leave=False, disable=None)
            losses = self._mean([self._step(next(batches), epoch, step) for step in steps])
        self._check_weights()
        self.epoch += 1
        row = {"phase": plan.phase_at(epoch).name, "learning_rate": plan.learning_rate_at(epoch)}
        seconds = round(time.perf_counter() - started, 3)
        self.history.append({"epoch": epoch + 1, **row, "losses": losses.tolist(), "seconds": seconds})
        self._save()
        words = " and ".join(
            f"{loss:.4f} ({name})" for name, loss in zip(("largest", "smallest"), losses, strict=False)
        )
        log(f"epoch {self.epoch} of {plan.epochs} ({row['phase']}): loss {words}, {seconds:.1f} s")

    def _step(self, batch: Mapping[str, Any], epoch: int, step: int) -> list[float]:
        """Train on one batch; return the losses of the largest network and, if it was trained too, the smallest."""
        record = train_step(
            self.supernet,
            self.lessons.loss,
            batch,
            self.plan.configurations(self.supernet.space, epoch, step),
            self.optimizer,
            distillation=self.plan.distillation,
            activation=self.lessons.activation,
            clip=self.plan.clip,
            scaler=self.scaler,
        )
        return list(record.losses[:2])

    def _mean(self, losses: list[list[float]]) -> np.ndarray:
        """Return the mean of the steps that were taken: the scaler of half precision skips one that overflows."""
        finite = [row for row in losses if np.isfinite(row).all()]
        if not finite:
            raise self._diverged("loss", "none of its steps had one")
        return np.mean(finite, axis=0)

    def _check_weights(self) -> None:
        bad = [name for name, weight in self.supernet.named_parameters() if not all_finite([weight])]
        if bad:
            raise self._diverged("weights", f"the first with NaN or Inf is {in_words(self.supernet, bad[0])}")

    def _diverged(self, what: str, seen: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what}: expected finite numbers in epoch {self.epoch + 1}, {seen}; the state of epoch {self.epoch} is "
            "whole. Start anew (--overwrite) with a lower --learning-rate, or look for NaN in the images"
        )

    def _save(self) -> None:
        content = {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": {} if self.scaler is None else self.scaler.state_dict(),
            "epoch": self.epoch,
            "history": json.dumps(self.history),
        }
        write_state(self.state, self.identity, content)
