"""Retrieval is what sorting everything gives, with ties in their order."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.metaspace.retrieval import CHUNK, RetrievalIndex


def brute_force(embeddings: np.ndarray, query: np.ndarray, k: int, among: np.ndarray | None = None) -> list[int]:
    scores = [float((row.astype(np.float64) * query.astype(np.float64)).sum()) for row in embeddings]
    places = [i for i in range(len(scores)) if among is None or among[i]]
    return sorted(places, key=lambda i: (-scores[i], i))[:k]


def units(rows: int, seed: int, size: int = 128) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((rows, size))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rows", (1, 9, 10, 300, 4000))
@pytest.mark.parametrize("k", (1, 10, 299))
def test_the_answer_is_that_of_brute_force(rows: int, k: int) -> None:
    embeddings, query = units(rows, 1), units(1, 2)[0]

    found = RetrievalIndex(embeddings).top(query, k)

    assert found.places.tolist() == brute_force(embeddings, query, k)
    assert found.scores == pytest.approx(embeddings[found.places].astype(np.float64) @ query.astype(np.float64))


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_near_ties_come_in_their_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distinct = units(40, seed)
    near = np.nextafter(distinct, np.float32(2))  # differ by less than single precision can tell apart
    embeddings = np.concatenate([distinct, near])[rng.integers(80, size=3000)]

    found = RetrievalIndex(embeddings).top(distinct[3], 200)

    assert found.places.tolist() == brute_force(embeddings, distinct[3], 200)


@pytest.mark.parametrize("k", (1, 3, 300))
def test_what_single_precision_puts_in_the_wrong_order_is_put_right(k: int) -> None:
    wrong = 0
    for seed in range(20):
        query, *others = units(501, seed).astype(np.float64)
        aside = np.array([row - (row @ query) * query for row in others])
        embeddings, vector = (query + aside).astype(np.float32), query.astype(np.float32)
        exact = brute_force(embeddings, vector, k)

        assert RetrievalIndex(embeddings).top(vector, k).places.tolist() == exact
        products = np.einsum("ij,j->i", embeddings, vector)
        wrong += set(np.argsort(-products, kind="stable")[:k]) != set(exact)
    assert wrong >= 10, "or else the world is too easy to tell"


def test_all_rows_equal_over_several_chunks_are_in_order() -> None:
    embeddings = np.repeat(units(1, 0, size=2), CHUNK + 5, axis=0)

    assert RetrievalIndex(embeddings).top([1.0, 0.0], 4).places.tolist() == [0, 1, 2, 3]


def test_rows_may_be_left_out() -> None:
    embeddings, query = units(2000, 3), units(1, 4)[0]
    among = np.random.default_rng(0).uniform(size=2000) < 0.01
    index = RetrievalIndex(embeddings)

    assert index.top(query, 5, among=among).places.tolist() == brute_force(embeddings, query, 5, among)
    assert index.top(query, 1000, among=among).places.tolist() == brute_force(embeddings, query, 1000, among)
    assert index.top(query, 5, among=np.zeros(2000)).places.tolist() == []


def test_rows_of_any_length_and_size_are_ranked() -> None:
    embeddings = (np.random.default_rng(0).standard_normal((500, 3)) * 1e4).astype(np.float32)
    embeddings[::7] *= np.float32(1e-30)

    query = np.float32([1e-3, 2.0, -5.0])
    assert RetrievalIndex(embeddings).top(query, 480).places.tolist() == brute_force(embeddings, query, 480)


def test_bad_arguments_are_errors() -> None:
    index = RetrievalIndex(units(20, 0))
    with pytest.raises(ValueError, match="embeddings: expected finite numbers"):
        RetrievalIndex([[1.0, np.nan]])
    with pytest.raises(ValueError, match=r"embeddings: expected \(n, d\) .* got shape \(0, 4\)"):
        RetrievalIndex(np.empty((0, 4)))
    with pytest.raises(ValueError, match="query: expected 128 finite numbers"):
        index.top(np.full(128, np.inf), 3)
    with pytest.raises(ValueError, match="k: expected a positive number of rows, got 0"):
        index.top(np.zeros(128), 0)
    with pytest.raises(ValueError, match="among: expected one value for each of 20 rows"):
        index.top(np.zeros(128), 1, among=[True])
