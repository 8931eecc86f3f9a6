"""Transport of samples: a slow reference, POT's own log-domain solver, one dimension, and the laws."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import textbook_otdd
from label_sets import gaussians_of, labelled

from nnunet_iac.similarity.labelled_features import LabelledFeatures, label_groups
from nnunet_iac.similarity.transport import (
    Labelled,
    TransportOptions,
    debiased,
    entropic,
    exact,
    ground_cost,
    sliced,
)

OPTIONS = TransportOptions()


def prepared(side: LabelledFeatures) -> Labelled:
    return Labelled(label_groups(side), gaussians_of(side))


@pytest.mark.parametrize("labels", [1, 2])
def test_the_exact_distance_is_that_of_the_textbook(labels: int) -> None:
    a, b = labelled(0, labels=3, per_label=4), labelled(1, labels=labels, per_label=6)

    found = exact(prepared(a), prepared(b), OPTIONS)

    assert np.sqrt(found.squared) == pytest.approx(textbook_otdd.otdd(a.features, a.labels, b.features, b.labels))
    assert found.converged and found.plan.shape == (3, labels) and found.plan.sum() == pytest.approx(1)


@pytest.mark.parametrize("regularisation", [0.1, 0.5])
def test_the_debiased_distance_is_that_of_pots_log_domain(regularisation: float) -> None:
    options = TransportOptions(regularisation=regularisation, tolerance=1e-8)
    a, b = prepared(labelled(0)), prepared(labelled(1, labels=2))
    strength = regularisation * ground_cost(a, b, options).mean()

    def value(x: Labelled, y: Labelled) -> float:
        return ot.solve(ground_cost(x, y, options), reg=strength, reg_type="KL", max_iter=2000, tol=1e-9).value

    expected = value(a, b) - (value(a, a) + value(b, b)) / 2
    assert debiased(a, b, options).squared == pytest.approx(expected, rel=1e-6)


def test_the_default_tolerance_changes_the_fifth_digit_at_most() -> None:
    a, b = prepared(labelled(0, per_label=30)), prepared(labelled(1, per_label=30))

    fine = debiased(a, b, TransportOptions(tolerance=1e-6, iterations=5000))

    assert debiased(a, b, OPTIONS).squared == pytest.approx(fine.squared, rel=1e-5)
    assert debiased(a, b, OPTIONS).converged


def test_entropy_raises_the_cost_of_the_plan_and_fades() -> None:
    a, b = prepared(labelled(0)), prepared(labelled(1))
    costs = [entropic(a, b, TransportOptions(regularisation=r, iterations=5000)).squared for r in (1.0, 0.1, 0.01)]

    least = exact(a, b, OPTIONS).squared
    assert costs == sorted(costs, reverse=True)
    assert least <= costs[-1] + 1e-9 and costs[-1] == pytest.approx(least, rel=0.01)


@pytest.mark.parametrize("solve", [exact, debiased])
def test_self_distance_is_zero_symmetric_and_blind_to_names_and_order(solve) -> None:
    side, other = labelled(0), labelled(1)
    order = np.random.default_rng(0).permutation(len(side.labels))
    renamed = LabelledFeatures(side.features[order], np.array([0, 5, -1, 9])[side.labels][order])
    a, b, c = prepared(side), prepared(other), prepared(renamed)

    assert solve(a, a, OPTIONS).squared == pytest.approx(0, abs=1e-9)
    assert solve(a, c, OPTIONS).squared == pytest.approx(0, abs=1e-4)
    assert solve(a, b, OPTIONS).squared == pytest.approx(solve(b, a, OPTIONS).squared, rel=1e-3)
    assert solve(c, b, OPTIONS).squared == pytest.approx(solve(a, b, OPTIONS).squared, rel=1e-3)


def test_costs_far_above_the_entropy_do_not_vanish() -> None:
    far = labelled(1)
    far = LabelledFeatures(np.concatenate([far.features, [[1e4] * 4]]), [*far.labels.tolist(), 3])

    found = debiased(prepared(labelled(0)), prepared(far), TransportOptions(regularisation=0.001, iterations=5000))

    assert np.isfinite(found.squared) and found.squared > 0


def test_without_the_weight_of_labels_it_is_the_transport_of_features() -> None:
    a, b = labelled(0), labelled(1)
    expected = ot.emd2([], [], ot.dist(a.features, b.features)) / 2

    found = exact(prepared(a), prepared(b), TransportOptions(label_weight=0))

    assert found.squared == pytest.approx(expected)


def test_sliced_in_one_dimension_is_exact() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 1)), rng.standard_normal((31, 1)) * 2 + 1

    assert sliced(x, y, OPTIONS) == pytest.approx(float(ot.wasserstein_1d(x, y, p=2).item()))
    assert sliced(x, y, OPTIONS) == pytest.approx(float(ot.emd2_1d(x, y)))


def test_sliced_is_seeded() -> None:
    x, y = labelled(0).features, labelled(1).features

    values = [sliced(x, y, TransportOptions(seed=seed, projections=20)) for seed in (0, 0, 1)]

    assert values[0] == values[1] != values[2]


def test_options_out_of_range_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"label_weight.*regularisation.*iterations"):
        TransportOptions(label_weight=-1, regularisation=0, iterations=0)
    with pytest.raises(ValueError, match="feature_weight: expected a positive number where label_weight is 0"):
        TransportOptions(feature_weight=0, label_weight=0)


def test_a_solver_that_was_stopped_says_so() -> None:
    a, b = prepared(labelled(0)), prepared(labelled(1))

    assert not debiased(a, b, TransportOptions(regularisation=0.001, iterations=1, tolerance=1e-9)).converged
