from __future__ import annotations

import math

import pytest
import torch

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.stability import (
    Decision,
    StabilityRule,
    StabilityState,
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

    def epoch(self, logits: torch.Tensor, topology: str = "the same", gap: torch.Tensor | float = 0.0) -> Decision:
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

    def test_the_gap_may_differ_from_edge_to_edge(self):
        p = leader(lead=2.0).softmax(-1).expand(1, 2, 8)
        gap = torch.tensor([1.9, 2.1]).view(1, 2, 1).expand(1, 2, 8)
        assert decided_edges(RULE, p, torch.ones(1, 2, 8, dtype=torch.bool), gap).tolist() == [[True, False]]

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

    def test_what_is_far_behind_stays_while_chance_explains_it(self):
        logits = torch.tensor([[[0.0, 0.5, 1.0, 3.5, 4.0, 3.5, 1.0, 1.0]]])
        gap = torch.tensor([[[3.9, 3.6, 2.9, 0.0, 0.0, 0.0, 3.1, 2.9]]])
        play = Play()
        pruned = [play.epoch(logits, gap=gap).pruned for _ in range(4)]
        assert pruned == [(), (), (), ((0, 0, 0), (0, 0, 2), (0, 0, 7))], "the gaps of 1 and 6 are wider than their lag"

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


class TestStop:
    def test_only_when_every_edge_is_decided(self):
        patient = StabilityRule(tau=1e-3, plateau=1000)
        logits = torch.cat([leader(), torch.zeros(1, 1, 8)], dim=1)
        assert not any(d.stop for d in Play(patient, edges=2).epochs(100, logits))
        assert any(d.stop for d in Play(patient, edges=2).epochs(100, torch.cat([leader(), leader(MAX)], dim=1)))

    def test_the_plateau_is_twenty_epochs_unless_told_otherwise(self):
        stops = [d.stop for d in Play().epochs(20, torch.zeros(1, 1, 8))]
        assert stops == [False] * 19 + [True]

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

    def test_not_while_a_clean_signal_still_moves_however_far_it_leads(self):
        """A lead beyond ``margin_bound`` and a topology at rest are not enough: the logits must rest, and be pruned."""
        play = Play(edges=2)
        moving = [play.epoch(leader(lead=0.6 * epoch).expand(1, 2, 8)) for epoch in range(1, 11)]
        assert all(d.decided.all() for d in moving[2:]) and all((d.jsd >= RULE.tau).all() for d in moving[2:])
        assert not any(d.stop or d.pruned for d in moving) and play.state.still >= RULE.patience
        resting = play.epochs(4, leader(lead=6.0).expand(1, 2, 8))
        assert [bool(d.pruned) for d in resting] == [False, False, True, False], "the tenth epoch rests already"
        assert [d.stop for d in resting] == [False] * 3 + [True] and (play.mask.sum(-1) == 1).all()

    def test_not_while_one_edge_still_moves(self):
        play, logits = Play(edges=2), leader().repeat(1, 2, 1)
        moving = []
        for epoch in range(1, 11):
            logits[0, 1, SEP] = 0.6 * epoch
            moving.append(play.epoch(logits))
        assert moving[-1].decided.all() and (play.mask[0, 0].sum(), play.mask[0, 1].sum()) == (1, 8)
        assert not any(d.stop for d in moving)

    def test_only_when_the_topology_stood_still(self):
        play = Play(StabilityRule(tau=1e-3, plateau=1000))
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
