"""What a host started from is followed, or the host is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.weights import PROVENANCE
from nnunet_iac.nnunet.retrieval.lineage import host_ancestors
from nnunet_iac.nnunet.supernets.supernet_host import supernet_host

PLANS = {"dataset_name": DATASET, "plans_name": "small", "configurations": {}}


def host(results: Path, trainer: str, **more: Any) -> Path:
    """A checkpoint that says who trained it, where nnU-Net writes it; there are no weights in it."""
    path = results / DATASET / f"{trainer}__small__2d" / "fold_0" / "checkpoint_final.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"plans": PLANS, "configuration": "2d", "fold": 0}
    torch.save({"trainer_name": trainer, "init_args": known, "current_epoch": 5, "network_weights": {}, **more}, path)
    return path


def lineage(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"lineage": list(names)})


@pytest.mark.parametrize(
    ("trainer", "record"),
    [
        ("nnUNetTrainerMedNNS", "retrieval__small__2d/retrieval.json"),
        ("nnUNetTrainerIACAuto", "nnUNetTrainerIACAuto__small__2d/retrieval/retrieval.json"),
        ("nnUNetTrainerIACTransfer", "nnUNetTrainerIACTransfer__small__2d/fold_0/transfer.json"),
        ("nnUNetTrainerPretrainedEncoder", "pretraining__small__2d/checkpoint_pretrained.pth"),
    ],
)
def test_the_data_sets_that_a_host_started_from_are_known_or_it_is_refused(
    tmp_path: Path, trainer: str, record: str
) -> None:
    path, place = host(tmp_path, trainer), tmp_path / DATASET / record

    with pytest.raises(ValueError, match=f"--host: expected the record of what {trainer} started from"):
        supernet_host(path, DATASET, 0)

    if place.suffix == ".pth":
        place.parent.mkdir()
        task = {"datasets": {"Dataset002_B": 4, "Dataset001_A": 9}}
        torch.save({"network_weights": {}, PROVENANCE: {"pretraining": {"task": task}}}, place)
    else:
        lineage(place, "Dataset002_B", "Dataset001_A")
    assert supernet_host(path, DATASET, 0).ancestors == ("Dataset001_A", "Dataset002_B")


def test_a_stock_host_has_no_ancestors_and_one_with_cells_those_of_its_own_host(tmp_path: Path) -> None:
    stock = host(tmp_path, "nnUNetTrainer")
    assert supernet_host(stock, DATASET, 0).ancestors == ()

    first = host(tmp_path, "nnUNetTrainerMedNNS")
    lineage(tmp_path / DATASET / "retrieval__small__2d" / "retrieval.json", "Dataset001_A")
    implanted = host(tmp_path, "nnUNetTrainerIACImplant")
    source = {"checkpoint": str(first), "epochs": 0, "heads_only": False, "message": "weights"}
    write_json(implanted.parent / "host.json", source)
    assert host_ancestors(implanted, torch.load(implanted, weights_only=False)) == ["Dataset001_A"]
