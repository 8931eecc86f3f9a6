"""The order in which candidates are offered, and the walk down to those that are allowed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planted_world import planted_task, planted_tasks

from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.ranking import Ranked, rank, walk
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace

TARGET = planted_task(20)


@cache
def space() -> MetaSpace:
    return fit(planted_tasks(4), replace(FitSettings(), steps=20))


def names(ranked: list[Ranked]) -> list[tuple[str, int]]:
    return [(one.task.name, one.index) for one in ranked]


def test_the_order_is_that_of_the_cosines_of_all_candidates_together() -> None:
    ranked = rank(space(), planted_tasks(4), TARGET.sample)

    target = space().embed_dataset(TARGET.sample)
    expected = {
        (task.name, index): float(model @ target)
        for task in planted_tasks(4)
        for index, model in enumerate(space().embed_models(task.candidates.topology, task.candidates.responses))
    }
    assert set(names(ranked)) == set(expected) and len(ranked) == len(expected)
    assert np.allclose([one.similarity for one in ranked], sorted(expected.values(), reverse=True), atol=1e-6)
    assert all(0 <= one.predicted <= 1 for one in ranked)


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

    with pytest.raises(ValueError, match=r"expected one of the 4 nearest candidates .* candidate \d+: macs 9 > 1"):
        walk(ranked, 1, lambda one: (one, ["macs 9 > 1"]), most=4)
