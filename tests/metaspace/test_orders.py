"""Orders of what a zoo offers, and the choice among them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planted_world import planted_task, planted_tasks

from nnunet_iac.cli import retrieve
from nnunet_iac.metaspace import order_choice
from nnunet_iac.metaspace.baselines import nearest_task
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.order_choice import MEASURED, WISHES, best_order, choose_order, with_choice
from nnunet_iac.metaspace.orders import ORDERS, order_scores, remoteness, usable_orders
from nnunet_iac.metaspace.ranking import rank
from nnunet_iac.metaspace.retrieval_evaluation import RetrievalEvaluation, evaluate_retrieval
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Candidates, Task
from nnunet_iac.nnunet.files.settings import Settings

TARGET = planted_task(20, candidates=12, images=24)
SHORT = FitSettings(steps=20)


@cache
def sources() -> tuple[Task, ...]:
    return tuple(planted_task(number, candidates=12, images=24) for number in range(4))


@cache
def space() -> MetaSpace:
    return fit(sources(), SHORT)


def with_dice(task: Task, dice: object) -> Task:
    return replace(task, candidates=replace(task.candidates, dice=dice))


def size_world() -> list[Task]:
    """Where the largest network is the best of every data set, whatever its images."""
    return [with_dice(task, 0.2 + 0.6 * _rank(task.candidates)) for task in sources()]


def _rank(known: Candidates) -> np.ndarray:
    return known.parameters.argsort().argsort() / len(known)


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_offered_first_has_the_highest_score_and_of_equal_ones_the_nearer_source(name: str) -> None:
    scores = order_scores(name, space(), sources(), TARGET.sample)
    ranked = rank(space(), sources(), TARGET.sample, name)

    known = {(t.name, i): float(v) for t, row in zip(sources(), scores, strict=True) for i, v in enumerate(row)}
    found = [known[one.task.name, one.index] for one in ranked]
    assert len(ranked) == len(known) == 48 and np.allclose(found, sorted(found, reverse=True), atol=1e-6)
    if name != "meta-space":  # whose scores have no ties
        pairs = [(-known[one.task.name, one.index], one.remoteness) for one in ranked]
        assert pairs == sorted(pairs)
    assert [one.index for one in ranked[:3]] == [one.index for one in list(ranked)[:3]]


def test_scores_mean_what_they_say() -> None:
    first, *others = sources()
    nearest, _ = nearest_task(TARGET.sample, sources())
    found = {name: order_scores(name, space(), sources(), TARGET.sample) for name in ORDERS}

    # The planted data sets have the very same configurations.
    dice = np.stack([task.candidates.dice for task in sources()])
    assert all(np.allclose(rows, dice.mean(axis=0)) for rows in found["best-on-average"])
    assert all(np.array_equal(rows, nearest.candidates.dice) for rows in found["nearest"])
    assert all(rows.max() == 1 for rows in found["largest"])
    assert np.allclose(found["largest"][0], first.candidates.parameters / first.candidates.parameters.max())
    models = space().embed_models(first.candidates.topology, first.candidates.responses)
    own = space().embed_dataset(TARGET.sample)
    assert np.allclose(found["predicted-dice"][0], space().predict(own, models))
    far = remoteness(sources(), TARGET.sample)[0]
    assert np.allclose(found["meta-space"][0], models @ own - SHORT.remoteness * far, atol=1e-6)
    assert others and max(remoteness(sources(), TARGET.sample)) == 1


def test_remoteness_is_the_squared_distance_in_units_of_the_largest() -> None:
    near, middle, far = (
        replace(task, sample=replace(TARGET.sample, name=task.dataset, features=TARGET.sample.features + place))
        for task, place in zip(sources(), (1, 2, 4), strict=False)
    )

    assert remoteness([far, near, middle], TARGET.sample) == pytest.approx([1, 1 / 16, 1 / 4])
    again = [replace(task, sample=TARGET.sample) for task in sources()]
    assert remoteness(again, TARGET.sample) == [0.0] * 4 and remoteness([], TARGET.sample) == []


def test_an_average_is_over_the_nearest_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_iac.metaspace.orders.AVERAGED", 1)
    near = sources()[int(np.argmin(remoteness(sources(), TARGET.sample)))]
    assert all(
        np.allclose(rows, near.candidates.dice)
        for rows in order_scores("best-on-average", space(), sources(), TARGET.sample)
    )


def test_a_space_that_predicts_nothing_has_no_such_order() -> None:
    blind = fit(sources(), replace(SHORT, performance=0.0))
    assert set(ORDERS) - set(usable_orders(blind)) == {"predicted-dice"}
    for name in ("predicted-dice", "newest"):
        with pytest.raises(
            ValueError, match=rf"--order: expected one of meta-space, best-on-average, .*, got '{name}'"
        ):
            rank(blind, sources(), TARGET.sample, name)


# --- the choice -----------------------------------------------------------------------------------------------------


def test_the_zoo_chooses_what_served_it_best_in_either_world() -> None:
    """Where size decides it is size; where the images decide it is an order that looks at them."""
    by_size = choose_order(MEASURED, size_world(), TARGET.sample, SHORT)
    by_image = choose_order(MEASURED, planted_tasks(6), TARGET.sample, FitSettings())

    assert by_size.lost["largest"] == 0 and by_size.name in ("best-on-average", "largest", "nearest")
    assert by_image.name in ("nearest", "meta-space", "predicted-dice")
    for choice in (by_size, by_image):
        assert choice.lost[choice.name] == min(choice.lost.values()) and set(choice.lost) == set(ORDERS)
        assert choice.text.startswith(f"Order of candidates: {choice.name}, with which T1 lost ")
        assert json.loads(json.dumps(choice.to_dict()))["lost"] == choice.lost


def test_the_choice_is_the_least_regret_of_the_evaluation_and_then_the_correlation() -> None:
    found = evaluate_retrieval(sources(), SHORT)
    choice = best_order(found)
    means = {name: found.mean("nearest", name) for name in ORDERS}
    for count in (1, 5, 10):
        assert best_order(found, count).lost == {name: one.regret[count] for name, one in means.items()}
    assert choice.lost[choice.name] == min(one.regret[1] for one in means.values())
    level = RetrievalEvaluation(
        tuple(replace(o, scores=replace(o.scores, regret=dict.fromkeys((1, 5, 10), 0.1))) for o in found.offers), ()
    )
    best = max(ORDERS, key=lambda name: means[name].spearman or 0.0)
    assert best_order(level).name == best


def test_of_many_sources_the_nearest_data_sets_are_asked_with_one_task_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_choice, "ASKED", 2)
    asked: list[str] = []
    again = [replace(task, name=f"{task.name} fold 1") for task in sources()]
    choose_order(MEASURED, [*sources(), *again], TARGET.sample, replace(SHORT, steps=2), listener=asked.append)
    order = np.argsort(remoteness(sources(), TARGET.sample))[:2]
    assert sorted(text.split(": ")[1] for text in asked) == sorted(sources()[place].name for place in order)


def test_who_may_not_have_the_largest_networks_is_told_what_serves_among_the_others() -> None:
    """The three largest are the best by far, of the others the smallest: size wins without a limit, loses with one."""

    def dice(known: Candidates) -> np.ndarray:
        rank = known.parameters.argsort().argsort()
        return np.where(rank >= 9, 0.9 + 0.01 * rank / 12, 0.6 - 0.04 * rank)

    tasks = [with_dice(task, dice(task.candidates)) for task in sources()]
    limit = float(np.sort(tasks[0].candidates.parameters)[8])

    free = choose_order(MEASURED, tasks, TARGET.sample, SHORT)
    bound = choose_order(MEASURED, tasks, TARGET.sample, SHORT, max_parameters=limit)

    assert free.lost["largest"] == 0 and bound.lost["largest"] == pytest.approx(8 * 0.04)
    assert bound.lost["best-on-average"] == 0 and bound.why.endswith(
        f", among networks of at most {limit:,.0f} parameters"
    )
    offered = evaluate_retrieval(tasks, SHORT, max_parameters=limit).offers
    assert {one.pairs for one in offered} == {3 * 9}
    assert evaluate_retrieval(tasks, SHORT, max_parameters=1e12) == evaluate_retrieval(tasks, SHORT)


@pytest.mark.parametrize("place", [None, 3])
def test_a_limit_that_leaves_too_few_to_score_asks_about_all_and_says_so(place: int | None) -> None:
    """No candidate, or four of the five that an order is scored by: better asked without a limit than not at all."""
    limit = 1.0 if place is None else float(np.sort(sources()[0].candidates.parameters)[place])
    settings = replace(SHORT, steps=2)
    free = choose_order(MEASURED, size_world(), TARGET.sample, settings)
    bound = choose_order(MEASURED, size_world(), TARGET.sample, settings, max_parameters=limit)
    assert (bound.name, bound.lost) == (free.name, free.lost) and free.lost
    assert bound.why == f"{free.why}, among networks of any size, as too few have at most {limit:,.0f} parameters"


def test_what_counts_are_the_parameters_on_the_held_out_plan() -> None:
    """Others of the very same networks, whose own plans count ten times as many, may be offered all the same."""
    first, *others = size_world()
    tasks = [
        first,
        *(replace(t, candidates=replace(t.candidates, parameters=10 * t.candidates.parameters)) for t in others),
    ]
    most, settings = float(first.candidates.parameters.max()), replace(SHORT, steps=2)
    found = evaluate_retrieval(tasks, settings, held_out=[first.name], max_parameters=most)
    assert {one.pairs for one in found.offers} == {3 * len(first.candidates)}


def test_a_choice_is_tested_on_data_sets_that_had_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, settings = size_world(), replace(SHORT, steps=2)
    found = evaluate_retrieval(tasks, settings)
    chosen_from = []
    choose = order_choice.choose_order
    monkeypatch.setattr(
        order_choice,
        "choose_order",
        lambda wish, sources, target, s, **more: (
            chosen_from.append((target.name, [t.dataset for t in sources])),
            choose(wish, sources, target, s, **more),
        )[1],
    )
    nested = with_choice(found, tasks, settings)

    assert [name for name, _ in chosen_from] == [task.dataset for task in tasks]
    assert all(name not in others and len(others) == 3 for name, others in chosen_from)
    measured = [one for one in nested.offers if one.method == MEASURED]
    assert {one.task for one in measured} == {task.name for task in tasks}
    assert nested.mean("nearest", MEASURED).regret[1] == 0, "size decides in all of them"
    assert nested.offers[: len(found.offers)] == found.offers
    assert "its sources choose" in nested.markdown()


def test_too_few_data_sets_cannot_choose_and_say_so() -> None:
    choice = choose_order(MEASURED, sources()[:2], TARGET.sample, SHORT)
    assert choice.name == "meta-space" and choice.lost == {}
    assert choice.text == "Order of candidates: meta-space, untested: that takes 3 other data sets, the zoo has 2."
    unscored = best_order(RetrievalEvaluation((), ("A: no order can be scored.",)))
    assert unscored.text == "Order of candidates: meta-space, untested: A: no order can be scored."


def test_a_wish_is_granted_without_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_choice, "evaluate_retrieval", None)
    assert choose_order("largest", sources(), TARGET.sample, SHORT).text == (
        "Order of candidates: largest, as asked for."
    )
    with pytest.raises(ValueError, match=r"--order: expected one of measured, meta-space, .*, got 'newest'"):
        choose_order("newest", sources(), TARGET.sample, SHORT)


def test_commands_and_settings_know_the_same_orders() -> None:
    assert retrieve.ORDERS == WISHES
    for name in WISHES:
        assert Settings.from_block({"retrieval": {"order": name}}).retrieval.order == name
    with pytest.raises(ValueError, match=r"retrieval\.order: expected one of"):
        Settings.from_block({"retrieval": {"order": "newest"}})
