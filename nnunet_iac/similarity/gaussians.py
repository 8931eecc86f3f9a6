r"""Gaussians in factor form and the exact Bures-Wasserstein distance between them.

A covariance is kept as a factor ``A`` with ``Sigma = A^T A``; for samples ``X`` it is ``A = (X - mean) / sqrt(n)`` (the
maximum-likelihood covariance, divisor n). In this form (Gram form) no ``d x d`` matrix is built and no square root of
a singular matrix is taken, so that fewer samples than dimensions are no special case::

    BW^2 = ||mu_1 - mu_2||^2 + tr Sigma_1 + tr Sigma_2 - 2 tr (Sigma_1^1/2 Sigma_2 Sigma_1^1/2)^1/2
         = ||mu_1 - mu_2||^2 + ||A||_F^2 + ||B||_F^2 - 2 ||A B^T||_*          (nuclear norm)

Where the last three terms cancel (nearly equal covariances) they are computed once more from the singular vectors
``A B^T = U S V^T``, as the sum of squares that they are, which cannot be negative and loses no digits::

    ||U^T A - V^T B||_F^2 + ||A - U U^T A||_F^2 + ||B - V V^T B||_F^2

Distances here are never squared. Fréchet inception distance (FID) is the square of ``bures_wasserstein`` of two whole
feature sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

CANCELLED = 1e-6
"""Part of the traces below which the covariance term is recomputed without cancellation."""

ROUNDING = 1e-10
"""Negative eigenvalues, relative to the largest one, that count as rounding error of a covariance."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian with mean ``(d,)`` and covariance ``factor.T @ factor``.

    Attributes:
        mean: ``(d,)``.
        factor: ``(r, d)`` with ``r <= d``; ``r`` may be 0 or 1 (covariance zero).
        slack: Bures-Wasserstein distance to the Gaussian this one stands for; 0 unless truncated. By the triangle
            inequality a distance between two Gaussians is wrong by at most the sum of their slacks.

    Example:
        >>> g = Gaussian.from_samples([[0.0, 0.0], [0.0, 0.0], [0.0, 6.0], [0.0, 6.0]])
        >>> g.mean.tolist(), g.covariance.round(9).tolist(), round(g.trace, 9)
        ([0.0, 3.0], [[0.0, 0.0], [0.0, 9.0]], 9.0)
    """

    mean: Array
    factor: Array
    slack: float = 0.0

    @classmethod
    def from_samples(cls, samples: ArrayLike) -> Gaussian:
        """Return mean and covariance (divisor n) of samples ``(n, d)``, ``n >= 1``.

        With more samples than dimensions the factor is reduced to ``(d, d)`` by a QR decomposition, which leaves the
        covariance as it is.

        Raises:
            ValueError: if there is no sample or a value is not finite.
        """
        x = np.asarray(samples, dtype=np.float64)
        if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] == 0:
            raise ValueError(f"samples: expected (samples, dimensions) with at least one of each, got shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("samples: expected finite numbers, got NaN or infinity; drop such rows first")
        mean = x.mean(axis=0)
        return cls(mean, _reduced((x - mean) / np.sqrt(len(x))))

    @classmethod
    def from_moments(cls, mean: ArrayLike, covariance: ArrayLike) -> Gaussian:
        """Return the Gaussian of a mean ``(d,)`` and a covariance ``(d, d)``.

        Raises:
            ValueError: if the shapes do not fit, or the covariance is not finite, symmetric and positive
                semi-definite within rounding.
        """
        mu, sigma = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
        if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
            raise ValueError(
                f"covariance: expected ({mu.size}, {mu.size}) for a mean of shape {mu.shape}, got {sigma.shape}"
            )
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
            raise ValueError("covariance: expected finite means and covariances, got NaN or infinity")
        if not np.allclose(sigma, sigma.T, rtol=1e-7, atol=ROUNDING * float(np.abs(sigma).max())):
            raise ValueError("covariance: expected a symmetric matrix, got one that differs from its transpose")
        values, vectors = eigh((sigma + sigma.T) / 2)
        if values[0] < -ROUNDING * max(values[-1], 0.0):
            raise ValueError(
                f"covariance: expected no negative eigenvalue, got {values[0]:.3g} (the largest is {values[-1]:.3g}); "
                "a covariance of samples has none"
            )
        kept = values > 0
        return cls(mu, (vectors[:, kept] * np.sqrt(values[kept])).T)

    @classmethod
    def combined(cls, weights: ArrayLike, gaussians: Sequence[Gaussian]) -> Gaussian:
        """Return the Gaussian with the mean and covariance of a mixture with weights ``(k,)`` that sum to 1.

        For the shares and Gaussians of labels it is the Gaussian of the whole feature set.
        """
        w = np.asarray(weights, dtype=np.float64)
        means = np.stack([g.mean for g in gaussians])
        mean = w @ means
        rows = [np.sqrt(share) * g.factor for share, g in zip(w, gaussians, strict=True)]
        between = np.sqrt(w)[:, None] * (means - mean)
        # Joint convexity of BW^2: the mixture of the stand-ins is no further from the true one than this.
        slack = float(np.sqrt(w @ np.square([g.slack for g in gaussians])))
        return cls(mean, _reduced(np.concatenate([*rows, between])), slack)

    @property
    def covariance(self) -> Array:
        """``(d, d)``."""
        return self.factor.T @ self.factor

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
        return float(np.vdot(self.factor, self.factor))

    def truncated(self, rank: int) -> Gaussian:
        """Return the Gaussian with the ``rank`` largest principal axes of this one; the rest is in ``slack``.

        The two covariances commute, so their distance is exactly the root of the dropped variance.

        Raises:
            ValueError: if ``rank`` is not positive.
        """
        if rank < 1:
            raise ValueError(f"rank: expected a positive number of axes, got {rank}")
        if len(self.factor) <= rank:
            return self
        values, vectors = eigh(self.factor @ self.factor.T)
        dropped = float(np.sqrt(np.clip(values[:-rank], 0, None).sum()))
        return Gaussian(self.mean, vectors[:, -rank:].T @ self.factor, self.slack + dropped)


def bures_wasserstein(a: Gaussian, b: Gaussian) -> float:
    """Return the 2-Wasserstein distance of two Gaussians (not squared), in the unit of the features.

    Raises:
        ValueError: if their dimensions differ.

    Example:
        >>> bures_wasserstein(Gaussian.from_moments([0.0], [[1.0]]), Gaussian.from_moments([3.0], [[25.0]]))
        5.0
    """
    return float(bures_wasserstein_matrix([a], [b])[0, 0])


def bures_wasserstein_matrix(sources: Sequence[Gaussian], targets: Sequence[Gaussian]) -> Array:
    """Return the distances ``(k_s, k_t)`` of each source Gaussian to each target Gaussian (not squared).

    Costs ``k_s k_t`` times ``r_s r_t (d + min(r_s, r_t))`` for factors with ``r`` rows.

    Raises:
        ValueError: if dimensions differ; the error names both.
    """
    _check_dimensions(sources, targets)
    squared = np.empty((len(sources), len(targets)))
    traces = [g.trace for g in targets]
    for i, a in enumerate(sources):
        trace = a.trace
        for j, b in enumerate(targets):
            difference = a.mean - b.mean
            squared[i, j] = difference @ difference + _covariance_term(a.factor, b.factor, trace + traces[j])
    return np.sqrt(squared)


def _covariance_term(a: Array, b: Array, traces: float) -> float:
    """Return ``||A||^2 + ||B||^2 - 2 ||A B^T||_*``, never negative."""
    if not len(a) or not len(b):
        return traces
    cross = a @ b.T
    term = traces - 2 * float(np.linalg.svd(cross, compute_uv=False).sum())
    return term if term > CANCELLED * traces else _sum_of_squares(a, b, cross)


def _sum_of_squares(a: Array, b: Array, cross: Array) -> float:
    u, _, vt = np.linalg.svd(cross, full_matrices=False)
    left, right = u.T @ a, vt @ b
    rests = (left - right, a - u @ left, b - vt.T @ right)
    return sum(float(np.vdot(rest, rest)) for rest in rests)


def _reduced(factor: Array) -> Array:
    """Return a factor of the same covariance with at most ``d`` rows."""
    return factor if factor.shape[0] <= factor.shape[1] else np.asarray(np.linalg.qr(factor, mode="r"))


def _check_dimensions(sources: Sequence[Gaussian], targets: Sequence[Gaussian]) -> None:
    for name, gaussians in (("sources", sources), ("targets", targets)):
        found = sorted({len(g.mean) for g in gaussians})
        if len(found) > 1:
            raise ValueError(f"{name}: expected one number of dimensions, got {found}; use one encoder")
    if sources and targets and len(sources[0].mean) != len(targets[0].mean):
        raise ValueError(
            f"targets: expected {len(sources[0].mean)} dimensions as in sources, got {len(targets[0].mean)}; "
            "use the same encoder and levels on both sides"
        )
