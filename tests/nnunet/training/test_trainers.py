"""Every trainer on the tiny data set: what it trains, what it leaves on disk, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from nnunetv2.run.run_training import run_training
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.files.plans import genotype_of, read_plans, with_genotype, with_seed, write_plans
from nnunet_iac.nnunet.files.search_plans import output_plans_path
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.zoo_entries.search_import import read_search


def fold(folders: Folders, trainer: str, plans: str = "tiny", number: int = 0) -> Path:
    return folders.results / f"{trainer}__{plans}__2d" / f"fold_{number}"


def plans_of(folders: Folders, trainer: str) -> dict[str, Any]:
    return read_plans(fold(folders, trainer).parent / "plans.json")


def split_weights(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    cells = {key: value for key, value in weights.items() if key.startswith("cells.")}
    return {key: value for key, value in weights.items() if key not in cells}, cells


@pytest.fixture
def hosted(tiny: Folders) -> Folders:
    """The tiny data set with a trained host."""
    train("nnUNetTrainerIACHost")
    return tiny


def test_the_host_trainer_leaves_the_plans_as_they_are_but_names_the_seed(hosted: Folders) -> None:
    expected = with_seed(read_plans(hosted.preprocessed / "tiny.json"), "2d", 0)
    assert plans_of(hosted, "nnUNetTrainerIACHost") == expected
    assert not any(k.startswith("cells.") for k in final_weights(fold(hosted, "nnUNetTrainerIACHost")))


def test_with_a_frozen_host_implanting_keeps_every_host_weight_and_trains_the_cells(hosted: Folders) -> None:
    configure("frozen", "training.freeze_host=true", plans="tiny")
    train("nnUNetTrainerIACImplant", plans="frozen")

    host, cells = split_weights(final_weights(fold(hosted, "nnUNetTrainerIACImplant", "frozen")))
    assert equal(host, final_weights(fold(hosted, "nnUNetTrainerIACHost")))
    projections = [value for key, value in cells.items() if "projection" in key]
    assert projections and all(bool(p.abs().sum() > 0) for p in projections)


def test_the_log_says_that_the_environment_takes_threads_away(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as nnU-Net does, with the number of cores
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        make_trainer("nnUNetTrainerIACHost")
    finally:
        torch.set_num_threads(before)
    said = "threads: 1, as OMP_NUM_THREADS says, not 3; unset it"
    assert said in log_of(fold(tiny, "nnUNetTrainerIACHost")) and said in capsys.readouterr().out


def test_implanting_finds_the_host_of_the_plans_it_was_derived_from(hosted: Folders) -> None:
    configure("longer", "training.epochs=1", plans="tiny")

    train("nnUNetTrainerIACImplant", plans="longer")

    record = json.loads((fold(hosted, "nnUNetTrainerIACImplant", "longer") / "search_result.json").read_text())
    assert record["host"]["checkpoint"] == str(fold(hosted, "nnUNetTrainerIACHost") / "checkpoint_final.pth")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], [True, True, True, True]),
        (["training.cells_first=0.25", "training.host_rate=0.1"], [False, True, True, True]),
    ],
)
def test_host_and_cells_train_together_unless_the_cells_go_first(
    hosted: Folders, monkeypatch: pytest.MonkeyPatch, settings: list[str], expected: list[bool]
) -> None:
    configure("free", "training.epochs=4", *settings, plans="tiny")
    moved = []
    before = split_weights(final_weights(fold(hosted, "nnUNetTrainerIACHost")))[0]

    def record(self: IACTrainer, outputs: list[dict]) -> None:
        moved.append(not equal(split_weights(self.cell_network.state_dict())[0], before))
        super(IACTrainer, self).on_train_epoch_end(outputs)

    monkeypatch.setattr(IACTrainer, "on_train_epoch_end", record)
    trainer = train("nnUNetTrainerIACImplantRandom", plans="free")

    assert moved == expected
    cells, host = (group["lr"] for group in trainer.optimizer.param_groups)
    assert host / cells == pytest.approx(0.1 if settings else 1)


def test_a_control_without_cells_does_not_wait_for_them(hosted: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    configure("free", "training.epochs=2", "training.cells_first=0.5", plans="tiny")
    frozen = []

    def record(self: IACTrainer, outputs: list[dict]) -> None:
        frozen.append(self.cell_network.host_is_frozen)
        super(IACTrainer, self).on_train_epoch_end(outputs)

    monkeypatch.setattr(IACTrainer, "on_train_epoch_end", record)

    train("nnUNetTrainerIACImplantIdentity", plans="free")

    assert frozen == [False, False]


@pytest.mark.parametrize(
    ("trainer", "kind", "cells"),
    [
        ("nnUNetTrainerIACImplantRandom", "random", True),
        ("nnUNetTrainerIACImplantIdentity", "identity", False),
        ("nnUNetTrainerIACRandom", "random", True),
        ("nnUNetTrainerIACIdentity", "identity", False),
    ],
)
def test_a_control_says_what_it_is_and_never_searches(hosted: Folders, trainer: str, kind: str, cells: bool) -> None:
    train(trainer)

    genotype = genotype_of(plans_of(hosted, trainer), "2d")
    assert genotype is not None and genotype.kind == kind
    assert bool(split_weights(final_weights(fold(hosted, trainer)))[1]) == cells
    assert not (fold(hosted, trainer) / "search.jsonl").exists()


def test_the_implanted_control_without_cells_is_the_host_if_that_is_frozen(hosted: Folders) -> None:
    configure("frozen", "training.freeze_host=true", plans="tiny")
    train("nnUNetTrainerIACImplantIdentity", plans="frozen")

    trained = final_weights(fold(hosted, "nnUNetTrainerIACImplantIdentity", "frozen"))
    assert equal(trained, final_weights(fold(hosted, "nnUNetTrainerIACHost")))


def test_its_host_is_fine_tuned_as_that_of_cells_is(hosted: Folders) -> None:
    configure("free", plans="tiny")
    rates = {}
    for name in ("nnUNetTrainerIACImplantIdentity", "nnUNetTrainerIACImplantRandom"):
        trainer = train(name, plans="free")
        rates[name] = trainer.optimizer.param_groups[-1]["lr"]
        trained = split_weights(final_weights(fold(hosted, name, "free")))[0]
        assert not equal(trained, final_weights(fold(hosted, "nnUNetTrainerIACHost")))

    assert len(set(rates.values())) == 1


@pytest.mark.parametrize("trainer", ["nnUNetTrainerIACFullSearch", "nnUNetTrainerIACImplantFullSearch"])
def test_a_full_search_prunes_nothing_and_runs_to_its_budget(hosted: Folders, trainer: str) -> None:
    train(trainer)

    lines = [json.loads(line) for line in (fold(hosted, trainer) / "search.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert all(line["active_operations"] == 8 * 14 and line["pruned"] == [] for line in lines)
    assert genotype_of(plans_of(hosted, trainer), "2d").origin["pruned"] is False


def test_per_level_cells_of_the_encoder_kind_train(tiny: Folders) -> None:
    configure("levels", "cell.shared=false", "cell.second_input=encoder", "cell.nodes=2", "search.host=joint")

    train("nnUNetTrainerIAC", plans="levels")

    genotype = genotype_of(read_plans(fold(tiny, "nnUNetTrainerIAC", "levels").parent / "plans.json"), "2d")
    assert (len(genotype.cells), genotype.second_input, genotype.nodes) == (2, "encoder", 2)


class TestSearchOnly:
    TRAINER = "nnUNetTrainerIACSearch"

    def test_it_writes_plans_that_carry_their_own_name_and_trains_nothing(self, hosted: Folders) -> None:
        run_training("990", "2d", 0, self.TRAINER, "tiny", device=torch.device("cpu"))

        plans = read_plans(hosted.preprocessed / "tiny_iac.json")
        assert plans["plans_name"] == "tiny_iac"
        assert genotype_of(plans, "2d") == genotype_of(plans_of(hosted, self.TRAINER), "2d")
        assert plans["configurations"]["2d"]["data_identifier"] == "nnUNetPlans_2d"
        assert not (fold(hosted, self.TRAINER) / "validation").exists()
        assert not (fold(hosted, self.TRAINER) / "checkpoint_final.pth").exists()

    def test_it_takes_a_trained_host_and_trains_one_where_there_is_none(self, tiny: Folders) -> None:
        train(self.TRAINER)
        assert "no trained host was found" in log_of(fold(tiny, self.TRAINER))

    def test_stock_nnunet_builds_and_trains_what_it_wrote(
        self, hosted: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train(self.TRAINER)
        trainer = make_trainer("nnUNetTrainer", plans="tiny_iac")
        trainer.num_epochs = trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 1

        trainer.run_training()

        assert type(trainer).__name__ == "nnUNetTrainer" and isinstance(trainer.network, CellUNet)
        assert split_weights(final_weights(fold(hosted, "nnUNetTrainer", "tiny_iac")))[1]

    def test_it_refuses_before_any_training_where_its_output_exists(
        self, hosted: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train(self.TRAINER)
        before = (hosted.preprocessed / "tiny_iac.json").read_bytes()
        monkeypatch.setattr(IACTrainer, "_run_epochs", lambda *_: pytest.fail("trained before it refused"))

        with pytest.raises(ValueError, match=r"expected no genotype for 2d in .*tiny_iac\.json.*move the file away"):
            train(self.TRAINER)

        assert (hosted.preprocessed / "tiny_iac.json").read_bytes() == before

    def test_a_genotype_of_another_configuration_stays(self, hosted: Folders) -> None:
        plans = read_plans(hosted.preprocessed / "tiny.json")
        plans["configurations"]["2d_other"] = {"inherits_from": "2d"}
        write_plans(hosted.preprocessed / "tiny.json", plans)
        genotype = Genotype.random(seed=3)
        other = with_genotype({**plans, "plans_name": "tiny_iac"}, "2d_other", genotype)
        write_plans(hosted.preprocessed / "tiny_iac.json", other)

        assert output_plans_path(hosted.preprocessed, plans, "2d").name == "tiny_iac.json"
        train(self.TRAINER)

        written = read_plans(hosted.preprocessed / "tiny_iac.json")
        assert genotype_of(written, "2d_other") == genotype and genotype_of(written, "2d").kind == "searched"


class TestGivenGenotype:
    @pytest.fixture
    def given(self, hosted: Folders) -> Folders:
        plans = with_genotype(read_plans(hosted.preprocessed / "tiny.json"), "2d", Genotype.random(seed=5))
        write_plans(hosted.preprocessed / "given.json", {**plans, "plans_name": "given"})
        return hosted

    @pytest.mark.parametrize("trainer", ["nnUNetTrainerIAC", "nnUNetTrainerIACImplant"])
    def test_a_genotype_in_the_plans_is_trained_as_it_is(self, given: Folders, trainer: str) -> None:
        plans = read_plans(given.preprocessed / "given.json")
        write_plans(given.preprocessed / "given.json", {**plans, "derived_from": "tiny"})

        train(trainer, plans="given")

        folder = fold(given, trainer, "given")
        assert genotype_of(read_plans(folder.parent / "plans.json"), "2d") == Genotype.random(seed=5)
        assert "random genotype that the plans carry; nothing is searched" in log_of(folder)

    def test_the_host_trainer_refuses_plans_with_cells(self, given: Folders) -> None:
        with pytest.raises(ValueError, match="expected plans without cells for nnUNetTrainerIACHost, got random cells"):
            train("nnUNetTrainerIACHost", plans="given")


class TestFolds:
    def test_a_second_fold_reuses_the_genotype_and_says_so(self, continued: Folders) -> None:
        train("nnUNetTrainerIAC", fold=1)

        first, second = (fold(continued, "nnUNetTrainerIAC", number=n) for n in (0, 1))
        text = log_of(second)
        assert "Reusing the genotype that another fold of this model found" in text and "not nested" in text
        assert not (second / "search.jsonl").exists()
        genotypes = {
            genotype_of(torch.load(f / "checkpoint_final.pth", weights_only=False)["init_args"]["plans"], "2d").cells
            for f in (first, second)
        }
        assert len(genotypes) == 1

    def test_plans_and_genotype_file_of_a_model_agree(self, continued: Folders) -> None:
        model = fold(continued, "nnUNetTrainerIAC").parent
        record = json.loads((model / "genotype.json").read_text())["2d"]

        assert (
            record
            == plans_of(continued, "nnUNetTrainerIAC")["configurations"]["2d"]["architecture"]["arch_kwargs"][
                "genotype"
            ]
        )

    def test_a_fold_that_started_before_the_search_ended_does_not_undo_the_plans(
        self, continued: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = fold(continued, "nnUNetTrainerIAC").parent
        late = make_trainer("nnUNetTrainerIAC", fold=1)
        hidden = {name: (model / name).read_bytes() for name in ("plans.json", "genotype.json")}
        for name in hidden:
            (model / name).unlink()
        late.initialize()
        for name, content in hidden.items():
            (model / name).write_bytes(content)
        kill_at(monkeypatch, IACTrainer, "on_epoch_start", 1)

        with pytest.raises(Killed):
            late.run_training()

        assert (model / "plans.json").read_bytes() == hidden["plans.json"]


class TestInheritance:
    def test_cells_start_from_the_search_s_weights_in_the_fold_that_searched(
        self, tiny: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure("inheriting", "search.inherit=true")
        implanted = {}
        original = CellUNet.implant

        def seen(network: CellUNet, cells: Any) -> None:
            if cells is not None and not hasattr(cells, "architecture"):
                implanted.update({key: value.clone() for key, value in cells.state_dict().items()})
            original(network, cells)

        monkeypatch.setattr(CellUNet, "implant", seen)
        train("nnUNetTrainerIAC", plans="inheriting")

        here = fold(tiny, "nnUNetTrainerIAC", "inheriting")
        searched = torch.load(here / "search_state.pt", weights_only=True)["network"]
        assert torch.equal(implanted["levels.0.inputs.0.1.weight"], searched["levels.0.inputs.0.1.weight"])
        assert not implanted["levels.0.projection.weight"].any() and searched["levels.0.projection.weight"].any()
        assert "start from the weights that the search trained" in log_of(here)

        train("nnUNetTrainerIAC", plans="inheriting", fold=1)
        assert "there was no search in this fold" in log_of(fold(tiny, "nnUNetTrainerIAC", "inheriting", 1))


class TestPretrainedWeights:
    def test_given_weights_are_implanted_and_only_their_heads_are_trained_first(self, hosted: Folders) -> None:
        weights = fold(hosted, "nnUNetTrainerIACHost") / "checkpoint_final.pth"

        configure("frozen", "training.freeze_host=true", plans="tiny")
        train("nnUNetTrainerIACImplant", plans="frozen", pretrained=weights)

        before = final_weights(weights.parent)
        after, cells = split_weights(final_weights(fold(hosted, "nnUNetTrainerIACImplant", "frozen")))
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert cells and changed and all("seg_layers" in key for key in changed)

    def test_a_trainer_that_trains_its_host_starts_from_them(self, hosted: Folders) -> None:
        train("nnUNetTrainerIACRandom", pretrained=fold(hosted, "nnUNetTrainerIACHost") / "checkpoint_final.pth")

        assert "starting from -pretrained_weights" in log_of(fold(hosted, "nnUNetTrainerIACRandom"))

    def test_a_run_without_a_checkpoint_forgets_that_weights_were_given(
        self, hosted: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weights = fold(hosted, "nnUNetTrainerIACHost") / "checkpoint_final.pth"
        configure("frozen", "training.freeze_host=true", plans="tiny")
        with monkeypatch.context() as patch:
            kill_at(patch, IACTrainer, "on_epoch_end", 1)
            with pytest.raises(Killed):
                train("nnUNetTrainerIACImplantIdentity", plans="frozen", pretrained=weights)

        train("nnUNetTrainerIACImplantIdentity", plans="frozen", resume=True)

        trained = final_weights(fold(hosted, "nnUNetTrainerIACImplantIdentity", "frozen"))
        assert equal(trained, final_weights(weights.parent)), "the trained host counts, not a random encoder"


def test_cells_at_levels_that_the_network_does_not_have_are_refused_before_anything_is_made(tiny: Folders) -> None:
    plans = read_plans(tiny.preprocessed / "tiny.json")
    plans["configurations"]["2d"]["iac"].setdefault("cell", {})["first_level"] = 7
    write_plans(tiny.preprocessed / "tiny.json", plans)

    with pytest.raises(ValueError, match=r"first_level: expected at most 1, .* got 7; set cell.first_level"):
        make_trainer("nnUNetTrainerIACRandom")
    assert not tiny.results.exists()


@pytest.mark.parametrize("projection", ["gain", "normalised"])
def test_a_search_finds_and_trains_cells_of_the_projection_that_is_set(tiny: Folders, projection: str) -> None:
    configure("other", f"cell.projection={projection}", "host.epochs=1", "search.inherit=true")
    train("nnUNetTrainerIAC", plans="other")

    found = tiny.results / "nnUNetTrainerIAC__other__2d" / "fold_0"
    gains = [value for name, value in final_weights(found).items() if name.endswith(".gain")]
    assert len(gains) == 2 and all(bool(gain.any()) for gain in gains), "the training opened them"
    written = read_plans(tiny.results / "nnUNetTrainerIAC__other__2d" / "plans.json")
    genotype = genotype_of(written, "2d")
    assert genotype is not None and (genotype.kind, genotype.projection) == ("searched", projection)
    searched = torch.load(found / "search_state.pt", weights_only=True)
    assert searched["identity"]["cell"]["projection"] == projection
    about, _ = read_search(found)
    assert about.facts["cell"]["projection"] == about.facts["genotype"]["projection"] == projection


def test_a_network_without_cells_at_full_resolution_trains_and_its_plans_say_so(tiny: Folders) -> None:
    configure("deep", "cell.first_level=1", "host.epochs=1")
    train("nnUNetTrainerIAC", plans="deep")

    weights = final_weights(tiny.results / "nnUNetTrainerIAC__deep__2d" / "fold_0")
    assert {name.split(".")[2] for name in weights if name.startswith("cells.levels.")} == {"1"}
    written = read_plans(tiny.results / "nnUNetTrainerIAC__deep__2d" / "plans.json")
    genotype = genotype_of(written, "2d")
    assert genotype is not None and (genotype.kind, genotype.first_level) == ("searched", 1)
