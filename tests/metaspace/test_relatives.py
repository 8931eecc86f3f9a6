"""Which data set of a zoo is the nearest, and whether that is near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from planted_world import planted_tasks

from nnunet_iac.metaspace.relatives import alike_text, find_nearness, near_text
from nnunet_iac.metaspace.task import DatasetSample

TASKS = planted_tasks(5)


def moved(by: float, of: int = 2) -> DatasetSample:
    sample = TASKS[of].sample
    return replace(sample, name="Dataset999_New", features=sample.features + by)


def test_a_copy_of_a_data_set_is_nearest_to_it() -> None:
    near, names = find_nearness(TASKS, moved(0.01))

    assert names[near.source] == TASKS[2].dataset and not near.is_outlier
    assert near_text(near, names).startswith(f"{TASKS[2].dataset} is the nearest of 5 data sets (distance 0.0")


def test_a_stranger_is_an_outlier_and_the_text_says_so() -> None:
    near, names = find_nearness(TASKS, moved(50.0))

    assert near.is_outlier
    assert "No source is near" in near_text(near, names) and "with probability 0.17" in near_text(near, names)


def test_the_same_data_under_another_name_is_said_and_a_relative_is_not() -> None:
    again = DatasetSample("Dataset104_Copy", drawn_again(2), {"name": "planted"}, TASKS[2].sample.labels)

    near, names = find_nearness(TASKS, again)

    assert [names[place] for place in near.alike] == [TASKS[2].dataset]
    assert alike_text(near, names).startswith(f"{TASKS[2].dataset}: no farther from the target than images of one data")
    assert "--without" in alike_text(near, names)
    near, names = find_nearness(TASKS, TASKS[2].sample)
    assert near.distance < 1e-6 and [names[place] for place in near.alike] == [TASKS[2].dataset], "the very same images"
    without = [task for task in TASKS if task is not TASKS[2]]
    near, names = find_nearness(without, again)
    assert near.alike == () and alike_text(near, names) == ""


def test_labels_that_alternate_from_row_to_row_do_not_make_relatives_of_strangers() -> None:
    generator = np.random.default_rng(0)
    labels = np.tile([1, 2], 64)
    of_label = 3 * generator.standard_normal((2, 16))

    def sample(number: int) -> DatasetSample:
        noise = 0.3 * generator.standard_normal((128, 16))
        features = of_label[labels - 1] + 2 * np.eye(16)[number] + noise
        return DatasetSample(f"Dataset{number:03d}_S", features, {"name": "planted"}, labels)

    sources = [replace(TASKS[number], sample=sample(number)) for number in range(4)]

    assert find_nearness(sources, sample(9))[0].alike == ()


def drawn_again(of: int) -> NDArray[np.float64]:
    """Other images of a planted data set: it adds noise of 0.5 to what they share."""
    features = TASKS[of].sample.features
    shared = np.random.default_rng(9).standard_normal(features.shape)
    return np.asarray(features.mean(axis=0) + 0.5 * shared, dtype=np.float64)


@pytest.mark.parametrize("labels", (np.zeros(64, dtype=int), np.tile([1, 2], 32), np.tile([1, 2, 3, 4], 16)))
def test_images_that_change_from_first_to_last_and_labels_that_take_turns_make_no_stranger_the_same_data(
    labels: NDArray[np.int64],
) -> None:
    drift = np.linspace(0, 20, 64)[:, None] * np.eye(24)[0] + 20 * labels[:, None] * np.eye(24)[1]
    noise = np.random.default_rng(3).standard_normal((2, 64, 24))
    own = DatasetSample("Dataset998_Own", drift + 0.1 * noise[0], {"name": "planted"}, labels)
    stranger = replace(own, name="Dataset999_Stranger", features=drift + 0.1 * noise[1] + 5 * np.eye(24)[2])
    again = replace(own, name="Dataset997_Again", features=drift + 0.1 * noise[1])

    near, names = find_nearness([replace(TASKS[0], sample=stranger), replace(TASKS[1], sample=again)], own)

    assert near.distance < 5 and [names[place] for place in near.alike] == ["Dataset997_Again"]


def test_several_tasks_of_one_data_set_are_one_source() -> None:
    again = replace(TASKS[0], name="again")

    near, names = find_nearness([*TASKS, again], moved(0.01))

    assert names == [task.dataset for task in TASKS] and len(near.usual) == 5


def test_of_few_sources_it_says_that_they_are_too_few() -> None:
    assert "too few to tell" in near_text(*find_nearness(TASKS[:2], moved(50.0)))
    with pytest.raises(ValueError, match="expected data sets other than the target, got none"):
        find_nearness([], moved(0.0))


def test_the_order_of_images_does_not_matter() -> None:
    sample = moved(0.3)
    order = np.random.default_rng(0).permutation(len(sample.features))
    labels = np.asarray(sample.labels)[order]
    shuffled = replace(sample, features=sample.features[order], labels=labels)

    assert find_nearness(TASKS, shuffled)[0].distance == pytest.approx(find_nearness(TASKS, sample)[0].distance)
