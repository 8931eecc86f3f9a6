"""A meta-space in the zoo gives the numbers that it gave before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_world import planted_tasks

from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space_entry import from_entry, to_entry
from nnunet_iac.zoo.store import Zoo


def test_a_space_survives_the_zoo(tmp_path: Path) -> None:
    *tasks, new = planted_tasks(4)
    space = fit(tasks, FitSettings(steps=5, size=16))
    zoo = Zoo.create(tmp_path / "zoo")

    entry = zoo.entry(zoo.add(*to_entry(space, report={"why": "test"})).entry.id)
    found = from_entry(entry, zoo.read_weights(entry))

    dataset = space.embed_dataset(new.sample)
    models = space.embed_models(new.candidates.topology, new.candidates.responses)
    assert np.array_equal(found.embed_dataset(new.sample), dataset)
    assert np.array_equal(found.embed_models(new.candidates.topology, new.candidates.responses), models)
    assert np.array_equal(found.predict(dataset, models), space.predict(dataset, models))
    assert torch.equal(found.embeddings, space.embeddings) and found.settings == space.settings
    known = ("encoder", "tasks", "datasets", "losses")
    assert [getattr(found, name) for name in known] == [getattr(space, name) for name in known]
    assert entry.facts["report"] == {"why": "test"}


def test_other_entries_are_errors() -> None:
    about, tensors = to_entry(fit(planted_tasks(2), FitSettings(steps=1, size=8)))
    with pytest.raises(ValueError, match="expected one of kind 'meta-space', got 'network'"):
        from_entry(replace(about, kind="network"), tensors)
    with pytest.raises(ValueError, match="expected a meta-space of version 1, got 2"):
        from_entry(replace(about, facts={**about.facts, "schema": 2}), tensors)
    with pytest.raises(ValueError, match=r"missing: \['encoder'\]"):
        from_entry(replace(about, facts={k: v for k, v in about.facts.items() if k != "encoder"}), tensors)
    with pytest.raises(ValueError, match=r"expected settings and tensors of a meta-space, got .*dataset\.weight"):
        from_entry(about, {k: v for k, v in tensors.items() if k != "dataset.weight"})
    with pytest.raises(ValueError, match=r"expected settings and tensors .*strange"):
        from_entry(replace(about, facts={**about.facts, "settings": {"strange": 1}}), tensors)
