"""Operations of undecided edges by lot: among what chance explains, each as often, and nothing else is touched."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from tiny_searches import lines, search, signal, tiny_network

from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.discretise import NONE, SKIP, discretise
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.drawing import Drawing, draw
from nnunet_iac.search.plan import SearchPlan

SEP = OPERATIONS.index("sep_conv_3x3")
WEIGHTS = SearchPlan(epochs=4, iterations=2, warmup_epochs=1)
PLAN = replace(WEIGHTS, select="draw")


def logits(*leads: float) -> torch.Tensor:
    """One cell of one node, two edges: the first with these leads of SEP over the operations in order."""
    alpha = torch.zeros(1, 2, 8, dtype=torch.float64)
    alpha[0, 0] = torch.tensor([-10.0, *(-lead for lead in leads)])
    return alpha


def drawn(alpha: torch.Tensor, walk: float, *, seed: int = 0, mask: torch.Tensor | None = None) -> Drawing:
    """Draw for undecided edges whose logits walked so far that chance explains a lead of ``walk``."""
    mask = torch.ones_like(alpha, dtype=torch.bool) if mask is None else mask
    p = alpha.masked_fill(~mask, -torch.inf).softmax(-1)
    variation = torch.full_like(alpha, walk**2 / 96)  # 4 sqrt(3 (Q + Q)) = walk
    return draw(p, mask, variation, torch.zeros(1, 2, dtype=torch.bool), seed=seed)


class TestTheDraw:
    def test_is_among_what_chance_explains_each_as_often(self):
        alpha = logits(0.4, 0.9, 1.1, 0.0, 5.0, 0.2, 3.0)
        found = torch.zeros(8)
        for seed in range(4000):
            found[drawn(alpha, 1.0, seed=seed).weights[0, 0].argmax()] += 1
        expected = [OPERATIONS.index(name) for name in ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")]
        assert found.nonzero().flatten().tolist() == expected
        assert chisquare(found[expected]).pvalue > 1e-3

    def test_edges_are_drawn_independently(self):
        pairs = torch.zeros(7, 7)
        for seed in range(7000):
            first, second = drawn(torch.zeros(1, 2, 8), 1.0, seed=seed).weights[0].argmax(-1)
            pairs[first - 1, second - 1] += 1
        assert chisquare(pairs.flatten()).pvalue > 1e-3

    def test_counts_its_candidates_and_never_takes_none_or_what_was_pruned(self):
        mask = torch.ones(1, 2, 8, dtype=torch.bool)
        mask[0, 0, [1, 2, 3]] = False
        for seed in range(50):
            found = drawn(logits(*[0.0] * 7), 1.0, seed=seed, mask=mask)
            assert found.candidates.tolist() == [[4, 7]] and found.drawn == 2
            assert not found.weights[0, 0, :SEP].any() and not found.weights[..., NONE].any()

    def test_measures_leads_over_the_best_real_operation_where_none_leads(self):
        alpha = logits(*[0.0] * 7)
        alpha[0, 0, NONE] = 20.0
        assert drawn(alpha, 1.0).candidates.tolist() == [[7, 7]]

    @pytest.mark.parametrize("walk", [0.0, 0.5, 0.9])
    def test_a_lead_beyond_chance_is_no_draw(self, walk):
        found = drawn(logits(1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0), walk)
        assert found.candidates[0, 0] == 1 and found.weights[0, 0].nonzero().tolist() == [[SEP]]

    def test_leaves_decided_edges_as_they_are_unless_none_leads(self):
        p = torch.full((1, 3, 8), 0.05)
        p[0, :2, 3], p[0, 2, NONE] = 0.65, 0.65
        mask, decided = torch.ones(1, 3, 8, dtype=torch.bool), torch.tensor([[True, False, True]])
        found = draw(p, mask, torch.full((1, 3, 8), 100.0), decided, seed=0)
        assert found.weights[0, 0].tolist() == pytest.approx([0, 0.05, 0.05, 0.65, *[0.05] * 4])
        assert found.candidates.tolist() == [[1, 7, 7]] and found.drawn == 2

    @pytest.mark.parametrize("max_skips", [None, 0, 1])
    def test_nodes_keep_the_inputs_that_they_have_without_it(self, max_skips):
        """And edges that are decided keep their operation: a search that decided all has the same genotype."""
        generator = torch.Generator().manual_seed(0)
        mask, kept = torch.ones(1, 14, 8, dtype=torch.bool), 0
        for seed in range(100):
            p = (0.3 * torch.randn(1, 14, 8, generator=generator)).softmax(-1)
            edge_weights = 0.5 + 0.01 * torch.randn(1, 14, generator=generator)
            decided = torch.rand(1, 14, generator=generator) < 0.3
            found = draw(p, mask, torch.ones(1, 14, 8), decided, seed=seed)
            shape = CellShape()
            (before,) = discretise(p, edge_weights, shape).cells
            (after,) = discretise(found.weights, edge_weights, shape, max_skips=max_skips).cells
            for node, (old, new) in enumerate(zip(before, after, strict=True)):
                skips = max_skips is None or "skip_connect" not in {operation for operation, _ in old}
                assert [source for _, source in new] == [source for _, source in old] or not skips
                for (was, source), (is_now, also) in zip(old, new, strict=True):
                    edge = edges_of(4).index((node, source))
                    if source == also and decided[0, edge] and p[0, edge].argmax() != NONE and was != "skip_connect":
                        assert is_now == was
                        kept += 1
            everything = torch.ones_like(decided)
            none_leads = p.argmax(-1, keepdim=True) == NONE
            sure = torch.where(none_leads, p.masked_fill(~torch.eye(8, dtype=torch.bool)[4], 0.0), p)
            all_kept = draw(sure, sure > 0, torch.ones(1, 14, 8), everything, seed=seed)
            assert discretise(all_kept.weights, edge_weights, shape) == discretise(sure, edge_weights, shape)
        assert kept > 100

    def test_the_next_of_the_draw_takes_the_place_of_a_skip_too_many(self):
        for seed in range(30):
            found = drawn(torch.zeros(1, 2, 8), 1.0, seed=seed)
            cells = [
                discretise(
                    found.weights,
                    torch.tensor([[0.6, 0.4]]),
                    CellShape(nodes=1),
                    max_skips=most,
                ).cells[0][0]
                for most in (None, 0)
            ]
            for edge, (with_skips, without) in enumerate(zip(*cells, strict=True)):
                order = found.weights[0, edge].argsort(descending=True)
                assert with_skips == (OPERATIONS[order[0]], edge)
                assert without == (OPERATIONS[order[0] if order[0] != SKIP else order[1]], edge)


class TestSearches:
    def test_no_epoch_depends_on_it_and_a_finished_search_may_be_drawn_from(self, tmp_path: Path):
        (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
        by_weights = search(tmp_path / "a", tiny_network(nodes=1), WEIGHTS)
        by_lot = search(tmp_path / "b", tiny_network(nodes=1), PLAN)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")
        again = search(tmp_path / "a", tiny_network(nodes=1), PLAN, resume=True)
        assert again.genotype == by_lot.genotype and again.message == by_lot.message
        assert "select" not in by_weights.genotype.origin
        assert by_weights.message.endswith("search.select=draw lets chance choose instead.")

    def test_an_undecided_search_says_that_it_was_drawn(self, tmp_path: Path):
        result = search(tmp_path, tiny_network(nodes=1), PLAN, lambda output, target: 0.0 * output.sum())
        assert result.status == "undecided" and result.decided_edges == 0
        assert "The genotype is drawn by lot, not a finding" in result.message
        assert "search.select=draw" not in result.message
        assert "operations of 2 candidate edges were drawn, each among the 7 to 7 whose distance" in result.message
        assert result.genotype.origin["select"] == "draw" and result.genotype.origin["drawn_edges"] == 2

    def test_seeds_differ_without_a_signal_and_agree_with_one(self, tmp_path: Path):
        def found(name: str, plan: SearchPlan, with_signal: bool) -> object:
            (tmp_path / name).mkdir()
            network = tiny_network(nodes=1)
            loss = signal(network) if with_signal else lambda output, target: 0.0 * output.sum()
            return search(tmp_path / name, network, plan, loss).genotype.cells

        assert len({found(f"blind{seed}", replace(PLAN, seed=seed), with_signal=False) for seed in range(6)}) > 2
        sure = SearchPlan(epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1, select="draw")
        clear = {found(f"clear{seed}", replace(sure, seed=seed), with_signal=True) for seed in range(2)}
        assert clear == {(((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),),)}

    def test_the_message_of_a_decided_search_speaks_of_no_draw(self, tmp_path: Path):
        network = tiny_network(nodes=1)
        plan = SearchPlan(epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1, select="draw")
        result = search(tmp_path, network, plan, signal(network))
        assert result.status == "decided" and result.genotype.origin["drawn_edges"] == 0
        assert "drawn" not in result.message and math.isfinite(result.seconds)
