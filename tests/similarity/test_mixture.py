"""Laws of the transport between label Gaussians, and how it is tied to OTDD."""

from __future__ import annotations

import numpy as np
import pytest
from label_sets import gaussians_of, labelled

from nnunet_iac.similarity import transport
from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein
from nnunet_iac.similarity.labelled_features import LabelledFeatures, label_groups
from nnunet_iac.similarity.mixture import LabelGaussians, label_transport


def apart(a: LabelledFeatures, b: LabelledFeatures) -> float:
    return label_transport(gaussians_of(a), gaussians_of(b)).distance


def test_self_distance_is_zero_and_the_distance_is_symmetric_and_a_metric() -> None:
    for seed in range(20):
        a, b, c = (labelled(3 * seed + i, labels=i + 1) for i in range(3))
        assert apart(a, a) < 1e-9
        assert apart(a, b) == pytest.approx(apart(b, a))
        assert apart(a, c) <= apart(a, b) + apart(b, c) + 1e-9


def test_numbers_of_labels_and_order_of_samples_mean_nothing() -> None:
    a, b = labelled(0), labelled(1)
    order = np.random.default_rng(0).permutation(len(b.labels))
    renamed = LabelledFeatures(b.features[order], np.array([0, 7, -3, 50])[b.labels][order])

    assert apart(a, renamed) == pytest.approx(apart(a, b))


def test_with_one_label_it_is_the_distance_of_the_two_gaussians() -> None:
    a, b = labelled(0, labels=1), labelled(1, labels=1)

    expected = bures_wasserstein(Gaussian.from_samples(a.features), Gaussian.from_samples(b.features))

    assert apart(a, b) == pytest.approx(expected)


def test_plans_move_the_shares_of_the_labels() -> None:
    a, b = gaussians_of(labelled(0)), gaussians_of(labelled(1, labels=2))

    found = label_transport(a, b)

    np.testing.assert_allclose(found.plan.sum(axis=1), a.weights)
    np.testing.assert_allclose(found.plan.sum(axis=0), b.weights)
    assert found.distance**2 == pytest.approx((found.plan * found.costs**2).sum())


def test_otdd_is_never_below_the_mean_with_the_whole_sets() -> None:
    for seed in range(15):
        groups = [label_groups(labelled(2 * seed + i)) for i in range(2)]
        sides = [transport.Labelled(g, gaussians_of(labelled(2 * seed + i))) for i, g in enumerate(groups)]
        labels = label_transport(*(side.gaussians for side in sides)).distance
        whole = bures_wasserstein(*(side.gaussians.whole for side in sides))
        exact = transport.exact(*sides, transport.TransportOptions()).squared
        assert exact >= (labels**2 + whole**2) / 2 - 1e-9


def test_between_moved_copies_it_equals_otdd() -> None:
    a = labelled(0)
    moved = LabelledFeatures(a.features + 3.0, a.labels)
    sides = [transport.Labelled(label_groups(x), gaussians_of(x)) for x in (a, moved)]

    exact = transport.exact(*sides, transport.TransportOptions()).squared

    assert apart(a, moved) == pytest.approx(6.0)
    assert exact == pytest.approx(36.0)


def test_truncated_labels_are_within_their_slack() -> None:
    a, b = gaussians_of(labelled(0)), gaussians_of(labelled(1))
    short = a.truncated(2)

    assert label_transport(a, short).distance <= short.slack + 1e-9
    assert abs(label_transport(short, b).distance - label_transport(a, b).distance) <= short.slack + 1e-9
    assert short.slack > 0


def test_weights_that_are_no_shares_are_refused() -> None:
    one = Gaussian.from_samples([[0.0], [1.0]])
    with pytest.raises(ValueError, match="positive shares"):
        LabelGaussians((one, one), [0.5, 0.6], ("a", "b"))
    with pytest.raises(ValueError, match="as many weights and names"):
        LabelGaussians((one,), [1.0], ())
