"""``search.jsonl``: one line for each finished epoch, for reports and for people."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nnunet_iac.atomic import write_text
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.json_files import parse_json
from nnunet_iac.search.stability import Decision

SCHEMA = 1


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a search; axes ``G`` groups, ``E`` edges, ``O`` operations.

    Attributes:
        epoch: counted from 0.
        phase: ``warmup`` (weights only) or ``search`` (weights and architecture).
        seconds: wall-clock of the epoch.
        weight_loss: mean over the epoch's weight steps.
        arch_loss: mean over its architecture steps, None in the warm-up.
        probabilities: ``[G][E][O]``, 0 where pruned.
        edge_weights: ``[G][E]``.
        jsd: ``[G][E]``, None while an edge's window is not full.
        mask: ``[G][E][O]``, 1 for an operation still active after this epoch.
        pruned: ``[group, edge, operation name]`` of what left in this epoch.
        decided: ``[G][E]``.
        active_operations: number of ones in ``mask``.
        dice: of the network after this epoch on data that no step sees, 0 to 1; a line without the key has none.
    """

    epoch: int
    phase: Literal["warmup", "search"]
    seconds: float
    weight_loss: float
    arch_loss: float | None
    probabilities: list[Any]
    edge_weights: list[Any]
    jsd: list[Any]
    mask: list[Any]
    pruned: list[list[Any]]
    decided: list[Any]
    active_operations: int
    schema: int = SCHEMA
    dice: float | None = None


def epoch_record(
    *,
    epoch: int,
    phase: Literal["warmup", "search"],
    seconds: float,
    weight_loss: float,
    arch_loss: float | None,
    probabilities: torch.Tensor,
    edge_weights: torch.Tensor,
    decision: Decision,
) -> EpochRecord:
    """Build the record of one epoch from tensors."""
    return EpochRecord(
        epoch=epoch,
        phase=phase,
        seconds=round(seconds, 3),
        weight_loss=weight_loss,
        arch_loss=arch_loss,
        probabilities=_rounded(probabilities),
        edge_weights=_rounded(edge_weights),
        jsd=[[None if math.isnan(v) else v for v in group] for group in decision.jsd.tolist()],
        mask=decision.mask.int().tolist(),
        pruned=[[g, e, OPERATIONS[o]] for g, e, o in decision.pruned],
        decided=decision.decided.tolist(),
        active_operations=int(decision.mask.sum()),
    )


def append_record(path: Path, record: EpochRecord) -> None:
    """Append one line; a Dice that was not measured is left out."""
    line = {key: value for key, value in asdict(record).items() if key != "dice" or value is not None}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def truncate_records(path: Path, epochs: int) -> None:
    """Keep the lines of the first ``epochs`` epochs; a line torn by a kill goes too.

    The search state is what counts: a line written just before a kill, for an epoch whose state was not saved, is
    written again when that epoch is repeated.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if parse_json(line)["epoch"] < epochs:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_text(path, "".join(line + "\n" for line in kept))


def _rounded(values: torch.Tensor) -> list[Any]:
    # Seven digits are what float32 holds; the file stays half as large.
    return (values.detach().double().cpu() * 1e7).round().div(1e7).tolist()
