"""The exact OTDD as it is defined: matrix square roots, loops over pairs, a linear programme for the plan."""

from __future__ import annotations

import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import linprog


def bures_squared(a: np.ndarray, b: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of the Gaussians of two sets of samples."""
    sigma_a, sigma_b = (np.cov(x.T, bias=True).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    root = sqrtm(sigma_a)
    cross = sqrtm(root @ sigma_b @ root)
    means = a.mean(axis=0) - b.mean(axis=0)
    return float(means @ means + np.trace(sigma_a + sigma_b - 2 * np.real(cross)))


def transport_squared(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Least cost of moving masses ``a`` to masses ``b``."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]), method="highs")
    return float(found.fun)


def otdd(x: np.ndarray, labels_x: np.ndarray, y: np.ndarray, labels_y: np.ndarray) -> float:
    """Distance of two labelled sets of samples, weights 1 for features and labels."""
    cost = np.zeros((len(x), len(y)))
    for i in range(len(x)):
        for j in range(len(y)):
            between_labels = bures_squared(x[labels_x == labels_x[i]], y[labels_y == labels_y[j]])
            cost[i, j] = np.sum((x[i] - y[j]) ** 2) / 2 + between_labels / 2
    return float(np.sqrt(transport_squared(cost, np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)))))
