"""What must hold bit for bit on a CPU: seeds, controls, worker processes."""

from __future__ import annotations

import json

import pytest
import torch
from nnunet_folders import Folders
from tiny_dataset import configure, equal, final_weights, make_trainer, train

from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import configuration_of, genotype_of, read_plans


def weights(folders: Folders, trainer: str, plans: str = "tiny") -> dict[str, torch.Tensor]:
    return final_weights(folders.results / f"{trainer}__{plans}__2d" / "fold_0")


def test_two_runs_with_one_seed_are_the_same(tiny: Folders, finished: Folders) -> None:
    train("nnUNetTrainerIAC")

    name = "nnUNetTrainerIAC__tiny__2d"
    assert (tiny.results / name / "genotype.json").read_text() == (
        finished.results / name / "genotype.json"
    ).read_text()
    assert equal(weights(tiny, "nnUNetTrainerIAC"), weights(finished, "nnUNetTrainerIAC"))


def test_every_artefact_of_a_run_says_its_seed(finished: Folders) -> None:
    model = finished.results / "nnUNetTrainerIAC__tiny__2d"
    checkpoint = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["init_args"]["plans"]

    for plans in (read_plans(model / "plans.json"), checkpoint):
        assert configuration_of(plans, "2d")["iac"]["search"]["seed"] == 0
        assert genotype_of(plans, "2d").origin["seed"] == 0
    assert json.loads((model / "fold_0" / "search_result.json").read_text())["seed"] == 0


def test_another_seed_gives_other_weights(tiny: Folders, finished: Folders) -> None:
    configure("seed1", "search.seed=1")
    train("nnUNetTrainerIAC", plans="seed1")

    assert not equal(weights(tiny, "nnUNetTrainerIAC", "seed1"), weights(finished, "nnUNetTrainerIAC"))


def test_with_identity_cells_the_run_is_a_stock_training_of_that_length(tiny: Folders) -> None:
    configure("total", "host.epochs=4")
    train("nnUNetTrainerIACHost", plans="total")
    train("nnUNetTrainerIACIdentity")

    assert equal(weights(tiny, "nnUNetTrainerIACIdentity"), weights(tiny, "nnUNetTrainerIACHost", "total"))


def test_until_the_cells_come_in_searched_and_random_runs_train_one_host(tiny: Folders, finished: Folders) -> None:
    configure("cells_only", "training.freeze_host=true")
    for trainer in ("nnUNetTrainerIAC", "nnUNetTrainerIACRandom"):
        train(trainer, plans="cells_only")

    searched, drawn = (weights(tiny, t, "cells_only") for t in ("nnUNetTrainerIAC", "nnUNetTrainerIACRandom"))
    host = [key for key in searched if not key.startswith("cells.")]
    assert host and all(torch.equal(searched[key], drawn[key]) for key in host)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # batchgenerators' _finish
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_do_not_change_the_batches(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    expected = first_batches()
    monkeypatch.setenv("nnUNet_n_proc_DA", str(workers))

    for here, there in zip(expected, first_batches(), strict=True):
        assert torch.equal(here["data"], there["data"])
        assert all(torch.equal(a, b) for a, b in zip(here["target"], there["target"], strict=True))
        assert list(here["keys"]) == list(there["keys"])


def first_batches(count: int = 5) -> list[dict]:
    trainer = make_trainer("nnUNetTrainerIAC")
    trainer.initialize()
    streams = trainer.get_dataloaders()
    try:
        return [next(stream) for stream in streams for _ in range(count)]
    finally:
        for stream in streams:
            if hasattr(stream, "_finish"):
                stream._finish()
