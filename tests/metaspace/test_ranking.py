"""The order in which candidates are offered, and the walk down to those that are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from clustered_world import cluster, clustered_tasks
from planted_world import planted_task, planted_tasks

from nnunet_iac.metaspace import ranking
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.orders import remoteness
from nnunet_iac.metaspace.ranking import Ranked, rank, walk
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.task import Task

TARGET = planted_task(20)


@cache
def space() -> MetaSpace:
    return fit(planted_tasks(4), replace(FitSettings(), steps=20))


def names(ranked: Iterable[Ranked]) -> list[tuple[str, int]]:
    return [(one.task.name, one.index) for one in ranked]


def test_the_order_is_that_of_the_cosines_less_the_remoteness_of_the_sources() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    target = space().embed_dataset(TARGET.sample)
    cosines = {
        (task.name, index): float(model @ target)
        for task in planted_tasks(4)
        for index, model in enumerate(space().embed_models(task.candidates.topology, task.candidates.responses))
    }
    far = dict(zip([task.name for task in planted_tasks(4)], remoteness(planted_tasks(4), TARGET.sample), strict=True))
    assert set(names(ranked)) == set(cosines) and len(ranked) == len(cosines)
    assert np.allclose([one.similarity for one in ranked], [cosines[name] for name in names(ranked)], atol=1e-6)
    assert all(one.remoteness == far[one.task.name] for one in ranked)
    assert max(far.values()) == 1 and min(far.values()) > 0
    scores = [one.similarity - space().settings.remoteness * one.remoteness for one in ranked]
    assert np.allclose(scores, sorted(scores, reverse=True), atol=1e-6)
    assert all(0 <= one.predicted <= 1 for one in ranked)


def test_what_is_offered_comes_from_relatives_of_the_target_and_not_so_by_the_cosine_alone() -> None:
    first, shares, blind = [], [], []
    for seed, number in ((0, 0), (0, 1), (1, 0), (1, 1)):
        target, tasks = clustered_tasks(8, seed)[number], clustered_tasks(8, seed)
        others = [task for task in tasks if task is not target]
        fitted = fit(others, FitSettings(steps=60, seed=seed))
        for weight, found in ((FitSettings().remoteness, shares), (0.0, blind)):
            ranked = rank(replace(fitted, settings=FitSettings(remoteness=weight)), others, target.sample)
            own = [cluster(one.task) == cluster(target) for one in ranked[:10]]
            found.append(np.mean(own))
            first += [own[0]] * bool(weight)

    assert all(first) and min(shares) >= 0.8 and np.mean(blind) < np.mean(shares)


def full_sort(tasks: Sequence[Task]) -> list[tuple[str, int]]:
    """All candidates, sorted by their score in double precision; equal ones in the order given."""
    target = space().embed_dataset(TARGET.sample).astype(np.float64)
    weight = space().settings.remoteness
    cosines = [
        (task.name, index, float((model.astype(np.float64) * target).sum()) - weight * float(np.float32(far)))
        for task, far in zip(tasks, remoteness(tasks, TARGET.sample), strict=True)
        for index, model in enumerate(space().embed_models(task.candidates.topology, task.candidates.responses))
    ]
    return [one[:2] for one in sorted(cosines, key=lambda one: -one[2])]


def test_whatever_is_asked_for_first_the_order_is_that_of_a_full_sort_ties_included() -> None:
    tasks = planted_tasks(4)
    # Every candidate a second time: each ties with its copy, and comes first.
    twice = [*tasks, *(replace(task, name=f"{task.name} again") for task in tasks)]
    expected = full_sort(twice)

    assert names(rank(space(), twice, TARGET.sample)) == expected
    ranked = rank(space(), twice, TARGET.sample)
    assert names([ranked[300], ranked[-1], ranked[0]]) == [expected[300], expected[-1], expected[0]]
    assert names(ranked[5:50]) == expected[5:50] and names(ranked[:0]) == [] and ranked[7] is ranked[7]
    with pytest.raises(IndexError):
        ranked[len(expected)]


def test_only_those_that_are_looked_at_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(ranking, "Ranked", lambda *words: (made.append(words), Ranked(*words))[1])
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    walk(ranked, 5, lambda one: (one, []), most=100)
    assert len(made) == 16 < len(ranked)
    found = walk(ranked, 5, lambda one: (one, ["big"] if one.index % 4 else []), most=100)
    assert len(made) <= 2 * max(16, len(found.kept) + len(found.rejected))


def test_no_candidate_is_an_empty_order() -> None:
    ranked = rank(space(), planted_tasks(4)[:1], planted_tasks(4)[0].sample)

    assert len(ranked) == 0 and list(ranked) == [] == ranked[:3]


def test_a_data_set_is_no_source_of_its_own() -> None:
    own = planted_tasks(4)[1]

    assert {one.task.name for one in rank(space(), planted_tasks(4), own.sample)} == {
        task.name for task in planted_tasks(4) if task is not own
    }


def test_the_walk_takes_the_nearest_that_break_nothing() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    found = walk(ranked, 2, lambda one: (one.name, ["big"] if one in ranked[:3] else []), most=10)

    assert [kept for kept, _ in found.kept] == ranked[3:5] and [made for _, made in found.kept] == [
        one.name for one in ranked[3:5]
    ]
    assert [one for one, _ in found.rejected] == ranked[:3]


def test_fewer_than_wanted_are_kept_where_the_walk_ends() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    assert len(walk(ranked, 5, lambda one: (one, []), most=2).kept) == 2


def test_limits_that_nothing_meets_are_an_error_that_says_what_broke() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    with pytest.raises(ValueError, match=r"expected one of the first 4 candidates .* candidate \d+: macs 9 > 1"):
        walk(ranked, 1, lambda one: (one, ["macs 9 > 1"]), most=4)


def test_candidates_that_are_known_to_be_too_large_are_passed_over_uncounted() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)
    looked: list[Ranked] = []

    def look(one: Ranked) -> tuple[str, list[str]]:
        looked.append(one)
        return one.name, []

    found = walk(ranked, 2, look, most=2, outsized=lambda one: ["big"] if one in ranked[:150] else [])

    assert looked == ranked[150:152] == [kept for kept, _ in found.kept]
    assert [one for one, _ in found.rejected] == ranked[:150]
    with pytest.raises(ValueError, match=r"one of the first 320 .*big.*; loosen them$"):
        walk(ranked, 2, look, most=2, outsized=lambda one: ["big"])
    with pytest.raises(ValueError, match=r"one of the first 2 .* or look at more candidates .--most, retrieval.most"):
        walk(ranked, 2, lambda one: (one, ["slow"]), most=2)


def test_candidates_whose_weights_have_seen_the_target_are_not_offered() -> None:
    tasks = list(planted_tasks(4))
    tasks[2] = replace(tasks[2], candidates=replace(tasks[2].candidates, ancestors=(TARGET.dataset,)))

    assert {one.task.dataset for one in rank(space(), tasks, TARGET.sample)} == {
        task.dataset for task in tasks if task is not tasks[2]
    }
