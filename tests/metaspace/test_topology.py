"""Topologies of different plans have the same columns."""

from __future__ import annotations

import pytest

from nnunet_iac.metaspace.topology import RELATIVE, STAGES, TOPOLOGY, topology
from nnunet_iac.zoo.elastic_space import ElasticSpace

FLAT = ElasticSpace((32, 64, 128), (2, 2, 4), (2, 1), residual=False)


def test_decoder_stages_stand_at_their_resolution_and_missing_ones_are_zero() -> None:
    smallest = topology(FLAT, FLAT.smallest, 10, 2)

    assert smallest[:3].tolist() == [0.5, 0.5, 0.25] and smallest[STAGES : STAGES + 3].tolist() == [0.25] * 3
    assert smallest[2 * STAGES : 2 * STAGES + 3].tolist() == [1.0, 0.5, 0.0]
    assert len(smallest) == TOPOLOGY and smallest[RELATIVE:].tolist() == [1.0, 0.0, 0.0]


def test_the_largest_network_of_every_plan_has_ones() -> None:
    deep = ElasticSpace((32,) * 2 + (64,) * 4, (1, 3, 4, 6, 6, 6), (1,) * 5, residual=True)

    row = topology(deep, deep.largest, 1e6, 3)

    assert set(row[:6]) == {1.0} and set(row[6:STAGES]) == {0.0} and row[RELATIVE:].tolist() == [6.0, 1.0, 1.0]


def test_what_does_not_exist_is_an_error() -> None:
    tall = ElasticSpace((8,) * 11, (1,) * 11, (1,) * 10, residual=False)
    with pytest.raises(ValueError, match="expected at most 10 encoder stages, got 11"):
        topology(tall, tall.largest, 10, 2)
    with pytest.raises(ValueError, match="parameters: expected a number of at least 1, got nan"):
        topology(FLAT, FLAT.largest, float("nan"), 2)
    with pytest.raises(ValueError, match="expected 3 encoder stages"):
        topology(FLAT, tall.largest, 10, 2)
    with pytest.raises(ValueError, match="dimensions: expected 2 or 3"):
        topology(FLAT, FLAT.largest, 10, 1)
