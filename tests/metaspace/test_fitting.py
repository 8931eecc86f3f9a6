"""A fit is a function of tasks and settings, and refuses what it cannot learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_world import planted_task, planted_tasks
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nnunet_iac.metaspace import fitting
from nnunet_iac.metaspace.fitting import fit, squared_fid
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Candidates, DatasetSample, Task

QUICK = FitSettings(steps=8)


def same_weights(a: MetaSpace, b: MetaSpace) -> bool:
    states = a.networks.state_dict(), b.networks.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_same_seed_gives_the_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = fit(planted_tasks(3), QUICK)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = fit(planted_tasks(3), QUICK)

    assert same_weights(first, second) and torch.equal(torch.get_rng_state(), before)
    assert not same_weights(first, fit(planted_tasks(3), replace(QUICK, seed=1)))


@pytest.mark.parametrize("name", ("performance", "rank", "fid", "contrastive"))
def test_every_loss_can_stand_alone_and_falls(name: str) -> None:
    alone = {**dict.fromkeys(("performance", "rank", "fid", "contrastive"), 0.0), name: 2.0}

    short, longer = (fit(planted_tasks(4), FitSettings(steps=steps, **alone)) for steps in (1, 40))

    assert set(longer.losses) == {name} and longer.losses[name] < short.losses[name]


def test_the_larger_the_weight_of_a_loss_the_lower_it_ends() -> None:
    settings = [FitSettings(steps=40, performance=0, rank=rank, fid=1 - rank) for rank in (0.99, 0.01)]
    ranks, distances = (fit(planted_tasks(4), one) for one in settings)

    assert ranks.losses["rank"] < distances.losses["rank"] and ranks.losses["fid"] > distances.losses["fid"]


def test_of_the_candidates_the_contrastive_loss_sees_the_best_alone() -> None:
    alone = replace(QUICK, performance=0, rank=0, fid=0, contrastive=1.0)

    def fitted(*dice: float) -> MetaSpace:
        tasks = [planted_task(number, candidates=3) for number in range(3)]
        return fit([replace(task, candidates=replace(task.candidates, dice=dice)) for task in tasks], alone)

    best = fitted(0.9, 0.5, 0.1)
    assert same_weights(best, fitted(0.6, 0.1, 0.5)) and not same_weights(best, fitted(0.1, 0.5, 0.9))


def test_the_distances_to_align_with_are_squared_as_frechet_distances_are() -> None:
    task = planted_task(0)
    line = [replace(task.sample, features=task.sample.features + np.eye(24)[5] * place) for place in (0, 1, 4)]

    found = squared_fid([replace(task, sample=sample) for sample in line])

    assert found == pytest.approx(np.array([[0, 1, 16], [1, 0, 9], [16, 9, 0]]), abs=1e-9)


def test_the_learning_rate_falls_along_a_cosine() -> None:
    rates: list[float] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        fit(planted_tasks(2), FitSettings(steps=6, learning_rate=4e-3))
    finally:
        hook.remove()

    turns = np.cos(np.pi * np.arange(6) / 6)
    assert rates == pytest.approx(2e-3 * (1 + turns)) and rates[0] == 4e-3


def test_two_folds_of_a_data_set_can_be_told_from_others() -> None:
    tasks = planted_tasks(3)
    folds = [replace(tasks[0], name=f"fold {number}") for number in (0, 1)]
    alone = FitSettings(steps=150, performance=0, rank=0, fid=0, contrastive=1.0)

    assert fit([*folds, *tasks[1:]], alone).losses["contrastive"] < 0.05


def test_copies_of_the_images_of_a_data_set_leave_its_standardisation() -> None:
    tasks = planted_tasks(3)
    doubled = replace(
        tasks[0], sample=DatasetSample(tasks[0].dataset, np.repeat(tasks[0].sample.features, 2, 0), {"name": "planted"})
    )

    first, second = fit(tasks, QUICK), fit([doubled, *tasks[1:]], QUICK)

    assert torch.allclose(first.networks.images.scale, second.networks.images.scale, rtol=1e-12)


def test_settings_name_all_faults_together() -> None:
    with pytest.raises(ValueError, match=r"steps: .* got 0; sigma: .* got 0.0; rank: .* got -1"):
        FitSettings(steps=0, sigma=0.0, rank=-1)
    with pytest.raises(ValueError, match="expected a positive weight for at least one"):
        FitSettings(performance=0, rank=0, fid=0)


def test_too_few_data_sets_are_an_error() -> None:
    once = planted_task(0)
    with pytest.raises(ValueError, match=r"expected at least 2 data sets, got 1 \(Dataset001_Planted\)"):
        fit([once, replace(once, name="other fold")], QUICK)


def test_features_of_another_encoder_are_an_error() -> None:
    tasks = planted_tasks(3)
    strange = replace(tasks[2], sample=DatasetSample("new", tasks[2].sample.features, {"name": "other"}))
    with pytest.raises(ValueError, match=r"expected features of the encoder .*'planted'.* got .*'other'"):
        fit([*tasks[:2], strange], QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    (
        ({"dice": np.full(80, 0.5)}, "got equal performances: there is nothing to rank"),
        ({"dice": np.full(80, np.nan)}, "dice: expected 80 finite numbers"),
        ({"dice": np.linspace(0, 90, 80)}, "percent must be divided"),
        ({"responses": np.full((80, 3), np.inf)}, "responses: expected finite numbers"),
        ({"parameters": np.ones(3), "configurations": ()}, r"configurations as in topology.*; parameters: expected 80"),
        ({"topology": np.ones((80, 3))}, "topology: expected 32 columns, got 3"),
    ),
)
def test_bad_candidates_are_errors(change: dict, message: str) -> None:
    known = planted_task(0).candidates
    names = ("topology", "responses", "dice", "parameters", "configurations")
    with pytest.raises(ValueError, match=message):
        Candidates(**{**{name: getattr(known, name) for name in names}, **change})


def test_bad_features_are_errors() -> None:
    with pytest.raises(ValueError, match="features of a: expected finite numbers, got NaN or infinity in 1 rows"):
        DatasetSample("a", np.array([[1.0], [np.nan]]), "e")
    with pytest.raises(ValueError, match="expected one for each of 2 rows"):
        DatasetSample("a", np.ones((2, 1)), "e", np.array([1]))


def test_two_tasks_of_one_name_are_an_error() -> None:
    tasks = planted_tasks(2)
    with pytest.raises(ValueError, match="expected names of their own"):
        fit([*tasks, Task(tasks[0].name, tasks[1].sample, tasks[1].candidates)], QUICK)


def test_a_loss_or_gradient_of_nan_stops_the_fit_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = fitting.rank_loss
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "rank_loss", lambda *a, **k: original(*a, **k) * torch.nan)
        with pytest.raises(FloatingPointError, match=r"loss: .*in step 0, in the rank loss; lower the learning rate"):
            fit(planted_tasks(2), QUICK)

    monkeypatch.setattr(fitting, "rank_loss", lambda *a, **k: (original(*a, **k) * 0).abs().sqrt())
    with pytest.raises(FloatingPointError, match=r"gradients: .*in step 0, while all losses are finite"):
        fit(planted_tasks(2), QUICK)
