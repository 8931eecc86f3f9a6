from __future__ import annotations

import math

import pytest
import torch

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.stability import (
    Decision,
    StabilityRule,
    StabilityState,
    chance_gap,
    decided_edges,
    normalised_entropy,
    update,
)

NONE, MAX, SKIP, SEP = (OPERATIONS.index(n) for n in ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
RULE = StabilityRule(tau=1e-3)


def leader(operation: int = SEP, lead: float = 4.0) -> torch.Tensor:
    """Logits of one edge ``(1, 1, 8)`` where one operation leads all others by ``lead``."""
    logits = torch.zeros(1, 1, 8)
    logits[..., operation] = lead
    return logits


class Play:
    """Plays a trajectory of logits through the rule, one epoch at a time, pruning as it says."""

    def __init__(self, rule: StabilityRule = RULE, *, groups: int = 1, edges: int = 1, prune: bool = True) -> None:
        self.rule, self.prune = rule, prune
        self.mask = torch.ones(groups, edges, 8, dtype=torch.bool)
        self.state = StabilityState.start(groups, edges, 8)

    def epoch(self, logits: torch.Tensor, topology: str = "the same", gap: float = 0.0) -> Decision:
        p = logits.masked_fill(~self.mask, -torch.inf).softmax(-1)
        self.state, decision = update(self.rule, self.state, p, self.mask, topology, gap=gap, prune=self.prune)
        self.mask = decision.mask
        return decision

    def epochs(self, count: int, logits: torch.Tensor) -> list[Decision]:
        return [self.epoch(logits) for _ in range(count)]


class TestEntropyAndDecision:
    def test_entropy_is_one_for_uniform_and_zero_for_certain(self):
        mask = torch.ones(8, dtype=torch.bool)
        assert float(normalised_entropy(torch.full((8,), 0.125), mask)) == pytest.approx(1.0)
        assert float(normalised_entropy(torch.eye(8)[3], mask)) == 0.0

    def test_entropy_counts_active_operations_only(self):
        mask = torch.tensor([True, False, False, True] + [False] * 4)
        assert float(normalised_entropy(torch.tensor([0.5, 0, 0, 0.5, 0, 0, 0, 0]), mask)) == pytest.approx(1.0)
        single = torch.eye(8, dtype=torch.bool)[2]
        assert float(normalised_entropy(torch.eye(8)[2], single)) == 0.0

    def test_uniform_is_open_and_a_leader_is_decided(self):
        p = torch.stack([torch.full((8,), 0.125), leader(lead=3.0)[0, 0].softmax(-1)]).unsqueeze(0)
        assert decided_edges(RULE, p, torch.ones(1, 2, 8, dtype=torch.bool)).tolist() == [[False, True]]

    def test_a_margin_decides_where_the_entropy_does_not(self):
        p = torch.tensor([[[0.32] + [0.68 / 7] * 7]])
        mask = torch.ones(1, 1, 8, dtype=torch.bool)
        assert float(normalised_entropy(p, mask)) > RULE.entropy_bound and bool(decided_edges(RULE, p, mask).all())

    def test_low_entropy_decides_where_two_lead_together(self):
        p = torch.tensor([[[0.0, 0.0, 0.48, 0.48, 0.01, 0.01, 0.01, 0.01]]])
        assert bool(decided_edges(RULE, p, torch.ones(1, 1, 8, dtype=torch.bool)).all())

    def test_a_lead_within_the_gap_of_chance_does_not_count(self):
        p = leader(lead=2.0).softmax(-1)
        mask = torch.ones(1, 1, 8, dtype=torch.bool)
        assert decided_edges(RULE, p, mask, 1.9).all() and not decided_edges(RULE, p, mask, 2.1).any()

    @pytest.mark.parametrize("active", [[SEP], [NONE, SEP]])
    def test_one_real_operation_left_is_decided(self, active):
        mask = torch.zeros(1, 1, 8, dtype=torch.bool)
        mask[..., active] = True
        p = mask / mask.sum()
        assert bool(decided_edges(RULE, p, mask, 100.0).all())

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tau", 0.0),
            ("tau", math.nan),
            ("window", 0),
            ("patience", 0),
            ("entropy_bound", 1.0),
            ("margin_bound", 0.0),
            ("ratio", 1.0),
            ("plateau", 0),
        ],
    )
    def test_thresholds_out_of_range_are_named(self, name, value):
        with pytest.raises(ValueError, match=f"{name}: expected .*, got"):
            StabilityRule(**{"tau": 1e-3, name: value})


class TestTrajectories:
    def test_uniform_that_stands_still_is_never_pruned(self):
        play = Play()
        decisions = play.epochs(50, torch.zeros(1, 1, 8))
        assert play.mask.all() and not any(d.decided.any() for d in decisions)
        assert all(d.jsd.item() == 0 for d in decisions[RULE.window :])

    @pytest.mark.parametrize(("window", "patience"), [(1, 1), (2, 2), (3, 1), (2, 5)])
    def test_a_clear_leader_is_pruned_after_exactly_window_and_patience(self, window, patience):
        play = Play(StabilityRule(tau=1e-3, window=window, patience=patience))
        decisions = play.epochs(window + patience, leader())
        assert [bool(d.pruned) for d in decisions] == [False] * (window + patience - 1) + [True]
        assert decisions[-1].mask.sum() == 1 and bool(decisions[-1].mask[..., SEP])

    def test_the_divergence_is_unknown_until_the_window_is_full(self):
        jsd = [d.jsd.item() for d in Play().epochs(4, leader())]
        assert [math.isnan(v) for v in jsd] == [True, True, False, False]

    def test_an_edge_that_moves_is_not_pruned_however_clear_its_leader(self):
        play = Play()
        for epoch in range(30):
            assert not play.epoch(leader(MAX if epoch % 4 < 2 else SEP)).pruned

    def test_one_unstable_epoch_starts_the_patience_again(self):
        play = Play(StabilityRule(tau=1e-3, window=1, patience=3))
        pruned = [bool(play.epoch(leader(lead=2.0)).pruned) for _ in range(3)]
        pruned += [bool(play.epoch(leader(lead=4.0)).pruned) for _ in range(4)]
        assert pruned == [False] * 6 + [True]

    def test_operations_leave_by_their_distance_to_the_first(self):
        logits = torch.tensor([[[0.0, 0.0, 0.0, 2.9, 4.0, 2.9, 0.0, 0.0]]])
        play = Play()
        first = play.epochs(4, logits)[-1]
        assert {o for _, _, o in first.pruned} == {0, 1, 2, 6, 7}
        assert [o for o in range(8) if play.mask[0, 0, o]] == [3, 4, 5]

    def test_pruning_restarts_the_window_and_the_patience(self):
        play = Play()
        logits = torch.tensor([[[0.0, 0.0, 0.0, 2.9, 4.0, 2.0, 0.0, 0.0]]])
        when = [i for i, d in enumerate(play.epochs(12, logits)) if d.pruned]
        assert when[:2] == [3, 7], "four epochs each: a window of two, a patience of two"

    def test_after_pruning_only_the_new_distribution_is_compared(self):
        play = Play()
        decisions = play.epochs(8, torch.tensor([[[0.0, 0.0, 0.0, 2.9, 4.0, 2.9, 0.0, 0.0]]]))
        assert decisions[3].pruned and [math.isnan(d.jsd.item()) for d in decisions[4:7]] == [True, True, False]
        assert decisions[6].jsd.item() == 0.0

    def test_edges_are_pruned_on_their_own(self):
        play = Play(edges=2)
        play.epochs(20, torch.cat([leader(), torch.zeros(1, 1, 8)], dim=1))
        assert play.mask[0, 0].sum() == 1 and play.mask[0, 1].all()

    @pytest.mark.parametrize("seed", range(20))
    def test_the_last_real_operation_never_leaves(self, seed):
        generator = torch.Generator().manual_seed(seed)
        play = Play(StabilityRule(tau=1.0, window=1, patience=1), groups=2, edges=14)
        logits = 5 * torch.randn(2, 14, 8, generator=generator)
        for _ in range(60):
            play.epoch(logits + 0.5 * torch.randn(2, 14, 8, generator=generator))
            assert play.mask[..., 1:].any(-1).all()
        assert (play.mask[..., 1:].sum(-1) == 1).all(), "an edge got stuck"

    def test_an_edge_led_by_none_stays_prunable_and_keeps_its_best_real_operation(self):
        logits = leader(NONE, lead=6.0)
        logits[..., SKIP] = 1.0
        play = Play()
        play.epochs(40, logits)
        assert [o for o in range(8) if play.mask[0, 0, o]] == [NONE, SKIP]

    @staticmethod
    def walk(iterations, seed, *, with_gap=True):
        """Logits that walk at random at the optimiser's learning rate; returns the mask and the last decision."""
        plan = SearchPlan(iterations=iterations)
        generator = torch.Generator().manual_seed(seed)
        play = Play(plan.rule, edges=14)
        logits = 1e-3 * torch.randn(1, 14, 8, generator=generator)
        for epoch in range(1, plan.epochs + 1):
            logits += plan.architecture_lr * math.sqrt(iterations) * torch.randn(logits.shape, generator=generator)
            gap = chance_gap(plan.architecture_lr, epoch * iterations) if with_gap else 0.0
            decision = play.epoch(logits, topology=str(epoch // 5), gap=gap)
            if decision.stop:
                break
        return play.mask, decision

    def test_a_walk_without_signal_is_hardly_ever_pruned_with_ten_steps_an_epoch(self):
        touched = sum(float((~self.walk(10, seed)[0]).any(-1).double().mean()) / 20 for seed in range(20))
        assert touched <= 0.02, f"{touched:.1%} of the edges lost an operation to chance"

    def test_and_never_with_the_default_number_of_steps(self):
        steps = SearchPlan().iterations
        assert all(self.walk(steps, seed)[0].all() for seed in range(10))
        play, generator = Play(SearchPlan().rule, groups=30, edges=14), torch.Generator().manual_seed(0)
        logits, lr = torch.zeros(30, 14, 8), SearchPlan().architecture_lr
        for epoch in range(1, 201):
            logits += lr * math.sqrt(steps) * torch.randn(logits.shape, generator=generator)
            play.epoch(logits, gap=chance_gap(lr, epoch * steps))
        touched = float((~play.mask).any(-1).double().mean())
        assert touched <= 0.03, f"{touched:.1%} of the edges, when nobody stops it before its 200 epochs are over"

    @pytest.mark.parametrize("iterations", [1, 5])
    def test_a_walk_without_signal_is_never_taken_for_a_finding(self, iterations):
        assert not any(self.walk(iterations, seed)[1].decided.all() for seed in range(10))

    def test_without_the_gap_that_walk_would_be_pruned(self):
        touched = sum(float((~self.walk(1, seed, with_gap=False)[0]).any(-1).double().mean()) / 5 for seed in range(5))
        assert touched > 0.5

    @pytest.mark.parametrize("iterations", [1, 5, 50])
    def test_a_steady_signal_passes_the_gap(self, iterations):
        plan = SearchPlan(iterations=iterations)
        play = Play(plan.rule)
        logits = torch.zeros(1, 1, 8)
        for epoch in range(1, 60):
            logits[..., SEP] += plan.drift
            play.epoch(logits, gap=chance_gap(plan.architecture_lr, epoch * iterations))
        assert play.mask.sum() == 1 and bool(play.mask[..., SEP])


class TestStop:
    def test_only_when_every_edge_is_decided(self):
        patient = StabilityRule(tau=1e-3, plateau=1000)
        logits = torch.cat([leader(), torch.zeros(1, 1, 8)], dim=1)
        assert not any(d.stop for d in Play(patient, edges=2).epochs(100, logits))
        assert any(d.stop for d in Play(patient, edges=2).epochs(100, torch.cat([leader(), leader(MAX)], dim=1)))

    def test_or_undecided_when_nothing_has_happened_for_a_plateau(self):
        decisions = Play(StabilityRule(tau=1e-3, plateau=7)).epochs(7, torch.zeros(1, 1, 8))
        assert [d.stop for d in decisions] == [False] * 6 + [True] and not decisions[-1].decided.any()

    def test_pruning_or_one_more_decided_edge_is_progress(self):
        play = Play(StabilityRule(tau=1e-3, plateau=7), edges=2)
        logits = torch.zeros(1, 2, 8)
        stops = [d.stop for d in play.epochs(5, logits)]
        logits[0, 0, SEP] = 4.0
        stops += [d.stop for d in play.epochs(20, logits)]
        pruned_at = 5 + RULE.window + RULE.patience
        assert stops.index(True) + 1 == pruned_at + 7 and not play.mask[0, 0].all()

    def test_only_when_the_topology_stood_still(self):
        play = Play()
        moving = [play.epoch(leader(), topology=str(epoch)).stop for epoch in range(30)]
        assert not any(moving)
        still = [play.epoch(leader(), topology="29").stop for _ in range(3)]
        assert still == [False, True, True]

    def test_not_in_an_epoch_that_prunes(self):
        assert not any(d.stop and d.pruned for d in Play().epochs(30, leader()))

    def test_the_full_search_neither_prunes_nor_stops_but_records_both_measures(self):
        play = Play(prune=False)
        decisions = play.epochs(50, leader())
        assert play.mask.all() and not any(d.pruned or d.stop for d in decisions)
        assert all(d.decided.all() for d in decisions) and decisions[-1].jsd.item() == 0.0


class TestPurity:
    def test_nothing_given_is_changed(self):
        play = Play(edges=2)
        logits = torch.cat([leader(), leader(MAX)], dim=1)
        play.epochs(3, logits)
        p, mask, state = logits.softmax(-1), play.mask.clone(), play.state
        copies = [t.clone() for t in (p, mask, state.history, state.age, state.stable)]
        _, decision = update(RULE, state, p, mask, "the same")
        assert decision.pruned, "this epoch was to change something"
        given = (p, mask, state.history, state.age, state.stable)
        assert all(torch.equal(a, b) for a, b in zip(copies, given, strict=True))

    def test_the_same_state_gives_the_same_decision(self):
        play = Play()
        play.epochs(3, leader())
        twice = [update(RULE, play.state, leader().softmax(-1), play.mask, "the same") for _ in range(2)]
        assert torch.equal(twice[0][1].mask, twice[1][1].mask) and twice[0][1].pruned == twice[1][1].pruned
        assert torch.equal(twice[0][0].age, twice[1][0].age)

    def test_probabilities_may_require_a_gradient(self):
        p = leader().requires_grad_().softmax(-1)
        state, decision = update(RULE, StabilityState.start(1, 1, 8), p, torch.ones(1, 1, 8, dtype=torch.bool), "")
        assert not state.history.requires_grad and not decision.jsd.requires_grad
