"""Which data sets the weights of a training have seen besides its own: those of what it started from.

Whoever leaves a data set out (a retrieval, a benchmark) has to leave out all weights that have seen it. What a training
started from stands in files beside it, not in its checkpoint. Weights that nnU-Net was given with
``-pretrained_weights`` leave no trace anywhere; nobody can know of them here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.model_folder import CHOICE, RECORD, RETRIEVAL
from nnunet_iac.nnunet.files.weights import PROVENANCE
from nnunet_iac.nnunet.pretraining.pretrained_encoder import find_pretrained
from nnunet_iac.nnunet.retrieval.retrieved_trainer import find_retrieval
from nnunet_iac.nnunet.training.host_source import load_host_source


def ancestors_of_fold(fold: Path) -> list[str]:
    """Return the data sets of the search and of the retrieval that a fold started from, sorted; none if there is none.

    Raises:
        ValueError: if a record is damaged.
    """
    return sorted({*_lineage(fold / CHOICE), *_lineage(fold.parent / RETRIEVAL / RECORD)})


def host_ancestors(path: Path, checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the data sets that a host's weights have seen besides its own, sorted.

    Args:
        path: of the checkpoint, where nnU-Net wrote it: ``results/DATASET/MODEL/fold_F/checkpoint_final.pth``.
        checkpoint: its content.

    Raises:
        ValueError: if its trainer starts from other data sets, and the record of which is missing or damaged.
    """
    fold = path.absolute().parent
    found = set(ancestors_of_fold(fold))
    trainer = str(checkpoint.get("trainer_name"))
    if trainer in _RECORDS:
        try:
            found |= _RECORDS[trainer](fold, checkpoint)
        except (FileNotFoundError, KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"--host: expected the record of what {trainer} started from near {path.name}, got none ({error}); "
                "without it nobody knows which data sets its weights have seen: give the checkpoint in the folder "
                "where it was trained, or another host"
            ) from error
    source = load_host_source(fold)
    if source is not None and source.checkpoint is not None and Path(source.checkpoint).is_file():
        host = Path(source.checkpoint)
        found |= set(host_ancestors(host, read_checkpoint(host)))
    return sorted(found)


def _of_transfer(fold: Path, _: Mapping[str, Any]) -> set[str]:
    return set(map(str, read_object(fold / CHOICE)["lineage"]))


def _of_auto(fold: Path, _: Mapping[str, Any]) -> set[str]:
    return set(map(str, read_object(fold.parent / RETRIEVAL / RECORD).get("lineage", ())))


def _of_retrieval(fold: Path, checkpoint: Mapping[str, Any]) -> set[str]:
    known = checkpoint["init_args"]
    folder = find_retrieval(fold.parents[2], known["plans"], known["configuration"])
    return set(map(str, read_object(folder / RECORD).get("lineage", ())))


def _of_pretraining(fold: Path, checkpoint: Mapping[str, Any]) -> set[str]:
    """Return the data sets of a pretraining; pictures of a folder that is no data set of nnU-Net have no name."""
    known = checkpoint["init_args"]
    encoder = read_checkpoint(find_pretrained(fold.parents[2], known["plans"], known["configuration"]))
    return set(map(str, encoder[PROVENANCE]["pretraining"]["task"].get("datasets", ())))


_RECORDS: Mapping[str, Callable[[Path, Mapping[str, Any]], set[str]]] = MappingProxyType(
    {
        "nnUNetTrainerMedNNS": _of_retrieval,
        "nnUNetTrainerIACAuto": _of_auto,
        "nnUNetTrainerIACTransfer": _of_transfer,
        "nnUNetTrainerIACTransferSearch": _of_transfer,
        "nnUNetTrainerPretrainedEncoder": _of_pretraining,
    }
)
"""Trainers that start from other data sets, and where that stands."""


def _lineage(path: Path) -> list[str]:
    return list(map(str, read_object(path).get("lineage", ()))) if path.is_file() else []
