"""Trained hosts: where they lie, how they are read without running their pickle, whether they fit."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

HOST_TRAINERS = ("nnUNetTrainer", "nnUNetTrainerIACHost")
"""Trainers whose finished folds are taken for hosts, in this order."""

FINAL = "checkpoint_final.pth"


@dataclass(frozen=True)
class Host:
    """A trained host.

    Attributes:
        checkpoint: the file it came from.
        weights: its ``state_dict``.
    """

    checkpoint: Path
    weights: Mapping[str, torch.Tensor]


def host_candidates(
    results: Path, dataset: str, plans_names: Sequence[str], configuration: str, fold: int | str
) -> list[Path]:
    """Return where a trained host may lie, best first."""
    return [
        results / dataset / f"{trainer}__{plans}__{configuration}" / f"fold_{fold}" / FINAL
        for plans in plans_names
        for trainer in HOST_TRAINERS
    ]


def find_host(candidates: Sequence[Path]) -> Path:
    """Return the first candidate that exists.

    Raises:
        FileNotFoundError: if none does; the message says where it was looked for and what to run.
    """
    for path in candidates:
        if path.is_file():
            return path
    unfinished = [str(p.parent) for p in candidates if p.with_name("checkpoint_latest.pth").is_file()]
    hint = f" A training in {unfinished[0]} is not finished: continue it with --c." if unfinished else ""
    raise FileNotFoundError(
        "host: expected a finished stock training of the same plans, configuration and fold, found none of "
        f"{[str(p) for p in candidates]}.{hint} Train it with nnUNetv2_train … -tr nnUNetTrainer, give weights with "
        "-pretrained_weights, or use -tr nnUNetTrainerIAC, which trains its own host"
    )


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of nnU-Net without running code from it.

    Besides tensors and plain values only the NumPy scalars and the device that nnU-Net itself stores are allowed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, would run other code, or is not a checkpoint of nnU-Net.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: expected the file {path}, found none")
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint: expected a file that holds only tensors and plain values, got {path}: "
            f"{str(error).splitlines()[0]}; it is damaged, or not from nnU-Net 2.8"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, KeyError, OSError) as error:
        raise ValueError(
            f"checkpoint: expected a whole file, got a truncated or damaged one: {path} ({error})"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("network_weights"), dict):
        raise ValueError(
            f'checkpoint: expected an nnU-Net checkpoint with "network_weights", got something else: {path}'
        )
    return checkpoint


def read_host(path: Path, expected: Mapping[str, torch.Tensor], device: torch.device | str = "cpu") -> Host:
    """Read a host's weights and check them, tensor by tensor, against the network they are for.

    Args:
        path: a checkpoint of nnU-Net.
        expected: ``state_dict`` of the network.
        device: where to put the tensors.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read (see :func:`read_checkpoint`) or is of another architecture.
    """
    weights = read_checkpoint(path, device)["network_weights"]
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    if any(key.startswith("cells.") for key in weights):
        raise ValueError(f"host: expected a stock network without cells, got one with cells: {path}")
    missing = sorted(set(expected) - set(weights))
    unknown = sorted(set(weights) - set(expected))
    shapes = [
        f"{key}: expected {tuple(expected[key].shape)}, got {tuple(weights[key].shape)}"
        for key in sorted(set(expected) & set(weights))
        if expected[key].shape != weights[key].shape
    ]
    if missing or unknown or shapes:
        raise ValueError(
            f"host: expected the architecture of the plans, got another one in {path}; missing {_few(missing)}, "
            f"unknown {_few(unknown)}, of another shape {_few(shapes)}. Use the checkpoint of the same plans and "
            "configuration"
        )
    return Host(path, weights)


def _few(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{list(names[:shown])}{more}" if names else "none"


def _safe_globals() -> list[Any]:
    # The function that NumPy's scalars are pickled with, under its name in NumPy 2 and in NumPy 1, whichever is here.
    scalar = np.float32(0).__reduce__()[0]
    return [
        (scalar, "numpy._core.multiarray.scalar"),
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("float16", "float32", "float64", "int32", "int64", "bool")),
        torch.device,
    ]


def results_folder() -> Path:
    """Return ``nnUNet_results``.

    Raises:
        FileNotFoundError: if the variable is not set.
    """
    value = os.environ.get("nnUNet_results")
    if not value:
        raise FileNotFoundError("nnUNet_results: expected the environment variable to name a folder, it is not set")
    return Path(value)
