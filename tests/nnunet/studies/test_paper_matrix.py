"""The papers' matrix: the product of the options without repeats, each training under plans of its own."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import nnunetv2
import pytest
from nnunet_folders import DATASET, Folders
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_iac.nnunet.files.plans import configuration_of, read_plans, write_plans
from nnunet_iac.nnunet.studies.paper_matrix import ARMS, FULL, HOSTS, OWN, PRUNED, Job, Matrix

MATRIX = Matrix(DATASET, "2d", ["plain", "residual-M"], list(ARMS), [True, False], [0, 1], [0, 1, 2])
IDENTITY, STOCK = (Job("plain", arm, True, 0, 0) for arm in ("identity", "stock"))
NOT_AUGMENTED = Job("plain", FULL, False, 0, 0)


def test_the_jobs_are_the_product_of_the_options_and_every_arm_is_there_with_and_without_augmentation() -> None:
    jobs = MATRIX.jobs()

    assert len(jobs) == len(set(jobs)) == 2 * 7 * 2 * 2 * 3
    assert {(job.arm, job.augmented) for job in jobs} == {(arm, on) for arm in ARMS for on in (True, False)}


def test_options_named_twice_give_no_job_twice() -> None:
    twice = replace(MATRIX, hosts=["plain", "plain"], seeds=[0, 0], folds=[1, 1], augmentation=[True, True])

    assert len(twice.jobs()) == len(ARMS)


def test_no_two_jobs_share_a_folder_or_a_command(tmp_path: Path) -> None:
    jobs = MATRIX.jobs()

    assert len({MATRIX.folder(job, tmp_path) for job in jobs}) == len({str(MATRIX.command(j, "cpu")) for j in jobs})
    assert len({MATRIX.folder(job, tmp_path) for job in jobs}) == len(jobs)


def test_the_first_seed_is_whole_before_the_second_begins() -> None:
    seeds = [job.seed for job in MATRIX.jobs()]

    assert seeds == sorted(seeds)


@pytest.mark.parametrize("host", HOSTS)
def test_nnunet_has_the_planner_of_each_host_and_it_writes_these_plans(host: str) -> None:
    folder = str(Path(nnunetv2.__path__[0]) / "experiment_planning")
    planner = recursive_find_python_class(folder, HOSTS[host].planner, "nnunetv2.experiment_planning")

    assert inspect.signature(planner).parameters["plans_name"].default == HOSTS[host].plans


@pytest.mark.parametrize("arm", ARMS)
def test_nnunet_finds_the_trainer_of_each_arm(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(__file__).parents[3] / "trainers"))

    recipe = recursive_find_trainer_class_by_name(ARMS[arm].trainer).recipe

    assert (arm in (FULL, PRUNED)) == (recipe.cells == "search") and recipe.host == "train"


@pytest.mark.parametrize(("iterations", "epochs"), [(250, 1050), (125, 1025)])
def test_the_stock_arm_makes_as_many_steps_as_the_others(iterations: int, epochs: int) -> None:
    settings = replace(MATRIX, budget=[f"host.iterations={iterations}"]).settings(STOCK)

    assert (settings.host.epochs, settings.host.iterations) == (epochs, 250)


@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.parametrize("arm", ARMS)
def test_augmentation_is_that_of_search_and_training_of_every_arm(arm: str, augmented: bool) -> None:
    settings = MATRIX.settings(Job("plain", arm, augmented, 0, 0))

    assert settings.search.augment is settings.training.augment is augmented


def test_the_plans_carry_budget_seed_and_augmentation(planned: Folders) -> None:
    matrix = replace(MATRIX, budget=["search.epochs=9"])
    job = replace(NOT_AUGMENTED, seed=5)

    matrix.ensure_plans(job, planned.preprocessed)

    plans = read_plans(planned.preprocessed / "nnUNetPlans_paper_seed5_fold0_not_augmented.json")
    block = configuration_of(plans, "2d")["iac"]
    assert (block["search"]["epochs"], block["search"]["seed"]) == (9, 5)
    assert block["search"]["augment"] is block["training"]["augment"] is False
    assert (plans["plans_name"], plans["derived_from"]) == (matrix.plans_name(job), "nnUNetPlans")


def test_plans_that_are_there_are_left_alone(planned: Folders) -> None:
    path = planned.preprocessed / f"{MATRIX.plans_name(IDENTITY)}.json"
    MATRIX.ensure_plans(IDENTITY, planned.preprocessed)
    before = path.stat().st_mtime_ns

    MATRIX.ensure_plans(IDENTITY, planned.preprocessed)

    assert path.stat().st_mtime_ns == before


def test_plans_of_another_budget_are_refused_and_not_touched(planned: Folders) -> None:
    MATRIX.ensure_plans(IDENTITY, planned.preprocessed)
    path = planned.preprocessed / f"{MATRIX.plans_name(IDENTITY)}.json"
    before = path.read_bytes()

    with pytest.raises(ValueError, match=r"--budget: expected the settings .* or another --tag"):
        replace(MATRIX, budget=["training.epochs=7"]).ensure_plans(IDENTITY, planned.preprocessed)

    assert path.read_bytes() == before


def test_plans_whose_search_alone_is_not_augmented_are_refused(planned: Folders) -> None:
    MATRIX.ensure_plans(NOT_AUGMENTED, planned.preprocessed)
    path = planned.preprocessed / f"{MATRIX.plans_name(NOT_AUGMENTED)}.json"
    plans = read_plans(path)
    del plans["configurations"]["2d"]["iac"]["training"]["augment"]
    write_plans(path, plans)

    with pytest.raises(ValueError, match="finished and new trainings would be mixed"):
        MATRIX.ensure_plans(NOT_AUGMENTED, planned.preprocessed)


@pytest.mark.parametrize("budget", [f"{name}=3" for name in OWN])
def test_the_budget_cannot_set_what_differs_by_job(budget: str) -> None:
    with pytest.raises(ValueError, match="--budget: expected settings other than"):
        replace(MATRIX, budget=["search.epochs=9", budget])


def test_bad_settings_are_named_before_anything_is_written() -> None:
    with pytest.raises(ValueError, match=r"search\.epoch: unknown"):
        replace(MATRIX, budget=["search.epoch=9"])
