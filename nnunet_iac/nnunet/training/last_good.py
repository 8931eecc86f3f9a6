"""The last good epoch of a training: what is put back after NaN, and the record that it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.atomic import write_json
from nnunet_iac.cells.health import all_finite
from nnunet_iac.json_files import read_json

RECORD = "restored.json"
"""In the folder of a fold: its training was restored once."""

SCHEMA = 1


@dataclass(frozen=True)
class Restoration:
    """That a training was restored, and what its batches depend on since.

    Attributes:
        epoch: at whose start it is again, counted from 0.
        batches: of the training that were drawn in vain; the streams go on behind them.
        reason: in words.
    """

    epoch: int
    batches: int
    reason: str


def read_restoration(folder: Path) -> Restoration | None:
    """Return what an interrupted training recorded, None if it was never restored.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        if record.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        return Restoration(**record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the record of a restored epoch, got a damaged file ({error}); remove it, then the "
            "training goes on with batches that it may have drawn already"
        ) from error


def write_restoration(folder: Path, restoration: Restoration) -> None:
    """Write the record, whole or not at all."""
    write_json(folder / RECORD, {"schema": SCHEMA, **asdict(restoration)})


def snapshot(trainer: Any) -> dict[str, Any]:
    """Return what nnU-Net's checkpoint holds of a training, in memory on the CPU."""
    content = {
        "network_weights": trainer.cell_network.state_dict(),
        "optimizer_state": trainer.optimizer.state_dict(),
        "grad_scaler_state": None if trainer.grad_scaler is None else trainer.grad_scaler.state_dict(),
        "logging": trainer.logger.get_checkpoint(),
        "_best_ema": trainer._best_ema,
        "current_epoch": trainer.current_epoch,
    }
    return {key: _copied(value) for key, value in content.items()}


def put_back(trainer: Any, content: dict[str, Any]) -> None:
    """Give a training the state of a :func:`snapshot` or a checkpoint of nnU-Net; its batches stay where they are."""
    trainer.cell_network.load_state_dict(content["network_weights"])
    trainer.optimizer.load_state_dict(content["optimizer_state"])
    if trainer.grad_scaler is not None and content["grad_scaler_state"] is not None:
        trainer.grad_scaler.load_state_dict(content["grad_scaler_state"])
    trainer.logger.load_checkpoint(copy.deepcopy(content["logging"]))
    trainer._best_ema = content["_best_ema"]
    trainer.current_epoch = content["current_epoch"]


@contextmanager
def no_bad_step(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Refuse steps along gradients that are NaN or Inf, before they reach a weight.

    Raises:
        FloatingPointError: by the step.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> weight.grad = torch.tensor([torch.nan])
        >>> with no_bad_step(optimizer := torch.optim.SGD([weight], 0.1)):
        ...     optimizer.step()
        Traceback (most recent call last):
        FloatingPointError: gradients: expected finite numbers, got NaN or Inf
        >>> weight.data
        tensor([1.])
    """

    def check(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # Norms are 17 times cheaper than a look at every value; where one overflows, that look decides.
        norms = [torch.linalg.vector_norm(g) for g in gradients]
        if norms and not all_finite([torch.stack(norms)]) and not all_finite(gradients):
            raise FloatingPointError("gradients: expected finite numbers, got NaN or Inf")

    handle = optimizer.register_step_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _copied(value: Any) -> Any:
    """Return a deep copy whose tensors are on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(part) for part in value)
    return copy.deepcopy(value)
