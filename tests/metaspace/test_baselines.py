"""Orders without a meta-space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from planted_world import planted_task

from nnunet_iac.metaspace.baselines import best_on_average, nearest_dataset, transferred_dice
from nnunet_iac.metaspace.task import Candidates, Task


def picked(task: Task, places: list[int], dice: list[float]) -> Task:
    known = task.candidates
    chosen = Candidates(
        known.topology[places],
        known.responses[places],
        np.array(dice),
        known.parameters[places],
        tuple(known.configurations[place] for place in places),
    )
    return replace(task, candidates=chosen)


FIRST, SECOND, THIRD = (planted_task(number, candidates=9) for number in range(3))


def test_shared_configurations_bring_their_own_dice_in_any_order() -> None:
    target = picked(FIRST, [4, 0, 7], [0.1, 0.2, 0.3])
    source = picked(SECOND, [7, 1, 4, 0], [0.7, 0.5, 0.4, 0.9])

    assert transferred_dice(target, source).tolist() == [0.4, 0.9, 0.7]


def test_the_average_gives_each_data_set_one_say() -> None:
    target = picked(FIRST, [4, 0], [0.1, 0.2])
    one = picked(SECOND, [4, 0], [0.2, 0.6])
    other = [replace(picked(THIRD, [4, 0], dice), name=name) for name, dice in (("a", [0.4, 0.8]), ("b", [0.8, 0.4]))]

    assert np.allclose(best_on_average(target, [one, *other]), [0.4, 0.6])


def test_the_nearest_data_set_is_the_one_with_the_nearest_images() -> None:
    copy = replace(SECOND, name="copy", sample=FIRST.sample)

    scores, source, distance = nearest_dataset(FIRST, [THIRD, copy, SECOND])

    assert source is copy and distance < 1e-6 and np.array_equal(scores, SECOND.candidates.dice)
