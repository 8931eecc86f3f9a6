"""nnU-Net's loop over epochs, with an eye on NaN: named at its source, the last good epoch restored once, then stopped.

A loss that is NaN or Inf is seen in the step that has it; on a CPU such a gradient too, before it reaches a weight. On
CUDA nnU-Net's scaler already skips such a step. An overflow of half precision alone is therefore said, not restored:
the weights are whole, and the next step has a lower scale. Under DDP the processes decide together at the end of the
epoch.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.cells.health import Finding, all_finite, find_source
from nnunet_iac.cells.module_names import in_words
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import with_seed
from nnunet_iac.nnunet.training.cell_trainer import CellTrainer
from nnunet_iac.nnunet.training.determinism import with_deterministic_entropy
from nnunet_iac.nnunet.training.last_good import (
    RECORD,
    Restoration,
    no_bad_step,
    put_back,
    read_restoration,
    snapshot,
    write_restoration,
)
from nnunet_iac.nnunet.training.training_data import training_streams
from nnunet_iac.search import ranks

LATEST = "checkpoint_latest.pth"

SMALLEST_SCALE = 2.0**-24
"""Of nnU-Net's scaler, our choice: it begins at 2^16 and halves at each overflow; a sound training is far above."""


class EpochTrainer(CellTrainer):
    """The epochs of a training, host or cells.

    A restored training goes on with other batches, and remembers both over a kill: ``--c`` gives the weights of an
    uninterrupted run.

    Attributes:
        restores: whether the last good epoch is restored once; else NaN stops the training.
    """

    restores: ClassVar[bool] = True
    _restored: Restoration | None = None
    _start: dict[str, Any] | None = None
    _bad: str | None = None
    _drawn = 0
    _overflowed = -1

    def on_train_start(self) -> None:
        """Start as nnU-Net does, behind the batches that an earlier process drew in vain."""
        found = read_restoration(self._fold_folder) if self.resume else None
        self._restored = found if found is not None and found.epoch <= self.current_epoch else None
        if not self.resume and self.local_rank == 0:
            (self._fold_folder / RECORD).unlink(missing_ok=True)
        self._note_seed()
        super().on_train_start()

    def _note_seed(self) -> None:
        """Let the plans that checkpoints and the model folder carry say the seed, also where it is the default."""
        plans = with_seed(self.plans_manager.plans, self.configuration_name, self.settings.search.seed)
        self.plans_manager = PlansManager(plans)
        self.my_init_kwargs["plans"] = plans

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Return seeded streams of nnU-Net's batches, from the current epoch on."""
        skipped = 0 if self._restored is None else self._restored.batches
        return training_streams(self, self.settings, self.host_epochs, skipped=skipped)

    def _build_loss(self) -> Any:
        """Return nnU-Net's loss; ``training.deterministic`` takes another form of its cross-entropy on CUDA."""
        loss = super()._build_loss()
        wanted = self.settings.training.deterministic and self.device.type == "cuda"
        return with_deterministic_entropy(loss) if wanted else loss

    # --- the loop -----------------------------------------------------------------------------------------------

    def _run_epochs(self, end: int) -> None:
        """nnU-Net's loop, up to epoch ``end``."""
        first = self.current_epoch
        while self.current_epoch < end:
            # Later epochs find the checkpoint of the epoch before.
            self._start = snapshot(self) if self.current_epoch == first or self.disable_checkpointing else None
            try:
                self._run_epoch()
            except FloatingPointError as error:
                self._restore_once(error)
        self._start = None

    def _run_epoch(self) -> None:
        self._drawn, self._bad = 0, None
        self.on_epoch_start()
        self.on_train_epoch_start()
        self.on_train_epoch_end([self._train_on_next() for _ in range(self.num_iterations_per_epoch)])
        with torch.no_grad():
            self.on_validation_epoch_start()
            losses = [self.validation_step(next(self.dataloader_val)) for _ in range(self.num_val_iterations_per_epoch)]
            self.on_validation_epoch_end(losses)
        self.on_epoch_end()

    def _train_on_next(self) -> dict[str, Any]:
        batch = next(self.dataloader_train)
        self._drawn += 1
        return self.train_step(batch)

    def on_epoch_start(self) -> None:
        """Set the epoch's iterations."""
        host = self.current_epoch < self.host_epochs
        self.num_iterations_per_epoch = self.settings.host.iterations if host else self.settings.training.iterations
        super().on_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Start the epoch as nnU-Net does, then freeze what it does not train."""
        super().on_train_epoch_start()
        self._freeze()
        self._agree_on_what_is_trained()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Train as nnU-Net does; the loss alone where nothing is to be trained (a frozen host without cells).

        Raises:
            FloatingPointError: if loss or gradients are NaN or Inf, with the source.
        """
        try:
            output = self._step(batch)
        except FloatingPointError as error:
            raise FloatingPointError(self._told(str(error), self._source_of(batch))) from error
        if not np.isfinite(output["loss"]):
            self._meet(float(output["loss"]), batch)
        return output

    def _step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if any(p.requires_grad for p in self.cell_network.parameters()):
            with no_bad_step(self.optimizer) if self.grad_scaler is None else nullcontext():
                return dict(super().train_step(batch))
        with torch.no_grad():
            return {"loss": self.validation_step(batch)["loss"]}

    # --- what is not finite -------------------------------------------------------------------------------------

    def _meet(self, loss: float, batch: dict[str, Any]) -> None:
        """Stop at a loss that is not finite; go on where nnU-Net's scaler has dealt with it."""
        if self._bad is not None or self._overflowed == self.current_epoch:
            return
        finding = self._source_of(batch)
        text = self._told(f"loss: expected a finite number, got {loss}", finding)
        if self.grad_scaler is not None and finding.kind == "half precision":
            self._overflowed = self.current_epoch
            self.print_to_log_file(f"WARNING: {text}. nnU-Net's scaler skipped the step; the weights are whole")
        elif self.is_ddp:
            self._bad = text  # the others do not know yet
        else:
            raise FloatingPointError(text)

    def _source_of(self, batch: dict[str, Any]) -> Finding:
        half = partial(torch.autocast, "cuda") if self.device.type == "cuda" else None
        network = self.cell_network

        def compute() -> torch.Tensor:
            target = batch["target"]
            moved = [t.to(self.device) for t in target] if isinstance(target, list) else target.to(self.device)
            loss: torch.Tensor = self.loss(network(batch["data"].to(self.device)), moved)
            return loss

        # The other processes may have no reason to look.
        with ranks.alone(network, self.loss):
            return find_source(network, compute, batch, half=half)

    def _told(self, what: str, finding: Finding) -> str:
        return f"{what} in epoch {self.current_epoch}, step {self._drawn}. {finding}. {finding.advice}"

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """End the epoch as nnU-Net does.

        Raises:
            FloatingPointError: on all processes, if a loss of one of them, a weight, or every loss of the epoch is
                NaN or Inf; the checkpoint is not touched.
        """
        super().on_train_epoch_end(train_outputs)
        found = [text for text in ranks.gather(self._bad or self._bad_epoch(train_outputs)) if text is not None]
        if found:
            raise FloatingPointError(found[0])

    def _bad_epoch(self, train_outputs: list[dict[str, Any]]) -> str | None:
        network = self.cell_network
        bad = [name for name, p in network.named_parameters() if not all_finite([p])]
        if bad:
            return (
                f"weights: expected finite numbers, got NaN or Inf in epoch {self.current_epoch}, the first in "
                f"{in_words(network, bad[0])}. Lower the learning rate, or look for NaN in the images"
            )
        if not any(np.isfinite(output["loss"]) for output in train_outputs):
            return (
                f"loss: expected finite numbers, got none in epoch {self.current_epoch}. Look for NaN in the images, "
                "or for values far out of their range"
            )
        if self.grad_scaler is not None and self.grad_scaler.get_scale() < SMALLEST_SCALE:
            return (
                f"gradients: expected finite ones in half precision, got NaN or Inf until nnU-Net's scaler fell below "
                f"{SMALLEST_SCALE:.1g} in epoch {self.current_epoch}; nothing is trained any more. Lower the learning "
                "rate, or look for NaN in the images"
            )
        return None

    def _restore_once(self, error: FloatingPointError) -> None:
        """Go back to the start of the epoch, with other batches.

        Raises:
            FloatingPointError: if that was done before, or is not wanted; the checkpoint of the epoch before is whole.
        """
        told = ranks.gather(str(error))
        reason = next((text for text in told if "Source: not " not in text), told[0])
        whole = "The checkpoint of the epoch before is whole"
        if self._restored is not None:
            before = f"epoch {self._restored.epoch} was restored once already ({self._restored.reason})"
            raise FloatingPointError(f"{reason}. {whole}; {before}") from error
        content = self._last_good() if self.restores else None
        if content is None or not all_finite(content["network_weights"].values()):
            raise FloatingPointError(f"{reason}. {whole}") from error
        put_back(self, content)
        self._restored = Restoration(self.current_epoch, self._drawn, reason)
        if self.local_rank == 0:
            write_restoration(self._fold_folder, self._restored)
        self.print_to_log_file(
            f"WARNING: {reason}. Restored the start of epoch {self.current_epoch}; the training goes on with other "
            "batches. If it happens again, it stops"
        )

    def _last_good(self) -> dict[str, Any] | None:
        """Return the state at the start of this epoch, None if it is nowhere."""
        path = Path(self.output_folder) / LATEST
        if self._start is not None or not path.is_file():
            return self._start
        content = read_checkpoint(path, self.device)
        return content if content["current_epoch"] == self.current_epoch else None
