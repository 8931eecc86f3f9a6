"""The contrastive loss: its laws, the same from scipy image by image, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from scipy.spatial import distance as scipy_distance

from nnunet_iac.robustness.distances import DISTANCES, Distance, feature_distance, has_direction
from nnunet_iac.robustness.score import DEFAULT, ScoringConfiguration, negative_indices, score_features

SCIPY = {
    "cosine": scipy_distance.cosine,
    "l2": lambda a, b: scipy_distance.sqeuclidean(a, b) / len(a),
    "pearson": scipy_distance.correlation,
}
every_distance = pytest.mark.parametrize("distance", DISTANCES)


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss(query: torch.Tensor, positive: torch.Tensor, **words) -> float:
    return score_features(query, positive, ScoringConfiguration(**words)).loss


def test_every_distance_is_listed():
    assert set(DISTANCES) == set(get_args(Distance))


@every_distance
def test_distances_are_those_of_scipy(distance):
    a, b = features(6, 9).double(), features(6, 9, seed=1).double()

    ours = feature_distance(a, b, distance)

    expected = [SCIPY[distance](x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))


@every_distance
@pytest.mark.parametrize("images", [2, 3, 6, 7])
def test_the_loss_is_the_formula_image_by_image(distance, images):
    q, k = features(images, 12), features(images, 12, seed=1)

    def term(i: int) -> float:
        d = SCIPY[distance]
        other = (i + images // 2) % images
        return max(0.0, d(q[i].numpy(), k[i].numpy()) - d(q[i].numpy(), k[other].numpy()) + 0.25)

    expected = sum(term(i) for i in range(images)) / images
    assert loss(q, k, distance=distance, margin=0.25) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("images", range(2, 40))
def test_no_image_is_its_own_negative_and_each_is_one_once(images):
    found = negative_indices(images).tolist()

    assert all(i != other for i, other in enumerate(found))
    assert sorted(found) == list(range(images))


@every_distance
def test_robust_and_well_separated_features_have_no_loss(distance):
    far = torch.eye(4) * 10
    assert loss(far, far.clone(), distance=distance, margin=0.5) == 0.0


@every_distance
@pytest.mark.parametrize("value", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5, 1.0])
def test_constant_features_have_the_margin_as_loss(distance, value, margin):
    constant = torch.full((5, 7), value)
    assert loss(constant, constant.clone(), distance=distance, margin=margin) == margin


def test_features_that_confuse_images_have_more_than_the_margin():
    query = torch.eye(2)
    assert loss(query, query.flip(0), margin=0.5) == 1.5


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_cosine_does_not_know_the_scale_of_a_feature(scale):
    q, k = features(5, 8), features(5, 8, seed=1)
    assert loss(q * scale, k / scale) == pytest.approx(loss(q, k))


def test_pearson_knows_neither_scale_nor_offset():
    q, k = features(5, 8).double(), features(5, 8, seed=1).double()
    assert loss(3 * q + 5, k - 2, distance="pearson") == pytest.approx(loss(q, k, distance="pearson"))


def test_l2_does_know_the_scale():
    q, k = features(5, 8), features(5, 8, seed=1)
    assert loss(3 * q, 3 * k, distance="l2", margin=1) != pytest.approx(loss(q, k, distance="l2", margin=1))


@every_distance
@pytest.mark.parametrize("images", [4, 5])
def test_order_does_not_matter_where_every_image_keeps_its_negative(distance, images):
    q, k = features(images, 8), features(images, 8, seed=1)
    rotated = torch.arange(images).roll(2)

    assert loss(q[rotated], k[rotated], distance=distance) == pytest.approx(loss(q, k, distance=distance))


@every_distance
def test_the_order_of_features_does_not_matter(distance):
    q, k, order = features(4, 8), features(4, 8, seed=1), torch.arange(8).flip(0)
    assert loss(q[:, order], k[:, order], distance=distance) == pytest.approx(loss(q, k, distance=distance))


@pytest.mark.parametrize("spatial", [(5, 4), (3, 5, 4)])
def test_pooling_is_the_spatial_mean(spatial):
    q, k = features(3, 6, *spatial), features(3, 6, *spatial, seed=1)

    assert loss(q, k) == pytest.approx(loss(q.flatten(2).mean(2), k.flatten(2).mean(2)), abs=1e-6)
    assert loss(q, k, pooled=False) == loss(q.flatten(1), k.flatten(1))
    assert loss(q, k, pooled=False) != pytest.approx(loss(q, k), abs=1e-3)


def test_half_precision_is_not_summed_in_half_precision():
    maps = torch.full((2, 1, 300, 300), 2.0, dtype=torch.float16)
    assert loss(maps, maps.clone(), distance="l2") == 0.5


def test_features_without_direction_are_as_far_from_everything_and_counted():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0]])

    assert feature_distance(rows, rows, "cosine").tolist() == [1.0, 0.0]
    score = score_features(rows, rows)
    assert (score.undefined, score.images) == (2, 2)
    assert score.loss == pytest.approx((0.5 + 0.0) / 2)


def test_a_constant_vector_has_a_direction_for_cosine_and_none_for_pearson():
    rows = torch.tensor([[0.1] * 7, [0.0] * 7])

    assert has_direction(rows, "cosine").tolist() == [True, False]
    assert has_direction(rows, "pearson").tolist() == [False, False]
    assert has_direction(rows, "l2").all()


def test_defined_features_are_not_counted():
    assert score_features(features(4, 8), features(4, 8, seed=1)).undefined == 0


def test_scoring_changes_nothing_and_needs_no_gradient():
    q, k = features(3, 4).requires_grad_(), features(3, 4, seed=1)
    before = q.detach().clone()

    assert score_features(q, k) == score_features(q, k)
    assert torch.equal(q.detach(), before) and q.grad is None


def test_the_defaults_are_those_of_the_papers_code():
    assert DEFAULT == ScoringConfiguration(distance="cosine", margin=0.5, pooled=True, level=-2)


@pytest.mark.parametrize("argument", ["query", "positive"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_named_and_counted(argument, value):
    batches = {"query": features(3, 4), "positive": features(3, 4)}
    batches[argument][1, :2] = value

    with pytest.raises(ValueError, match=rf"^{argument}: .* 2 NaN or infinite values in 1 of 3 images"):
        score_features(**batches)


def test_a_batch_of_one_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"at least 2, got 1; .* add some"):
        score_features(features(1, 4), features(1, 4))


@pytest.mark.parametrize("other", [(3, 5), (2, 4), (3, 4, 2)])
def test_batches_of_different_shapes_are_refused(other):
    with pytest.raises(ValueError, match="positive: expected the query's shape"):
        score_features(features(3, 4), features(*other))


def test_features_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one feature"):
        score_features(torch.zeros(3, 0), torch.zeros(3, 0))


def test_all_errors_of_a_configuration_are_reported_together():
    with pytest.raises(ValueError, match=r"distance: .*'euclid'.*margin: .*-1.*level: .*'deep'"):
        ScoringConfiguration(distance="euclid", margin=-1, level="deep")  # type: ignore[arg-type]
