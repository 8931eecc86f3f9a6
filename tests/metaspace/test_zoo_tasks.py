"""Tasks out of a zoo are what went in; what is missing is named."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_world import planted_task
from planted_zoo import about, add_features, add_task, planted_zoo

from nnunet_iac.metaspace.zoo_tasks import read_tasks
from nnunet_iac.zoo.store import Zoo


def test_tasks_come_back_as_they_were(tmp_path: Path) -> None:
    tasks = [planted_task(number, candidates=6, images=5) for number in range(2)]

    found = read_tasks(planted_zoo(tmp_path / "zoo", tasks))

    assert [task.name for task in found] == [task.name for task in tasks]
    for read, task in zip(found, tasks, strict=True):
        assert read.candidates.configurations == task.candidates.configurations
        assert np.array_equal(read.candidates.topology, task.candidates.topology)
        assert np.array_equal(read.candidates.dice, task.candidates.dice)
        assert np.allclose(read.sample.features, task.sample.features, atol=1e-5)
        assert np.array_equal(read.sample.labels, task.sample.labels)
        assert read.sample.encoder == {"encoder": "random", "dimensions": 2}
    assert Zoo(tmp_path / "zoo").entry(found[0].candidates.supernet).kind == "supernet"


def test_what_a_supernet_s_weights_have_seen_comes_along_and_older_entries_have_none(tmp_path: Path) -> None:
    task = planted_task(0, candidates=6, images=5)
    zoo = planted_zoo(tmp_path / "zoo", [task])
    assert read_tasks(zoo)[0].lineage == (task.dataset,)

    old = next(e for e in zoo.entries() if e.kind == "supernet")
    weights = zoo.read_weights(old)
    zoo.remove([old.id])
    zoo.add(about("supernet", task.dataset, {**old.facts, "ancestors": ["Dataset009_Seen"]}), weights)

    assert read_tasks(zoo)[0].lineage == (task.dataset, "Dataset009_Seen")


def test_folds_are_tasks_of_one_data_set(tmp_path: Path) -> None:
    task = planted_task(0, candidates=6, images=5)
    zoo = planted_zoo(tmp_path / "zoo", [task])
    add_task(zoo, replace(task, candidates=planted_task(0, candidates=7).candidates))

    found = read_tasks(zoo)

    assert len({one.name for one in found}) == 2 and {one.dataset for one in found} == {task.dataset}


@pytest.mark.parametrize(
    "name", ("dice", "parameters", "responses", "features", "labels", "configurations", "supernet", "encoder", "space")
)
def test_what_an_entry_lacks_is_named(tmp_path: Path, name: str) -> None:
    zoo = Zoo.create(tmp_path / "zoo")
    add_task(zoo, planted_task(0, candidates=6, images=5), leave_out=name)

    with pytest.raises(ValueError, match=f"entry .* expected the (tensor|fact) '{name}'"):
        read_tasks(zoo)


def test_missing_features_and_an_empty_zoo_are_errors(tmp_path: Path) -> None:
    zoo = Zoo.create(tmp_path / "zoo")
    with pytest.raises(ValueError, match="expected entries of kind 'subnetworks', got none; nnunet-iac zoo build"):
        read_tasks(zoo)
    task = planted_task(0, candidates=6, images=5)
    add_task(zoo, task)
    with pytest.raises(ValueError, match="for 3d_fullres, got none"):
        read_tasks(zoo, configurations=["3d_fullres"])
    zoo.remove([entry.id for entry in zoo.entries() if entry.kind == "dataset features"])
    with pytest.raises(ValueError, match=r"expected an entry of kind 'dataset features' .* nnunet-iac zoo build"):
        read_tasks(zoo)


def test_of_several_features_of_a_data_set_the_newest_count(tmp_path: Path) -> None:
    zoo = Zoo.create(tmp_path / "zoo")
    add_task(zoo, planted_task(0, candidates=6, images=5))
    add_features(zoo, planted_task(0, images=9), {"encoder": "random"})

    entries = [entry for entry in zoo.entries() if entry.kind == "dataset features"]
    newest = max(entries, key=lambda entry: (entry.created, entry.id))
    assert len(entries) == 2
    assert len(read_tasks(zoo)[0].sample.features) == len(zoo.read_weights(newest)["features"])


OTHERS = {"plans": {"plans": {"plans_name": "others"}}, "patch": {"patch_size": (16, 16)}}


@pytest.mark.parametrize("other", OTHERS)
def test_features_of_the_same_plans_and_patch_come_before_newer_ones(tmp_path: Path, other: str) -> None:
    zoo = Zoo.create(tmp_path / "zoo")
    add_task(zoo, planted_task(0, candidates=6, images=5))
    time.sleep(1.1)  # entries count seconds
    add_features(zoo, planted_task(0, images=9), {"encoder": "random"}, **OTHERS[other])
    told: list[str] = []

    assert len(read_tasks(zoo, skipped=told.append)[0].sample.features) == 5 and told == []
    own = next(
        e
        for e in zoo.entries()
        if e.kind == "dataset features" and e.plans == {"plans_name": "nnUNetPlans"} and e.patch_size == (32, 32)
    )
    zoo.remove([own.id])
    assert len(read_tasks(zoo, skipped=told.append)[0].sample.features) == 9
    assert len(told) == 1 and "features of other plans or another patch size" in told[0]
    with pytest.warns(UserWarning, match="other plans or another patch size"):
        read_tasks(zoo)


def test_numbers_that_do_not_fit_name_the_entry(tmp_path: Path) -> None:
    task = planted_task(0, candidates=6, images=5)
    object.__setattr__(task.candidates, "dice", np.full(6, np.nan))
    with pytest.raises(ValueError, match=r"entry .* \(planted\): candidates: dice: expected 6 finite numbers"):
        read_tasks(planted_zoo(tmp_path / "zoo", [task]))
