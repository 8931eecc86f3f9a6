"""Leave one data set out: nothing of it leaks, and a planted law is found again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_world import planted_task, planted_tasks

from nnunet_iac.metaspace import evaluation
from nnunet_iac.metaspace.evaluation import evaluate
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Task


def test_a_planted_law_is_found_again_better_than_by_contrast_alone_the_average_or_the_size() -> None:
    found = evaluate(planted_tasks(6), FitSettings(steps=80), ablation=True)

    ours, contrast = found.mean("meta-space"), found.mean("contrastive loss only")
    assert ours.spearman is not None and contrast.spearman is not None
    assert ours.spearman > 0.6 and ours.spearman > contrast.spearman
    assert ours.regret[1] < found.mean("random choice").regret[1] / 2
    for name in ("best-on-average", "largest"):
        other = found.mean(name)
        assert other.spearman is not None and ours.spearman > other.spearman
        assert all(ours.regret[k] <= other.regret[k] for k in (1, 5, 10)), name
    # The nearest data set is not beaten: its supernet had the very same candidates scored.
    nearest = found.mean("nearest")
    assert nearest.spearman is not None and nearest.spearman > ours.spearman


def fitted_spaces(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], MetaSpace]:
    fit, spaces = evaluation.fit, {}

    def spy(*args: object, **known: object) -> MetaSpace:
        space = fit(*args, **known)  # type: ignore[arg-type]
        spaces[space.datasets] = space
        return space

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "fit", spy)
        evaluate(tasks, FitSettings(steps=3))
    return spaces


def test_nothing_of_the_held_out_data_set_reaches_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = list(planted_tasks(3))
    known = tasks[1].candidates
    changed = replace(
        tasks[1],
        sample=replace(tasks[1].sample, features=3 * tasks[1].sample.features + 1),
        candidates=replace(known, dice=1 - known.dice, responses=np.pad(5 * known.responses, ((0, 0), (0, 3)))),
    )

    before = fitted_spaces(tasks, monkeypatch)
    after = fitted_spaces([tasks[0], changed, tasks[2]], monkeypatch)

    held_out, others = (tasks[0].dataset, tasks[2].dataset), (tasks[0].dataset, tasks[1].dataset)
    states = [found[held_out].networks.state_dict() for found in (before, after)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(before[others].networks.dataset.weight, after[others].networks.dataset.weight)


def test_candidates_whose_weights_have_seen_the_held_out_data_set_are_held_out_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = list(planted_tasks(4))
    tasks[3] = replace(tasks[3], candidates=replace(tasks[3].candidates, ancestors=(tasks[0].dataset,)))

    spaces = fitted_spaces(tasks, monkeypatch)

    assert (tasks[1].dataset, tasks[2].dataset) in spaces, "without the first and the last, when the first is held out"
    assert len(spaces) == 4


def test_all_tasks_of_a_data_set_are_held_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = list(planted_tasks(3))
    fold = replace(tasks[0], name="another fold")

    spaces = fitted_spaces([*tasks, fold], monkeypatch)

    assert len(spaces) == 3 and (tasks[1].dataset, tasks[2].dataset) in spaces


def test_no_order_knows_how_well_the_candidates_of_the_held_out_data_set_or_of_weights_that_have_seen_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others, seen = planted_tasks(4)
    seen = replace(seen, candidates=replace(seen.candidates, ancestors=(first.dataset,)))
    fold, settings = replace(first, name="another fold"), FitSettings(steps=2)
    orders: list[list[float]] = []
    score = evaluation.ranking_scores
    monkeypatch.setattr(evaluation, "ranking_scores", lambda v, dice: (orders.append(list(v)), score(v, dice))[1])

    evaluate([first, fold, *others, seen], settings)
    before = orders[:10]  # both folds of the first data set, five methods each
    orders.clear()
    evaluate([*map(backwards, (first, fold)), *others, backwards(seen)], settings)

    assert len(orders) == 25 and orders[:10] == before
    orders.clear()
    evaluate([first, fold, *map(backwards, others), seen], settings)
    assert all(now != then for now, then in zip(orders[:4], before, strict=False)), "what may be known is used"


def backwards(task: Task) -> Task:
    return replace(task, candidates=replace(task.candidates, dice=1 - task.candidates.dice))


def test_the_table_has_every_method_and_json_holds_everything() -> None:
    found = evaluate(planted_tasks(3), FitSettings(steps=2, performance=0), ablation=True)

    assert set(found.methods) == {
        *("meta-space", "contrastive loss only", "random choice"),
        *("nearest", "largest", "best-on-average"),
    }
    short, full = found.markdown().splitlines(), found.markdown(each=True).splitlines()
    assert short[0] == "| held out | order by | Spearman | Kendall | regret T1 | regret T5 | regret T10 |"
    assert len(short) == 2 + 6 and len(full) == 2 + 6 + 18 and short[2].startswith("| mean of 3 | meta-space |")
    assert all(line.count("|") == 8 for line in full)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(content["outcomes"]) == 18 and content["means"]["random choice"]["spearman"] == 0
    assert "distance" in next(o["remark"] for o in content["outcomes"] if o["method"] == "nearest")


def test_two_data_sets_are_too_few() -> None:
    with pytest.raises(ValueError, match="expected at least 3 data sets, got 2"):
        evaluate(planted_tasks(2))


def test_a_data_set_whose_relatives_leave_too_few_to_fit_on_is_passed_over_with_a_remark() -> None:
    first, second, third, fourth = (planted_task(number, candidates=12, images=8) for number in range(4))
    heirs = [replace(one, candidates=replace(one.candidates, ancestors=(first.dataset,))) for one in (third, fourth)]

    found = evaluate([first, second, *heirs], FitSettings(steps=2, size=8))

    assert {outcome.task for outcome in found.outcomes} == {task.name for task in (second, *heirs)}
    (remark,) = found.remarks
    assert remark == f"{first.dataset}: fewer than 2 other data sets have weights that never saw it; not held out."
    assert found.markdown().endswith(remark) and found.to_dict()["remarks"] == [remark]


def test_it_is_an_error_if_no_data_set_can_be_held_out() -> None:
    tasks = [planted_task(number, candidates=12, images=8) for number in range(3)]
    names = tuple(task.dataset for task in tasks)
    kin = [replace(one, candidates=replace(one.candidates, ancestors=names)) for one in tasks]

    with pytest.raises(ValueError, match=r"one at least that can be held out, got none: Dataset001_Planted"):
        evaluate(kin, FitSettings(steps=2, size=8))
