"""The data-set encoder looks at a set: no order, no copies; the standardisation knows what it never saw vary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_world import planted_tasks

from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.standardisation import Standardisation
from nnunet_iac.metaspace.task import DatasetSample


@pytest.fixture(scope="module")
def space() -> MetaSpace:
    return fit(planted_tasks(3), FitSettings(steps=5))


def sample(features: np.ndarray) -> DatasetSample:
    return DatasetSample("any", features, {"name": "planted"})


def test_the_order_of_images_changes_no_bit(space: MetaSpace) -> None:
    features = planted_tasks(4)[3].sample.features
    shuffled = np.random.default_rng(0).permutation(features)

    assert np.array_equal(space.embed_dataset(sample(features)), space.embed_dataset(sample(shuffled)))


def test_copies_of_all_images_change_no_bit(space: MetaSpace) -> None:
    features = planted_tasks(4)[3].sample.features
    twice = np.repeat(features, 3, axis=0)

    assert np.array_equal(space.embed_dataset(sample(features)), space.embed_dataset(sample(twice)))


def test_embeddings_have_length_one_and_predictions_are_shares(space: MetaSpace) -> None:
    task = planted_tasks(4)[3]
    dataset = space.embed_dataset(task.sample)
    models = space.embed_models(task.candidates.topology, task.candidates.responses)

    assert np.linalg.norm([dataset, *models], axis=1) == pytest.approx(np.ones(81), abs=1e-5)
    predicted = space.predict(dataset, models)
    assert predicted.shape == (80,) and 0 < predicted.min() < predicted.max() < 1


def test_a_model_has_the_same_embedding_alone_and_among_others(space: MetaSpace) -> None:
    candidates = planted_tasks(4)[3].candidates
    many = space.embed_models(candidates.topology, candidates.responses)

    assert np.allclose(space.embed_models(candidates.topology[7:8], candidates.responses[7:8])[0], many[7], atol=1e-6)


def test_what_was_constant_in_training_says_nothing_later(space: MetaSpace) -> None:
    candidates = planted_tasks(4)[3].candidates
    other = candidates.topology.copy()
    other[:, -2] = 1.0  # 3D, of which there was nothing

    assert (
        space.embed_models(other, candidates.responses) == space.embed_models(candidates.topology, candidates.responses)
    ).all()


def test_wider_and_narrower_responses_are_fitted(space: MetaSpace) -> None:
    candidates = planted_tasks(4)[3].candidates
    wider = np.pad(candidates.responses, ((0, 0), (0, 5)), constant_values=3.0)
    zeroed = np.pad(candidates.responses[:, :8], ((0, 0), (0, 4)))

    plain = space.embed_models(candidates.topology, candidates.responses)
    assert (space.embed_models(candidates.topology, wider) == plain).all()
    narrow = space.embed_models(candidates.topology, candidates.responses[:, :8])
    assert (narrow == space.embed_models(candidates.topology, zeroed)).all() and (narrow != plain).any()


def test_data_sets_count_the_same_however_many_images_they_have() -> None:
    few, many = np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[8.0, 1.0]])

    one, other = Standardisation.of([few, many]), Standardisation.of([few, np.repeat(many, 50, axis=0)])

    assert torch.equal(one.mean, other.mean) and torch.equal(one.scale, other.scale)
    assert one.mean.tolist() == [4.5, 1.0] and one.scale[1] == 0


def test_other_encoders_and_bad_numbers_are_errors(space: MetaSpace) -> None:
    task = planted_tasks(3)[0]
    with pytest.raises(ValueError, match=r"expected features of the encoder \{'name': 'planted'\}, got 'resnet'"):
        space.embed_dataset(DatasetSample("new", task.sample.features, "resnet"))
    with pytest.raises(ValueError, match="expected 24 features of each image, got 3"):
        space.embed_dataset(sample(task.sample.features[:, :3]))
    with pytest.raises(ValueError, match="responses: expected finite numbers"):
        space.embed_models(task.candidates.topology, np.full((80, 4), np.nan))
    with pytest.raises(ValueError, match="topology: expected 32 columns and as many rows as responses"):
        space.embed_models(task.candidates.topology[:, :5], task.candidates.responses)
