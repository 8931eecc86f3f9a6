"""-num_gpus above 1, with two gloo processes on the CPU in the place of two GPUs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as nnunet
import pytest
import torch
from commands import run_together
from nnunet_folders import Folders
from nnunetv2.run.run_training import maybe_load_checkpoint
from tiny_dataset import Killed, configure, environment, equal, final_weights, kill_at, make_trainer

from nnunet_iac.nnunet.cases import batches
from nnunet_iac.nnunet.cases.loaders import RANK_STRIDE
from nnunet_iac.nnunet.training.last_good import read_restoration
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.training.training_data import TRAINING_STREAM

TIMEOUT = 280


def train_rank(name: str, rank: int, store: Path) -> None:
    """What nnU-Net's ``run_ddp`` does in one of two processes, with gloo and the CPU in the place of CUDA."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    nnunet.DDP = lambda network, device_ids: torch.nn.parallel.DistributedDataParallel(network)
    trainer = make_trainer(name)
    trainer.device = torch.device("cpu")
    trainer.grad_scaler = None
    trainer.run_training()
    weights = {key: value.clone() for key, value in trainer.cell_network.state_dict().items()}
    torch.save({"weights": weights, "genotype": trainer.genotype.to_dict()}, f"{store}.rank{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "trainer", ["nnUNetTrainerIAC", pytest.param("nnUNetTrainerIACRandom", marks=pytest.mark.slow)]
)
def test_two_ranks_search_and_train_as_one(tiny: Folders, tmp_path: Path, trainer: str) -> None:
    configure("tiny", "search.validation_iterations=1")
    script = "import sys; from pathlib import Path; from test_several_gpus import train_rank; "
    script += "train_rank(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))"
    words = [[sys.executable, "-c", script, trainer, str(rank), str(tmp_path / "store")] for rank in (0, 1)]
    run_together(words, environment(tiny.base, nnUNet_n_proc_DA="0"), TIMEOUT)

    first, second = (torch.load(tmp_path / f"store.rank{rank}") for rank in (0, 1))
    assert first["genotype"] == second["genotype"] and equal(first["weights"], second["weights"])
    assert any(key.startswith("cells.") for key in first["weights"])
    fold = tiny.results / f"{trainer}__tiny__2d" / "fold_0"
    assert equal(final_weights(fold), first["weights"])
    assert json.loads((fold.parent / "genotype.json").read_text())["2d"] == first["genotype"]
    if trainer == "nnUNetTrainerIAC":
        lines = [json.loads(line) for line in (fold / "search.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines if 0 <= line["dice"] <= 1] == [0, 1, 2, 3]


def train_poisoned_rank(name: str, rank: int, store: Path, *indices: int) -> None:
    """:func:`train_rank`, where these batches of the second rank hold NaN."""
    original = batches.make_batch

    def poisoned(loader: Any, key: tuple[int, ...]) -> dict[str, Any]:
        batch = original(loader, key)
        if key[1] == RANK_STRIDE + TRAINING_STREAM and key[2] in indices:
            batch["data"][:] = torch.nan
        return batch

    batches.make_batch = poisoned
    train_rank(name, rank, store)


@pytest.mark.slow
def test_nan_of_one_rank_restores_all_and_the_first_tells_whose_case_it_was(tiny: Folders, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from test_several_gpus import train_poisoned_rank; "
    script += "train_poisoned_rank(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), 2)"
    trainer = "nnUNetTrainerIACRandom"
    words = [[sys.executable, "-c", script, trainer, str(rank), str(tmp_path / "store")] for rank in (0, 1)]
    run_together(words, environment(tiny.base, nnUNet_n_proc_DA="0"), TIMEOUT)

    first, second = (torch.load(tmp_path / f"store.rank{rank}") for rank in (0, 1))
    assert equal(first["weights"], second["weights"])
    found = read_restoration(tiny.results / f"{trainer}__tiny__2d" / "fold_0")
    assert found is not None and (found.epoch, found.batches) == (2, 1) and "Source: data: " in found.reason


def test_only_the_first_rank_takes_locks(tiny: Folders) -> None:
    # nnU-Net's barrier lies inside: a second rank that waits for the first one's lock would wait for ever.
    second = make_trainer("nnUNetTrainerIAC")
    second.local_rank = 1
    first = make_trainer("nnUNetTrainerIAC")
    with first._locked("plans.lock", "first"), second._locked("plans.lock", "second"):
        assert (tiny.results / "nnUNetTrainerIAC__tiny__2d" / "plans.lock").exists()


def test_all_ranks_read_what_the_first_one_reads(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: IACTrainer = make_trainer("nnUNetTrainerIAC")
    trainer.is_ddp, trainer.local_rank = True, 1

    def broadcast(found: list[object], src: int, group: object) -> None:
        assert found == [None] and src == 0 and group == "patient"
        found[0] = "of the first"

    monkeypatch.setattr(torch.distributed, "new_group", lambda **_: "patient")
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert trainer._of_first_rank(partial(pytest.fail, "a second rank read")) == "of the first"


@pytest.fixture
def one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """nnU-Net's DDP in this process, as the only rank."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    ddp = torch.nn.parallel.DistributedDataParallel
    monkeypatch.setattr(nnunet, "DDP", lambda network, device_ids: ddp(network))
    loaded = torch.load
    monkeypatch.setattr(torch, "load", lambda f, map_location=None, **more: loaded(f, map_location="cpu", **more))
    yield
    torch.distributed.destroy_process_group()


def train_under_ddp(name: str, *, plans: str = "tiny", pretrained: Path | None = None, **more: Any) -> Any:
    trainer = make_trainer(name, plans=plans, **more)
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    maybe_load_checkpoint(trainer, more.get("resume", False), False, str(pretrained) if pretrained else None)
    trainer.run_training()
    return trainer


@pytest.mark.usefixtures("one_rank")
class TestUnderDDP:
    @pytest.mark.parametrize("trainer", ["nnUNetTrainerIAC", "nnUNetTrainerIACImplant"])
    def test_a_run_killed_after_the_search_and_continued_keeps_its_host(
        self, tiny: Folders, monkeypatch: pytest.MonkeyPatch, trainer: str
    ) -> None:
        train_under_ddp("nnUNetTrainerIACHost")
        configure("frozen", "training.freeze_host=true", plans="tiny")
        plans = "frozen" if trainer == "nnUNetTrainerIACImplant" else "tiny"
        epoch = 1 if trainer == "nnUNetTrainerIACImplant" else 3
        with monkeypatch.context() as patch:
            kill_at(patch, IACTrainer, "on_train_epoch_end", epoch)
            with pytest.raises(Killed):
                train_under_ddp(trainer, plans=plans)
        found = train_under_ddp(trainer, plans=plans, resume=True).cell_network.state_dict()

        assert any(key.startswith("cells.") for key in found)
        if trainer == "nnUNetTrainerIACImplant":
            host = final_weights(tiny.results / "nnUNetTrainerIACHost__tiny__2d" / "fold_0")
            assert all(torch.equal(value, found[key]) for key, value in host.items())

    def test_a_second_fold_trains_its_host_before_it_gets_the_cells(
        self, tiny: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[int, list[bool]] = {0: [], 1: []}
        original = IACTrainer.train_step

        def noting(trainer: IACTrainer, batch: dict[str, Any]) -> dict[str, Any]:
            seen[trainer.fold].append(trainer.cell_network.cells is not None)
            return original(trainer, batch)

        monkeypatch.setattr(IACTrainer, "train_step", noting)
        for fold in (0, 1):
            train_under_ddp("nnUNetTrainerIAC", fold=fold)
        assert seen[0] == seen[1] == [False, False, True, True]

    def test_pretrained_weights_train_their_heads_first_and_then_all(self, tiny: Folders) -> None:
        train_under_ddp("nnUNetTrainerIACHost")
        configure("long", "host.iterations=2", "training.freeze_host=false", "training.iterations=2")
        given = tiny.results / "nnUNetTrainerIACHost__tiny__2d" / "fold_0" / "checkpoint_final.pth"
        trained = train_under_ddp("nnUNetTrainerIACImplant", plans="long", pretrained=given)
        found, before = trained.cell_network.state_dict(), final_weights(given.parent)
        assert not any(torch.equal(value, found[key]) for key, value in before.items() if key.endswith("conv.weight"))
