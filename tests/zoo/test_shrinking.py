"""The plan decides phases, rates and the networks of each step, and nothing else."""

from __future__ import annotations

import pytest

from nnunet_iac.zoo.elastic_space import ElasticSpace
from nnunet_iac.zoo.shrinking import SupernetPlan

SPACE = ElasticSpace((32, 64), (2, 3), (2,), residual=False)
PLAN = SupernetPlan(full_epochs=2, depth_epochs=1, width_epochs=3)


def test_phases_follow_each_other_without_gap():
    phases = [PLAN.phase_at(epoch) for epoch in range(PLAN.epochs)]
    assert [(p.name, p.epoch) for p in phases] == [
        ("full", 0),
        ("full", 1),
        ("depth", 0),
        ("width", 0),
        ("width", 1),
        ("width", 2),
    ]


def test_the_rate_falls_in_each_phase_and_starts_anew():
    rates = [PLAN.learning_rate_at(epoch) for epoch in range(PLAN.epochs)]
    assert rates[0] == 1e-2 and rates[2] == rates[3] == 1e-3
    assert rates[1] < rates[0] and rates[5] < rates[4] < rates[3]


def test_channels_are_sorted_once_before_the_first_narrow_network():
    assert [PLAN.sorts_channels_at(epoch) for epoch in range(PLAN.epochs)] == [False] * 3 + [True] + [False] * 2


def test_the_first_phase_trains_the_largest_alone():
    assert PLAN.configurations(SPACE, 1, 0) == (SPACE.largest,)


def test_the_depth_phase_keeps_all_networks_wide():
    for iteration in range(5):
        networks = PLAN.configurations(SPACE, 2, iteration)
        assert networks[0] == SPACE.largest
        assert networks[1].depths == (1, 1) and networks[1].decoder_depths == (1,)
        assert all(c.widths == (1.0, 1.0) for c in networks)


def test_the_width_phase_is_the_sandwich_of_the_extremes_and_random_networks():
    steps = [PLAN.configurations(SPACE, 4, iteration) for iteration in range(20)]
    assert all(s[:2] == (SPACE.largest, SPACE.smallest) and len(set(s)) == len(s) <= 4 for s in steps)
    assert len({c for s in steps for c in s}) > 20


def test_draws_depend_on_seed_epoch_and_iteration_only():
    again = SupernetPlan(full_epochs=2, depth_epochs=1, width_epochs=3)
    assert PLAN.configurations(SPACE, 4, 7) == again.configurations(SPACE, 4, 7)
    other = SupernetPlan(full_epochs=2, depth_epochs=1, width_epochs=3, seed=1)
    assert [PLAN.configurations(SPACE, 4, i) for i in range(3)] != [other.configurations(SPACE, 4, i) for i in range(3)]


def test_a_trained_host_can_skip_the_first_phase():
    assert SupernetPlan(full_epochs=0).phase_at(0).name == "depth"


def test_all_faults_are_named_together():
    with pytest.raises(ValueError, match=r"full_epochs: .*random_networks: .*clip: .*distillation: .*momentum: "):
        SupernetPlan(full_epochs=-1, random_networks=1.5, clip=0, distillation=float("nan"), momentum=1)  # type: ignore[arg-type]


def test_a_plan_without_epochs_is_refused():
    with pytest.raises(ValueError, match="expected at least one epoch"):
        SupernetPlan(full_epochs=0, depth_epochs=0, width_epochs=0)


@pytest.mark.parametrize("epoch", [-1, 6])
def test_an_epoch_outside_the_plan_is_refused(epoch):
    with pytest.raises(ValueError, match=f"epoch: expected from 0 to 5, got {epoch}"):
        PLAN.phase_at(epoch)
