"""The benchmark of one factor at a time, with trainings that are fakes, and the variants of a data set it makes."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from fake_trainings import FakeTrainings, fake_trainings
from nnunet_folders import DATASET, Folders

from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
from nnunet_iac.nnunet.files.splits import planned_folds

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
WORDS = ["-d", "990", "--seeds", "0", "1", "--batch-size", "4"]

Bench = tuple[ModuleType, FakeTrainings]


@pytest.fixture
def bench(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> Bench:
    _, trainings = fake_trainings(planned, monkeypatch, SCRIPTS)
    return importlib.import_module("bench_factors"), trainings


def preprocessed(planned: Folders) -> Path:
    return planned.base / "preprocessed" / DATASET


class TestConditions:
    def test_each_one_differs_from_the_base_by_one_thing_and_is_trained_with_and_without_cells(
        self, bench: Bench, planned: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, fake = bench
        file = tmp_path / "f.json"
        assert module.main([*WORDS, "--conditions", "base", "thin", "encoder", "--json", str(file)]) == 0
        # Two conditions of two arms and two seeds; one that changes the cells alone has the control of the base.
        assert len(fake.started) == 2 * 2 * 2 + 2
        base, thin, encoder = (
            configuration_of(read_plans(preprocessed(planned) / f"nnUNetPlans{name}_seed0.json"), "2d")
            for name in ("_factor", "_thin4_factor_thin", "_factor_encoder")
        )
        assert base != encoder
        del encoder["iac"]["cell"]
        assert base == encoder
        planned_widths = base["architecture"]["arch_kwargs"].pop("features_per_stage")
        thin_widths = thin["architecture"]["arch_kwargs"].pop("features_per_stage")
        assert base == thin
        assert thin_widths == [max(8, width // 4) for width in planned_widths]
        printed = capsys.readouterr().out
        assert all(module.CONDITIONS[name].meaning in printed for name in ("base", "thin", "encoder"))
        assert [row["condition"] for row in json.loads(file.read_text())["rows"]] == ["base", "thin", "encoder"]

    def test_what_is_done_is_not_repeated_and_seeds_can_be_added(
        self, bench: Bench, planned: Folders, tmp_path: Path
    ) -> None:
        module, fake = bench
        words = ["-d", "990", "--batch-size", "4", "--conditions", "encoder", "--json", str(tmp_path / "f.json")]
        assert module.main([*words, "--seeds", "0", "1"]) == 0
        fake.take_started()
        assert module.main([*words, "--seeds", "0", "1", "2"]) == 0
        assert sorted(fake.take_started()) == ["identity, seed 2", "random, seed 2", "random, seed 2"]

    def test_a_condition_of_cells_is_compared_with_the_trainings_without_cells_of_the_base(
        self, bench: Bench, planned: Folders, tmp_path: Path
    ) -> None:
        module, fake = bench
        file = tmp_path / "f.json"
        fake.shift = lambda arm, seed: {"identity": 3, "random": 1}[arm]
        assert module.main([*WORDS, "--conditions", "from1", "--json", str(file)]) == 0
        base, deeper = json.loads(file.read_text())["rows"]
        assert [row["condition"] for row in (base, deeper)] == ["base", "from1"]
        same = ("identity", "random", "difference", "interval", "of_runs", "hd95")
        assert {key: base[key] for key in same} == {key: deeper[key] for key in same}
        assert base["difference"] > 0
        # The numbers are those of bench_dice.
        record = json.loads((tmp_path / "f_base.json").read_text())["against_control"]["random"]
        assert base["difference"] == record["difference"] and base["interval"] == record["interval"]
        assert base["of_runs"] == record["of_runs"]
        hd95 = json.loads((tmp_path / "f_base.json").read_text())["hd95"]["against_control"]["random"]
        assert base["hd95"]["difference"] == hd95["difference"] < 0
        assert f"{hd95['difference']:+.2f} [" in module.markdown([{"rows": [base]}])
        # A record of before HD95 was measured.
        old = {key: value for key, value in base.items() if key != "hd95"}
        assert module.markdown([{"rows": [old]}]).count("|") == module.markdown([{"rows": [base]}]).count("|")

        # Measured together with these trainings without cells, and with no others: what counts is theirs alone.
        studies = [
            module.Study(**json.loads((tmp_path / f"f_{name}.json").read_text())["study"]) for name in ("base", "from1")
        ]
        for seed in (0, 1):
            shutil.rmtree(studies[0].model_folder("random", seed, planned.results.parent))
        assert module._row("from1", studies[1], studies[0]) == deeper

    def test_another_budget_under_the_same_tag_is_refused(
        self, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, _ = bench
        words = [*WORDS, "--conditions", "base", "--json", str(tmp_path / "f.json")]
        assert module.main(words) == 0
        assert module.main([*words, "--budget", "host.epochs=3"]) == 2
        assert "host.epochs is 15 there, 3 here" in capsys.readouterr().err


class TestFewCases:
    def test_the_variant_trains_on_fewer_patients_and_validates_on_the_same(
        self, bench: Bench, planned: Folders
    ) -> None:
        variants, folder = importlib.import_module("study_variants"), preprocessed(planned)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        cases = sorted(path.name.split(".")[0] for path in (folder / "gt_segmentations").glob("*.nii.gz"))
        original = planned_folds(folder, cases)[0]
        name = variants.few_cases(folder, 0, 2)
        assert name == "Dataset390_TinyFew2"
        (split,) = planned_folds(folder.with_name(name), cases)
        assert split["val"] == original["val"]
        assert split["train"] == ["p0_a", "p0_b", "p2_a", "p2_b"]  # two patients, two cases each
        assert set(split["train"]) < set(original["train"])
        assert variants.few_cases(folder, 0, 2) == name  # and nothing changes the second time
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_more_patients_than_there_are_or_a_taken_number_are_refused(self, bench: Bench, planned: Folders) -> None:
        variants, folder = importlib.import_module("study_variants"), preprocessed(planned)
        with pytest.raises(ValueError, match="fewer than the fold has, got 99"):
            variants.few_cases(folder, 0, 99)
        folder.with_name("Dataset390_Other").mkdir()
        with pytest.raises(ValueError, match="expected the number Dataset390 to be free"):
            variants.few_cases(folder, 0, 2)
