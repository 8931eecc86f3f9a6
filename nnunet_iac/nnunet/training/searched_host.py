"""The host of a search: in its state if it was searched jointly, else in one of the checkpoints around it.

A frozen host is taken from the checkpoint whose host is the searched one, bit for bit; where the training after the
search has moved it, from ``search_host.safetensors`` (``search.keep_host``) or, if that was not kept, as the training
left it, and the words say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from nnunet_iac.cells.weight_transfer import stock_key, unique_tensors
from nnunet_iac.nnunet.files.hosts import FINAL, read_checkpoint
from nnunet_iac.nnunet.training.cell_search import HOST
from nnunet_iac.nnunet.training.host_source import load_host_source
from nnunet_iac.zoo.weights_files import from_bytes

CELLS = "cells."
"""Start of the names of the cells' tensors; the others are the host's."""

CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
"""Checkpoints of a fold, the one to take after a search first."""


@dataclass(frozen=True)
class SearchedHost:
    """The host of a search.

    Attributes:
        tensors: each once, under their stock names.
        file: that they were in, without folder.
        words: whether they are what the search saw.
    """

    tensors: dict[str, torch.Tensor]
    file: str
    words: str


def joint_host(weights: Mapping[str, torch.Tensor], network: nn.Module, file: str) -> SearchedHost:
    """Return the host that was trained with the cells.

    Args:
        weights: of the whole network, as the search's state has them.
        network: the host without cells; on the ``meta`` device it costs nothing.
        file: what an error calls them.

    Raises:
        ValueError: if they are not those of the network.
    """
    return SearchedHost(_fitting(weights, network, file), file, "trained with the cells in the search")


def searched_host(fold: Path, digest: str, network: nn.Module) -> SearchedHost:
    """Return the host that a search saw frozen, or what the training after it made of it.

    Args:
        fold: the folder.
        digest: of the host as the search saw it.
        network: see :func:`joint_host`.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if one is damaged, or not of the network.
    """
    given = load_host_source(fold)
    elsewhere = [] if given is None or given.checkpoint is None else [Path(given.checkpoint)]
    later: SearchedHost | None = None
    for path in (fold / HOST, *elsewhere, *(fold / name for name in CHECKPOINTS)):
        if not path.is_file():
            continue
        tensors = _fitting(_weights(path), network, path.name)
        if _digest(tensors, network) == digest:
            return SearchedHost(tensors, path.name, "as the search saw it")
        if later is None and path.parent == fold and path.name in CHECKPOINTS:
            later = SearchedHost(tensors, path.name, "trained on after the search")
    if later is None:
        raise FileNotFoundError(
            f"search: expected the host of the search in {[HOST, *CHECKPOINTS]} of {fold} or where host.json says, "
            "found none; restore the checkpoint"
        )
    return later


def _weights(path: Path) -> dict[str, torch.Tensor]:
    if path.name == HOST:
        return from_bytes(path.read_bytes())
    weights = read_checkpoint(path)["network_weights"]
    return {stock_key(key): value for key, value in weights.items()}


def _fitting(weights: Mapping[str, torch.Tensor], network: nn.Module, file: str) -> dict[str, torch.Tensor]:
    """Return the host's tensors, each once."""
    expected = unique_tensors(network)
    wrong = [name for name, value in expected.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise ValueError(
            f"search: expected the host of the model's plans in {file}, {len(wrong)} tensor(s) are missing or of "
            f"another shape, the first is {wrong[0]}; checkpoint and plans.json are of different runs"
        )
    return {name: weights[name] for name in expected}


def _digest(tensors: Mapping[str, torch.Tensor], network: nn.Module) -> str:
    """Return :meth:`CellUNet.host_digest` of these tensors: shared ones count under each of their names."""
    first = {id(value): name for name, value in unique_tensors(network).items()}
    digest = hashlib.sha256()
    for value in network.state_dict(keep_vars=True).values():
        digest.update(tensors[first[id(value)]].contiguous().numpy().tobytes())
    return digest.hexdigest()
