"""Trained hosts: where they lie, how they are read without running their pickle, whether they fit."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_iac.search.whole_files import check_whole

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


def read_checkpoint(path: Path, device: torch.device | str = "cpu", *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net without running code from it.

    Besides tensors and plain values only the NumPy scalars and the device that nnU-Net itself stores are allowed.

    Args:
        path: the file.
        device: where to put the tensors.
        trust: read a file with other objects all the same, as old ones have them; it can run any command then, and
            standard error says so.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, would run other code, or is not a checkpoint of nnU-Net.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: expected the file {path}, found none")
    try:
        checkpoint = _plain_content(path, device)
    except pickle.UnpicklingError as error:
        if not trust:
            raise ValueError(
                f"checkpoint: expected a file that holds only tensors and plain values, got {path}: "
                f"{str(error).splitlines()[0]}; it is damaged, or not from nnU-Net 2.8. If it is an old file of "
                "somebody whom you trust: nnunet-iac transfer, score, select, distance and zoo add read it with "
                "--trust, which lets the file run any command as you"
            ) from error
        checkpoint = _unpickled(path, device)
    weights = checkpoint.get("network_weights") if isinstance(checkpoint, dict) else None
    if not isinstance(checkpoint, dict) or not isinstance(weights, dict):
        raise ValueError(
            f'checkpoint: expected an nnU-Net checkpoint with "network_weights", got something else: {path}'
        )
    if wrong := sorted(str(key) for key, value in weights.items() if not _is_weight(key, value)):
        raise ValueError(
            f"checkpoint: expected tensors only in network_weights, each with all its numbers, got others at "
            f"{wrong[:3]} in {path}; take another checkpoint"
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


def _plain_content(path: Path, device: torch.device | str) -> Any:
    try:
        if zipfile.is_zipfile(path):  # not so before PyTorch 1.6
            check_whole(path)
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, PermissionError):
        raise
    except Exception as error:  # zipfile and torch.load raise many kinds for damaged files
        raise _damaged(path, error) from error


def _unpickled(path: Path, device: torch.device | str) -> Any:
    print(
        f"WARNING: --trust: {path} is unpickled. Whoever wrote it can run any command on this machine with your "
        "rights; what it holds is not checked",
        file=sys.stderr,
        flush=True,
    )
    try:
        return torch.load(path, map_location=device, weights_only=False)
    except Exception as error:  # whatever the file raises
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"checkpoint: expected a whole file, got a truncated or damaged one: {path} ({reason}); copy it again, or take "
        "another checkpoint"
    )


def _is_weight(key: object, value: object) -> bool:
    """Whether it is a named tensor whose numbers are all there: an expanded one may claim any size."""
    if not isinstance(key, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


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
