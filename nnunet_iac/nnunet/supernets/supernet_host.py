"""A trained host that a supernet starts from, with what is known about who trained it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.cells.weight_transfer import stock_key
from nnunet_iac.nnunet.files.hosts import read_checkpoint, read_host
from nnunet_iac.nnunet.files.weight_source import sha256_of
from nnunet_iac.nnunet.retrieval.lineage import host_ancestors
from nnunet_iac.zoo.supernet import ElasticUNet


@dataclass(frozen=True, eq=False)
class SupernetHost:
    """A checkpoint of nnU-Net.

    Attributes:
        path: of the file.
        sha256: of the file.
        known: what the checkpoint says: data set, fold, epochs; None where it says nothing.
        ancestors: other data sets that the weights have seen, because the host started from them.
    """

    path: Path
    sha256: str
    known: Mapping[str, Any]
    ancestors: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Where the weights come from, as JSON has it, without folders."""
        return {"file": self.path.name, "sha256": self.sha256, **self.known}

    def load_into(self, supernet: ElasticUNet) -> None:
        """Give the supernet the host's weights.

        Raises:
            ValueError: if the checkpoint is damaged or of another architecture.
        """
        host = read_host(self.path, supernet.state_dict())
        supernet.load_state_dict({stock_key(key): value.float() for key, value in host.weights.items()})
        if not all(bool(torch.isfinite(weight).all()) for weight in supernet.parameters()):
            raise ValueError(f"--host: expected finite weights, got NaN or Inf in {self.path}; take an earlier one")


def supernet_host(path: Path, dataset: str, fold: int | str) -> SupernetHost:
    """Return a host after checking that it may be used for a fold.

    Args:
        path: a checkpoint of nnU-Net.
        dataset: full name of the supernet's.
        fold: of the supernet.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, was not trained on this very data set, or with another fold, whose training
            cases include this fold's validation cases, or if it started from other data sets and nobody knows which:
            whoever retrieves the supernet could not know what else its weights have seen.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--host: expected a checkpoint of nnU-Net, {path} is no file")
    checkpoint = read_checkpoint(path)
    arguments = checkpoint.get("init_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    plans = arguments.get("plans")
    own = plans.get("dataset_name") if isinstance(plans, dict) else None
    epochs, trained_fold = checkpoint.get("current_epoch"), arguments.get("fold")
    if own != dataset or not epochs:
        raise ValueError(
            f"--host: expected one that was trained on {dataset}, got {epochs or 0} epochs on {own}; give the "
            "checkpoint of a finished training, or leave the host out"
        )
    if fold != "all" and str(trained_fold) != str(fold):
        raise ValueError(
            f"--host: expected one that was trained on fold {fold} of {dataset}, got fold {trained_fold}, which has "
            f"seen validation cases of fold {fold}; give the checkpoint of that fold"
        )
    known = {"dataset": own, "fold": None if trained_fold is None else str(trained_fold), "epochs": epochs}
    return SupernetHost(path, sha256_of(path), known, tuple(host_ancestors(path, checkpoint)))
