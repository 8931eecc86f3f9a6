"""Laws of the Bures-Wasserstein distance; POT and closed forms agree."""

from __future__ import annotations

import numpy as np
import ot
import pytest

from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein, bures_wasserstein_matrix

RNG = np.random.default_rng(5)


def samples(count: int = 30, dimensions: int = 6) -> np.ndarray:
    return (
        RNG.standard_normal((count, dimensions)) @ RNG.standard_normal((dimensions, dimensions))
        + RNG.standard_normal(dimensions) * 2
    )


def gaussian(count: int = 30, dimensions: int = 6) -> Gaussian:
    return Gaussian.from_samples(samples(count, dimensions))


@pytest.mark.parametrize(("count", "dimensions"), [(30, 6), (5, 40), (1, 4), (2, 1)])
def test_a_gaussian_is_at_distance_zero_from_itself_in_any_order_of_samples(count: int, dimensions: int) -> None:
    x = samples(count, dimensions)
    same, shuffled = Gaussian.from_samples(x), Gaussian.from_samples(x[RNG.permutation(count)])

    assert bures_wasserstein(same, same) < 1e-12 * max(1, np.sqrt(same.trace))
    assert bures_wasserstein(same, shuffled) < 1e-12 * max(1, np.sqrt(same.trace))


def test_the_distance_is_symmetric_and_obeys_the_triangle_inequality() -> None:
    for _ in range(30):
        a, b, c = (gaussian(int(RNG.integers(1, 12))) for _ in range(3))
        ab, bc, ac = bures_wasserstein(a, b), bures_wasserstein(b, c), bures_wasserstein(a, c)
        assert ab == pytest.approx(bures_wasserstein(b, a), rel=1e-10)
        assert ac <= ab + bc + 1e-9


def test_pot_finds_the_same_in_batches() -> None:
    sources, targets = [gaussian() for _ in range(3)], [gaussian() for _ in range(2)]
    means, covariances = zip(
        *((np.stack([g.mean for g in side]), np.stack([g.covariance for g in side])) for side in (sources, targets)),
        strict=True,
    )

    expected = ot.gaussian.bures_wasserstein_distance(*means, *covariances)

    np.testing.assert_allclose(bures_wasserstein_matrix(sources, targets), expected, rtol=1e-6)


def test_the_closed_form_of_one_dimension() -> None:
    a, b = Gaussian.from_moments([1.0], [[4.0]]), Gaussian.from_moments([-2.0], [[0.25]])

    assert bures_wasserstein(a, b) == pytest.approx(np.hypot(3.0, 2.0 - 0.5))


def test_the_closed_form_of_diagonal_covariances() -> None:
    means, deviations = RNG.standard_normal((2, 7)), RNG.uniform(0, 3, (2, 7))
    a, b = (Gaussian.from_moments(m, np.diag(s**2)) for m, s in zip(means, deviations, strict=True))

    assert bures_wasserstein(a, b) == pytest.approx(
        np.linalg.norm(np.stack([means, deviations])[:, 0] - [*means[1:], *deviations[1:]])
    )


def test_nearly_equal_covariances_lose_no_digits() -> None:
    deviation = 1e-9
    a, b = (Gaussian.from_moments([0.0, 0.0], np.diag(s)) for s in ([1.0, 1.0], [(1 + deviation) ** 2, 1.0]))

    assert bures_wasserstein(a, b) == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_fewer_samples_than_dimensions_are_exact(count: int) -> None:
    x, shift = samples(count, 50), np.full(50, 0.5)

    assert bures_wasserstein(Gaussian.from_samples(x), Gaussian.from_samples(x + shift)) == pytest.approx(
        np.linalg.norm(shift)
    )


def test_a_rotation_of_all_features_changes_nothing() -> None:
    turn, _ = np.linalg.qr(RNG.standard_normal((6, 6)))
    x, y = samples(), samples()
    plain, turned = ([Gaussian.from_samples(z) for z in pair] for pair in ((x, y), (x @ turn, y @ turn)))

    assert bures_wasserstein(*turned) == pytest.approx(bures_wasserstein(*plain))


def test_moments_and_samples_are_two_ways_to_the_same_gaussian() -> None:
    x = samples(100)
    by_moments = Gaussian.from_moments(x.mean(axis=0), np.cov(x.T, bias=True))

    assert bures_wasserstein(Gaussian.from_samples(x), by_moments) < 1e-9
    np.testing.assert_allclose(by_moments.covariance, Gaussian.from_samples(x).covariance)


def test_truncation_is_as_far_off_as_it_says_and_no_distance_changes_by_more() -> None:
    full, other = gaussian(), gaussian()
    for rank in (1, 3, 5, 6):
        short = full.truncated(rank)
        assert len(short.factor) <= rank
        assert bures_wasserstein(full, short) == pytest.approx(short.slack, abs=1e-9)
        assert abs(bures_wasserstein(short, other) - bures_wasserstein(full, other)) <= short.slack + 1e-9
    assert full.truncated(6).slack == 0 < full.truncated(5).slack


def test_parts_combine_to_the_whole() -> None:
    x, y = samples(10), samples(30)
    parts = [Gaussian.from_samples(x), Gaussian.from_samples(y)]

    combined = Gaussian.combined([0.25, 0.75], parts)

    assert bures_wasserstein(combined, Gaussian.from_samples(np.concatenate([x, y]))) < 1e-9


@pytest.mark.parametrize(
    ("mean", "covariance", "says"),
    [
        ([0.0, 0.0], np.eye(3), r"expected \(2, 2\)"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([0.0, 0.0], [[1.0, 0.0], [0.0, -1.0]], "negative eigenvalue"),
        ([0.0, np.nan], np.eye(2), "finite"),
    ],
)
def test_moments_that_are_none_are_refused(mean: list[float], covariance: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Gaussian.from_moments(mean, covariance)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        Gaussian.from_samples(np.empty((0, 3)))
    with pytest.raises(ValueError, match="drop such rows"):
        Gaussian.from_samples([[np.nan]])
    with pytest.raises(ValueError, match="positive number of axes"):
        gaussian().truncated(0)
    with pytest.raises(ValueError, match="expected 6 dimensions as in sources, got 5"):
        bures_wasserstein(gaussian(), gaussian(dimensions=5))
