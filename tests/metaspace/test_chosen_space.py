"""Which meta-space orders candidates: a stored one only if it never saw the target and knows the sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted_world import planted_task

from nnunet_iac.metaspace.chosen_space import SpaceWish, fitted_space, stored_space
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space_entry import to_entry
from nnunet_iac.metaspace.task import Task
from nnunet_iac.metaspace.zoo_tasks import left_without
from nnunet_iac.zoo.store import Zoo

QUICK = FitSettings(steps=2, size=8, rank=0.5)
TASKS = [planted_task(number, candidates=12, images=8) for number in range(4)]
TARGET, *SOURCES = TASKS


def stored(folder: Path, tasks: list[Task]) -> tuple[Zoo, SpaceWish]:
    zoo = Zoo.create(folder / "zoo")
    return zoo, SpaceWish(entry=zoo.add(*to_entry(fit(tasks, QUICK))).entry.id[:8])


def test_a_stored_space_is_the_one_that_was_fitted_and_says_so(tmp_path: Path) -> None:
    zoo, wish = stored(tmp_path, SOURCES)

    found = stored_space(zoo, wish, SOURCES, TARGET.sample)
    fresh = fitted_space(SpaceWish(QUICK), SOURCES)

    assert found is not None and found.entry.startswith(wish.entry) and not fresh.entry
    assert torch.equal(found.space.embeddings, fresh.space.embeddings)
    told = {**fresh.to_dict(), "entry": found.entry}
    assert found.to_dict() == told and told["settings"]["rank"] == 0.5 and len(told["datasets"]) == 3
    assert f"entry {found.entry} of the zoo" in found.text and "rank 0.5" in found.text
    assert "fitted here" in fresh.text
    assert stored_space(zoo, SpaceWish(), SOURCES, TARGET.sample) is None


def test_a_space_that_saw_the_target_is_refused(tmp_path: Path) -> None:
    zoo, wish = stored(tmp_path, TASKS)

    with pytest.raises(ValueError, match=r"Dataset001_Planted took part in it; fit one with .* --without"):
        stored_space(zoo, wish, SOURCES, TARGET.sample)


def test_a_space_that_learned_from_weights_that_saw_the_target_is_refused(tmp_path: Path) -> None:
    first, second, third = SOURCES
    child = replace(third, candidates=replace(third.candidates, ancestors=(TARGET.dataset,)))
    assert left_without([TARGET, first, second, child], [TARGET.dataset]) == [first, second]
    zoo, wish = stored(tmp_path, [first, second, child])

    with pytest.raises(ValueError, match=r"weights of candidates in it were trained on Dataset001_Planted before; fit"):
        stored_space(zoo, wish, [first, second], TARGET.sample)


def test_sources_that_had_no_part_or_changed_since_are_refused(tmp_path: Path) -> None:
    zoo, wish = stored(tmp_path, SOURCES[:2])
    with pytest.raises(ValueError, match=r"as the zoo has them now, but .*: Dataset004_Planted 2d"):
        stored_space(zoo, wish, SOURCES, TARGET.sample)

    known = SOURCES[0].candidates
    measured_anew = replace(SOURCES[0], candidates=replace(known, dice=known.dice * 0.99))
    with pytest.raises(ValueError, match=r"had other candidates or features then: Dataset002_Planted 2d"):
        stored_space(zoo, wish, [measured_anew, SOURCES[1]], TARGET.sample)
    assert stored_space(zoo, wish, SOURCES[:1], TARGET.sample) is not None, "one that is gone is no harm"


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    zoo, wish = stored(tmp_path, SOURCES)

    with pytest.raises(ValueError, match=r"--space: entry \w+: expected features of the encoder"):
        stored_space(zoo, wish, SOURCES, replace(TARGET.sample, encoder="another"))


def test_a_space_of_an_earlier_version_does_not_say_what_it_saw(tmp_path: Path) -> None:
    zoo = Zoo.create(tmp_path / "zoo")
    about, tensors = to_entry(fit(SOURCES, QUICK))
    about = replace(about, facts={name: fact for name, fact in about.facts.items() if name != "digests"})
    wish = SpaceWish(entry=zoo.add(about, tensors).entry.id)

    with pytest.raises(ValueError, match="expected a space that was fitted on the sources as the zoo has them now"):
        stored_space(zoo, wish, SOURCES, TARGET.sample)


def test_a_stored_space_and_settings_of_a_fit_contradict_each_other() -> None:
    with pytest.raises(ValueError, match=r"--space: expected no settings of a fit .* \(abc\)"):
        SpaceWish(QUICK, "abc")
