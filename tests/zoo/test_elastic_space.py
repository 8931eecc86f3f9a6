"""The space counts, enumerates and draws the same set of configurations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.elastic_space import ElasticSpace

PLAIN = ElasticSpace((8, 16, 16), (2, 1, 2), (1, 2), residual=False, fractions=(0.25, 0.5, 1.0), multiple=2)
RESIDUAL = replace(PLAIN, residual=True)
BOTH = pytest.mark.parametrize("space", [PLAIN, RESIDUAL], ids=["plain", "residual"])


@BOTH
def test_count_is_the_number_of_distinct_configurations(space):
    networks = {(c.depths, c.decoder_depths, space.channels(c)) for c in space}
    assert len(networks) == len(list(space)) == space.count


def test_the_count_of_a_plain_space_is_a_product():
    assert PLAIN.count == (2 * 1 * 2) * (1 * 2) * 3**3


def test_a_residual_space_ties_equal_stages_and_keeps_others_apart():
    widths = {RESIDUAL.channels(c) for c in RESIDUAL}
    assert all(b == c and a != b for a, b, c in widths)
    assert (8, 8, 8) in {PLAIN.channels(c) for c in PLAIN}
    assert RESIDUAL.count == 8 * (3 * 3 - 2)


@BOTH
def test_extremes_belong_to_the_space_and_bound_it(space):
    inside = list(space)
    assert space.largest in inside and space.smallest in inside
    for configuration in inside:
        assert all(
            a <= b <= c
            for a, b, c in zip(*map(space.channels, (space.smallest, configuration, space.largest)), strict=True)
        )


def test_draws_are_uniform_over_a_residual_space():
    # 56 configurations, 5600 draws: 100 expected each, standard deviation 10; 5 of them are far.
    seen = Counter(RESIDUAL.random(seed=seed) for seed in range(5600))
    assert len(seen) == RESIDUAL.count == 56
    assert 50 < min(seen.values()) and max(seen.values()) < 150


def test_a_draw_is_the_same_on_every_machine():
    space = ElasticSpace((32, 64, 128), (2, 2, 2), (2, 2), residual=False)
    assert space.random(seed=7) == SubnetConfiguration((2, 1, 2), (1, 1), (1.0, 0.25, 0.75))


def test_a_draw_can_leave_depth_or_width_alone():
    assert all(PLAIN.random(seed=s, depth=False).depths == PLAIN.depths for s in range(5))
    assert all(PLAIN.random(seed=s, width=False).widths == (1.0, 1.0, 1.0) for s in range(5))


def test_fractions_that_give_the_same_channels_are_one_width():
    space = ElasticSpace((8, 32, 30), (1, 1, 1), (1, 1), residual=False)
    assert [list(options.values()) for options in space.widths] == [[8], [8, 16, 24, 32], [8, 16, 24, 30]]
    assert list(space.widths[0]) == [1.0]
    with pytest.raises(ValueError, match=r"widths\[0\]: expected one of \[1.0\], got 0.5"):
        space.channels(SubnetConfiguration((1, 1, 1), (1, 1), (0.5, 0.5, 0.5)))


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (SubnetConfiguration((3, 1, 1), (1, 1), (1.0, 1.0, 1.0)), r"depths: expected at most \(2, 1, 2\)"),
        (SubnetConfiguration((1, 1, 1), (1, 3), (1.0, 1.0, 1.0)), r"decoder_depths: expected at most \(1, 2\)"),
        (SubnetConfiguration((1, 1), (1,), (1.0, 1.0)), "expected 3 encoder stages as in the plan, got 2"),
        (SubnetConfiguration((1, 1, 1), (1, 1), (1.0, 0.5, 0.5)), r"widths\[1\]: expected one of \[0.25, 1.0\] after"),
        (SubnetConfiguration((1, 1, 1), (1, 1), (1.0, 0.25, 1.0)), r"widths\[2\]: expected one of \[0.25\] after 0.25"),
    ],
)
def test_a_configuration_that_does_not_exist_is_refused(configuration, message):
    with pytest.raises(ValueError, match=message):
        RESIDUAL.check(configuration)


def test_something_else_than_a_configuration_is_refused():
    with pytest.raises(TypeError, match="expected a SubnetConfiguration, got dict"):
        PLAIN.check({})  # type: ignore[arg-type]


def test_a_residual_plan_too_narrow_for_its_fractions_is_refused():
    with pytest.raises(ValueError, match="offer larger fractions or a smaller multiple"):
        ElasticSpace((16, 32), (1, 1), (1,), residual=True)


@pytest.mark.parametrize("fractions", [(), (0.5,), (1.0, 0.5), (0.0, 1.0), (0.5, 0.5, 1.0)])
def test_fractions_ascend_to_one(fractions):
    with pytest.raises(ValueError, match="fractions: expected ascending numbers"):
        replace(PLAIN, fractions=fractions)


def test_a_multiple_below_one_is_refused():
    with pytest.raises(ValueError, match="multiple: expected an integer of at least 1, got 0"):
        replace(PLAIN, multiple=0)
