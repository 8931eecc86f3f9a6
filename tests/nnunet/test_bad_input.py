"""Whatever goes wrong in the middle of a run is said clearly, and what was there before is there afterwards."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, make_trainer, train

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import read_plans, with_genotype, write_plans
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.search import epoch as search_epoch
from nnunet_iac.search import search


def fold(folders: Folders, trainer: str = "nnUNetTrainerIAC", plans: str = "tiny") -> Path:
    return folders.results / f"{trainer}__{plans}__2d" / "fold_0"


def poison(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, calls: set[int]) -> None:
    """Let the batches of these calls (from 1) hold NaN."""
    original = getattr(place, name)
    count = 0

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count not in calls:
            return original(*args, **kwargs)
        batch = next(a for a in args if isinstance(a, dict) and "data" in a)
        bad = {**batch, "data": torch.full_like(batch["data"], math.nan)}
        return original(*(bad if a is batch else a for a in args), **kwargs)

    monkeypatch.setattr(place, name, poisoned)


class TestNaNInTheSearch:
    @pytest.mark.parametrize("step", ["weight_step", "architecture_step"])
    def test_once_costs_that_epoch_only(self, tiny: Folders, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        poison(monkeypatch, search_epoch, step, {2})

        train("nnUNetTrainerIAC")

        lines = [json.loads(line) for line in (fold(tiny) / "search.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
        assert all(math.isfinite(line["weight_loss"]) for line in lines)
        assert all(bool(v.isfinite().all()) for v in final_weights(fold(tiny)).values())

    def test_again_stops_it_with_a_remedy_and_the_host_is_kept(
        self, tiny: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poison(monkeypatch, search_epoch, "weight_step", set(range(2, 50)))

        with pytest.raises(FloatingPointError, match="Look for NaN in the images"):
            train("nnUNetTrainerIAC")

        checkpoint = read_checkpoint(fold(tiny) / "checkpoint_latest.pth")
        assert checkpoint["current_epoch"] == 2 and not (fold(tiny).parent / "genotype.json").exists()


class TestFullDisk:
    def test_the_checkpoint_of_the_epoch_before_stays_whole_and_the_run_can_go_on(
        self, tiny: Folders, finished: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = torch.save
        written = []

        def fill_up(content: Any, target: Any, *rest: Any) -> None:
            written.append(str(target))
            if sum("checkpoint_latest" in name for name in written) == 2:
                Path(target).write_bytes(b"half")
                raise OSError(28, "No space left on device")
            save(content, target, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", fill_up)
            with pytest.raises(OSError, match="No space left"):
                train("nnUNetTrainerIAC")

        assert read_checkpoint(fold(tiny) / "checkpoint_latest.pth")["current_epoch"] == 1
        assert not list(tiny.base.rglob("*.tmp"))
        train("nnUNetTrainerIAC", resume=True)
        assert equal(final_weights(fold(tiny)), final_weights(fold(finished)))

    def test_the_last_checkpoint_is_replaced_whole_or_not_at_all(
        self, continued: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = fold(continued) / "checkpoint_final.pth"
        before = path.read_bytes()

        def fill_up(content: Any, target: Any, *_: Any) -> None:
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", fill_up)
        with pytest.raises(OSError, match="No space left"):
            train("nnUNetTrainerIAC", resume=True)

        assert path.read_bytes() == before


class TestHost:
    def test_an_implantation_without_a_host_says_where_it_looked(self, tiny: Folders) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            train("nnUNetTrainerIACImplant")

        for model in ("nnUNetTrainer__tiny__2d", "nnUNetTrainerIACHost__tiny__2d", "nnUNetTrainer__nnUNetPlans__2d"):
            assert str(tiny.results / model / "fold_0" / "checkpoint_final.pth") in str(caught.value)
        assert not list(fold(tiny, "nnUNetTrainerIACImplant").glob("*.pth"))

    def test_a_host_of_another_architecture_is_refused(self, tiny: Folders) -> None:
        plans = read_plans(tiny.preprocessed / "tiny.json")
        train("nnUNetTrainerIACHost")
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 24, 32]
        write_plans(tiny.preprocessed / "tiny.json", plans)

        with pytest.raises(ValueError, match=r"expected the architecture of the plans, .*of another shape"):
            train("nnUNetTrainerIACImplant")

    def test_a_truncated_host_is_refused(self, tiny: Folders) -> None:
        train("nnUNetTrainerIACHost")
        path = fold(tiny, "nnUNetTrainerIACHost") / "checkpoint_final.pth"
        path.write_bytes(path.read_bytes()[:2000])

        with pytest.raises(ValueError, match="expected a whole file, got a truncated or damaged one"):
            train("nnUNetTrainerIACImplant")


class TestBeforeAnythingIsTrained:
    @pytest.fixture(autouse=True)
    def _nothing_is_trained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(IACTrainer, "train_step", lambda *_: pytest.fail("trained before it refused"))

    def test_bad_settings_are_named_together_and_leave_no_results_folder(self, tiny: Folders) -> None:
        plans = read_plans(tiny.preprocessed / "tiny.json")
        plans["configurations"]["2d"]["iac"] = {"search": {"epochs": 0, "epoch": 1}}
        write_plans(tiny.preprocessed / "tiny.json", plans)

        with pytest.raises(ValueError, match=r"2 problem\(s\)"):
            train("nnUNetTrainerIAC")
        assert not fold(tiny).exists()

    def test_a_genotype_that_does_not_fit_is_refused(self, tiny: Folders) -> None:
        plans = with_genotype(read_plans(tiny.preprocessed / "tiny.json"), "2d", Genotype.random(seed=0))
        cells = Genotype.random(seed=0, count=3).to_dict()
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["genotype"] = cells
        write_plans(tiny.preprocessed / "tiny.json", plans)

        with pytest.raises(ValueError, match=r"or 2 cells, one for each skip connection .* from level 0 on, got 3"):
            train("nnUNetTrainerIAC")

    def test_an_unknown_schema_is_refused(self, tiny: Folders) -> None:
        plans = with_genotype(read_plans(tiny.preprocessed / "tiny.json"), "2d", Genotype.random(seed=0))
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["genotype"]["schema"] = 9
        write_plans(tiny.preprocessed / "tiny.json", plans)

        with pytest.raises(ValueError, match=r"genotype\.schema: expected 1, got 9"):
            train("nnUNetTrainerIAC")

    def test_an_unknown_host_is_refused(self, tiny: Folders) -> None:
        plans = read_plans(tiny.preprocessed / "tiny.json")
        plans["configurations"]["2d"]["architecture"]["network_class_name"] = "somewhere.SwinUNETR"
        write_plans(tiny.preprocessed / "tiny.json", plans)

        with pytest.raises(ValueError, match=r"backbone: expected a host that cells can be implanted into"):
            train("nnUNetTrainerIAC")

    def test_one_patient_is_refused(self, tiny: Folders) -> None:
        groups = json.loads((tiny.raw / "patient_groups.json").read_text())
        cases = [case for members in groups.values() for case in members]
        (tiny.raw / "patient_groups.json").write_text(json.dumps({"only": cases}))

        with pytest.raises(ValueError, match="expected at least two patients"):
            train("nnUNetTrainerIAC")


def test_a_damaged_search_state_is_named_and_left_alone(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, search, "save_state", 3, after=True)
        with pytest.raises(Killed):
            train("nnUNetTrainerIAC")
    state = fold(tiny) / "search_state.pt"
    state.write_bytes(state.read_bytes()[:500])

    with pytest.raises(ValueError, match=r"search state: expected a whole file.*search again without --c"):
        train("nnUNetTrainerIAC", resume=True)
    assert state.stat().st_size == 500


def test_unknown_patients_are_warned_about(tiny: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny.raw / "patient_groups.json").unlink()

    train("nnUNetTrainerIACSearch")

    assert "WARNING: patients are unknown" in capsys.readouterr().out


def test_a_plan_with_stricter_memory_still_searches_with_one_case_per_side(tiny: Folders) -> None:
    configure("narrow", "search.fraction=0.01", "search.partial_channels=8", "cell.nodes=1")

    train("nnUNetTrainerIACSearch", plans="narrow")

    record = json.loads((fold(tiny, "nnUNetTrainerIACSearch", "narrow") / "search_result.json").read_text())
    assert {case[:8] for case in record["architecture_cases"]}.isdisjoint(c[:8] for c in record["weight_cases"])
    assert len(record["architecture_cases"]) == 2


def test_a_trainer_can_be_built_for_validation_alone(continued: Folders) -> None:
    trainer = make_trainer("nnUNetTrainerIAC")

    trainer.load_checkpoint(str(fold(continued) / "checkpoint_final.pth"))

    assert equal(trainer.cell_network.state_dict(), final_weights(fold(continued)))


def test_a_second_training_of_a_fold_is_refused_while_the_first_goes_on(tiny: Folders) -> None:
    fold(tiny).mkdir(parents=True)

    with alone_in(fold(tiny)), pytest.raises(TimeoutError, match=r"^fold: expected .*fold_0 is held .*configure -o"):
        train("nnUNetTrainerIAC")

    assert not list(fold(tiny).glob("*.pth")) and not list(fold(tiny).glob("*.pt"))
