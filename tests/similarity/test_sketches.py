"""Vectors of Gaussians: the bounds hold for every pair, projections are right on average."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein
from nnunet_iac.similarity.scan import empty_table, label_costs, relaxed_transport
from nnunet_iac.similarity.sketches import SketchSettings, root, sketch

RNG = np.random.default_rng(11)
SETTINGS = SketchSettings(dimensions=5, projections=4000)


def gaussian(count: int = 12) -> Gaussian:
    return Gaussian.from_samples(RNG.standard_normal((count, 5)) @ RNG.standard_normal((5, 5)) + RNG.standard_normal(5))


def root_distance(a: Gaussian, b: Gaussian) -> float:
    return float(np.hypot(np.linalg.norm(a.mean - b.mean), np.linalg.norm(root(a) - root(b))))


def test_the_root_is_a_root_of_any_rank() -> None:
    for count in (1, 2, 4, 12):
        g = gaussian(count)
        np.testing.assert_allclose(root(g) @ root(g), g.covariance, atol=1e-9)


def test_distances_of_vectors_bound_the_distance_of_gaussians() -> None:
    for _ in range(60):
        a, b = gaussian(int(RNG.integers(1, 12))), gaussian(int(RNG.integers(1, 12)))
        exact, above = bures_wasserstein(a, b), root_distance(a, b)
        below = np.linalg.norm(sketch(a, SETTINGS).lower - sketch(b, SETTINGS).lower)
        assert below <= exact * (1 + 1e-9) + 1e-9
        assert exact <= above * (1 + 1e-9) + 1e-9
        assert above <= np.sqrt(2) * exact * (1 + 1e-9) + 1e-9


def test_near_an_isotropic_gaussian_the_root_is_the_distance() -> None:
    for size in (1e-1, 1e-2, 1e-3):
        parts = RNG.standard_normal((2, 5, 5)) * size
        a, b = (Gaussian.from_moments(np.zeros(5), np.eye(5) + part + part.T) for part in parts)
        assert root_distance(a, b) == pytest.approx(bures_wasserstein(a, b), rel=2 * size)


def test_both_are_exact_for_diagonal_covariances() -> None:
    a, b = (Gaussian.from_moments(RNG.standard_normal(5), np.diag(RNG.uniform(0, 2, 5))) for _ in range(2))
    lower = np.linalg.norm(sketch(a, SETTINGS).lower - sketch(b, SETTINGS).lower)

    assert root_distance(a, b) == pytest.approx(bures_wasserstein(a, b)) == pytest.approx(lower)


def test_projections_keep_distances_within_a_few_per_cent() -> None:
    for _ in range(10):
        a, b = gaussian(), gaussian()
        found = np.linalg.norm(sketch(a, SETTINGS).estimate - sketch(b, SETTINGS).estimate)
        assert found == pytest.approx(root_distance(a, b), rel=0.06)


def test_signs_are_those_of_the_stream() -> None:
    found = sketch(Gaussian.from_moments(np.zeros(3), np.eye(3)), SketchSettings(dimensions=3, projections=4))

    # Golden: u^T v / 2 for signs u, v from PCG64(0); a change here makes stored indices worthless.
    assert found.root.tolist() == pytest.approx([0.5, 1.5, -1.5, -0.5])


def test_a_scan_gives_the_bounds_of_every_label() -> None:
    settings = SketchSettings(dimensions=5)
    sources = [[gaussian() for _ in range(count)] for count in (2, 1, 3)]
    query = [gaussian(), gaussian()]
    rows = [[sketch(g, settings) for g in source] for source in sources]
    table = empty_table(settings).extended(rows[:1], [np.full(2, 0.5)])
    table = table.extended(rows[1:], [np.ones(1), np.full(3, 1 / 3)])

    costs = label_costs(table, [sketch(g, settings) for g in query])

    exact = np.array([[bures_wasserstein(g, q) for source in sources for g in source] for q in query])
    assert costs.lower.shape == costs.estimates.shape == (2, 6) and (np.sqrt(costs.lower) <= exact + 1e-6).all()
    np.testing.assert_allclose(np.sqrt(costs.estimates), exact, rtol=0.35)
    relaxed = relaxed_transport(table, exact**2, np.array([0.3, 0.7]))
    assert relaxed[1] == pytest.approx(exact[:, 2] ** 2 @ [0.3, 0.7])  # one label: nothing to relax


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="projections: expected a positive"):
        SketchSettings(dimensions=3, projections=0)
    with pytest.raises(ValueError, match="expected 3 dimensions as in the settings, got 5"):
        sketch(gaussian(), SketchSettings(dimensions=3))
