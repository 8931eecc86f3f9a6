"""Pretraining of a plan's encoder that watches the target's images and stops when their robustness does not improve.

After each epoch the encoder is scored on patches of the target (:mod:`nnunet_iac.robustness`); the weights of the best
epoch are written as a checkpoint for ``-pretrained_weights``, with a decoder that nobody trained. The loss promises
less pretraining at a known regret, not a better start than full pretraining
(:mod:`nnunet_iac.robustness.yardsticks`); the random initialisation is scored too, as epoch 0, and never chosen.

Everything that a killed run needs is in one file (:mod:`nnunet_iac.nnunet.files.run_state`), written whole after each
epoch; checkpoint and curve follow from it. On a CPU a run that was killed and continued is bit-equal to one that was
not. Computed in single precision, also on CUDA, where nnU-Net trains in half: a plan's batch takes more memory there.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import trange

from nnunet_iac.atomic import write_json, write_text
from nnunet_iac.cells.health import Finding, all_finite, find_source
from nnunet_iac.nnunet.files.run_state import SCHEMA, damaged, read_state, remove_leftovers, write_state
from nnunet_iac.nnunet.files.weights import WeightTarget, build_network, write_weights
from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT, CURVE, FILES, RESULT, STATE
from nnunet_iac.nnunet.pretraining.pretraining_plan import PretrainingPlan, PretrainingResult, Task, Watch
from nnunet_iac.robustness.selection import OnlineState, update


class Pretraining:
    """The run: network, heads, optimiser and what was seen so far.

    Args:
        target: the network that is to be initialised.
        task: what it learns from.
        plan: how long.
        watch: returns the robustness loss of an encoder on the target's images.
        folder: for all files. It must exist: one that disappears is not made again, so that the run ends and says so.
        device: where to train.
    """

    def __init__(
        self,
        target: WeightTarget,
        task: Task,
        plan: PretrainingPlan,
        watch: Watch,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.target, self.task, self.plan, self.watch, self.folder = target, task, plan, watch, folder
        self.device = device
        network: Any = build_network(target, plan.seed)
        features, outputs = (int(network.encoder.output_channels[level]) for level in (-1, 0))
        network.decoder.deep_supervision = False
        # The heads take the place of the segmentation layers.
        network.decoder.seg_layers[-1] = nn.Identity()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            self.heads = task.heads(features, outputs).to(device)
        self.network = network.to(device)
        parameters = [*self.network.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.SGD(
            parameters, plan.learning_rate, momentum=0.99, nesterov=True, weight_decay=plan.weight_decay
        )
        self.epoch = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self.training_losses: list[float] = []
        self.seen = OnlineState(plan.stopping)
        self.best: dict[str, torch.Tensor] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What a state must agree on to be continued: all but when to stop and where to compute."""
        plan, target = asdict(self.plan), self.target
        del plan["rule"], plan["full"]
        return {
            "plan": {**plan, "smoothing": self.plan.rule.smoothing},
            "task": self.task.description,
            "watch": self.watch.description,
            "target": {**self._place, "architecture": target.architecture, "channels": target.inputs},
        }

    def run(self, log: Callable[[str], None] = print) -> PretrainingResult:
        """Train until the plan or the rule ends it, and return how it went.

        Raises:
            FloatingPointError: if a loss, a gradient or a weight is not finite, with the source (see
                :mod:`nnunet_iac.cells.health`); the state of the epoch before is whole.
        """
        if not self.losses:
            self._start(log)
        while self.epoch < self.plan.epochs and not self.seen.stopped:
            self._run_epoch(log)
        result = self._result()
        content = {"plan": asdict(self.plan), "task": self.task.description, "watch": self.watch.description}
        more = {**content, "target": self._place, "unreadable": self.task.unreadable}
        write_json(self.folder / RESULT, {"schema": SCHEMA, **asdict(result), **more})
        return result

    def resume(self) -> bool:
        """Go on where a run in this folder was stopped; return whether there was one.

        Raises:
            ValueError: if that run was another one, or its state is damaged.
        """
        state = read_state(self.folder / STATE, self.identity, self.device)
        if state is None:
            return False
        try:
            self._load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(self.folder / STATE, error) from error
        # A kill may have come between the state and the files that follow from it, or while one was written.
        remove_leftovers(self.folder, FILES)
        self._write_checkpoint()
        self._write_curve()
        return True

    def _start(self, log: Callable[[str], None]) -> None:
        started = time.perf_counter()
        first = self.watch(self.network.encoder)
        self.losses, self.seconds = [first], time.perf_counter() - started
        self.seen = replace(self.seen, initial_loss=first)
        log(f"epoch 0 (random weights): robustness loss {first:.4f}")

    def _run_epoch(self, log: Callable[[str], None]) -> None:
        started = time.perf_counter()
        mean = self._train_epoch()
        loss = self.watch(self.network.encoder)
        self.epoch += 1
        self.losses.append(loss)
        self.training_losses.append(mean)
        self.seen, decision = update(self.seen, loss)
        if decision.improved:
            self.best = copy.deepcopy(self.network.encoder).cpu().state_dict()
        self.seconds += time.perf_counter() - started
        self._save()
        if decision.improved:
            self._write_checkpoint()
        self._write_curve()
        best = " (best so far)" if decision.improved else ""
        log(f"epoch {self.epoch}: training loss {mean:.4f}, robustness loss {loss:.4f}{best}")

    def _train_epoch(self) -> float:
        """Train an epoch and return its mean loss; what a layer such as dropout draws depends on the epoch alone."""
        plan, network = self.plan, self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * (1 - self.epoch / plan.epochs) ** 0.9
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence((plan.seed, self.epoch)).generate_state(1)[0]))
            steps = trange(plan.iterations, desc=f"epoch {self.epoch + 1}", leave=False, disable=None)
            total = sum(self._step(self.epoch * plan.iterations + step) for step in steps)
        if not all_finite(network.parameters()):
            raise self._diverged("weights", math.nan)
        return total / plan.iterations

    def _step(self, index: int) -> float:
        number, images, targets = self.task.batch(index)
        batch = (number, images.to(self.device), targets.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.task.loss(self.network, list(self.heads), batch)
        if not math.isfinite(value := float(loss.detach())):
            raise self._diverged("loss", value, batch)
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, 12))
        if not math.isfinite(norm):
            raise self._diverged("gradients", norm, batch)
        self.optimizer.step()
        return value

    def _diverged(self, what: str, value: float, batch: tuple[int, Any, Any] | None = None) -> FloatingPointError:
        source = "" if batch is None else f" {self._source(batch)}."
        return FloatingPointError(
            f"{what}: expected finite numbers, got {value} in epoch {self.epoch + 1}; the state of epoch {self.epoch} "
            f"is whole.{source} Start anew (--overwrite) with a lower --learning-rate, or look for NaN in the images"
        )

    def _source(self, batch: tuple[int, Any, Any]) -> Finding:
        together = nn.ModuleDict({"network": self.network, "heads": self.heads})
        seen = {"data": batch[1], "target": batch[2]}
        return find_source(together, lambda: self.task.loss(self.network, list(self.heads), batch), seen)

    @property
    def _place(self) -> dict[str, Any]:
        plans = self.target.plans
        return {
            "dataset": plans.get("dataset_name"),
            "plans": plans.get("plans_name"),
            "configuration": self.target.configuration,
        }

    def _write_checkpoint(self) -> None:
        fresh: Any = build_network(self.target, self.plan.seed)
        fresh.encoder.load_state_dict(self.best)
        epoch = self.seen.best_check
        origin = {"task": self.task.description, "watch": self.watch.description, "target": self._place}
        how = {"seed": self.plan.seed, "epoch": epoch, "robustness_loss": self.losses[epoch]}
        write_weights(self.folder / CHECKPOINT, fresh, self.target, {"pretraining": {**origin, **how}})

    def _write_curve(self) -> None:
        rows = zip(self.losses, [None, *self.training_losses], strict=True)
        lines = [
            json.dumps({"epoch": epoch, "robustness_loss": loss, "training_loss": training})
            for epoch, (loss, training) in enumerate(rows)
        ]
        write_text(self.folder / CURVE, "\n".join(lines) + "\n")

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "losses": self.losses,
            "training_losses": self.training_losses,
            "seen": json.dumps(self.seen.to_json()),
            "unreadable": dict(self.task.unreadable),
        }
        write_state(self.folder / STATE, self.identity, content)

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = {key: value.cpu() for key, value in state["best"].items()}
        self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])
        self.losses, self.training_losses = list(state["losses"]), list(state["training_losses"])
        self.seen = replace(OnlineState.from_json(json.loads(state["seen"])), rule=self.plan.stopping)
        self.task.unreadable.update(state["unreadable"])

    def _result(self) -> PretrainingResult:
        return PretrainingResult(
            epochs=self.epoch,
            best_epoch=self.seen.best_check,
            losses=tuple(self.losses),
            training_losses=tuple(self.training_losses),
            stopped_early=self.seen.stopped,
            beats_initialisation=bool(self.seen.beats_initialisation),
            seconds=round(self.seconds, 2),
        )
