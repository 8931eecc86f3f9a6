"""Selection by removal: the rule on made-up losses, the losses against slow ones, and whole searches."""

from __future__ import annotations

import json
from dataclasses import replace

import holm
import pytest
import torch
from edgewise_cells import EdgewiseCells
from scipy.stats import ttest_rel
from tiny_hosts import BACKBONES, host_arguments
from tiny_searches import CPU, batches, lines, no_signal, same_state, search, signal, tiny_network
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.bilevel import Precision
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.removal import LEVEL, Part, Removal, judge
from nnunet_iac.search.removal_losses import measure_removals, parts_to_remove, without

NONE, SKIP, SEP = 0, OPERATIONS.index("skip_connect"), OPERATIONS.index("sep_conv_3x3")
WEIGHTS = SearchPlan(epochs=3, iterations=2, warmup_epochs=1)
PLAN = replace(WEIGHTS, select="removal", select_batches=2)


def open_parts(nodes: int, groups: int = 1) -> tuple[list[Part], tuple[int, int, int]]:
    shape = (groups, len(edges_of(nodes)), len(OPERATIONS))
    return parts_to_remove(torch.ones(shape, dtype=torch.bool), torch.zeros(shape[:2], dtype=torch.bool)), shape


def noise(parts: list[Part], count: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.randn(count, 1 + len(parts), generator=generator, dtype=torch.float64)


class TestTheRule:
    def test_what_matters_is_chosen_and_decided(self):
        parts, shape = open_parts(nodes=2)
        losses = noise(parts)
        for part in (Part(0, 3, SEP), Part(0, 2, None), Part(0, 4, None)):
            losses[:, 1 + parts.index(part)] += 20
        found = judge(losses, parts, shape, 2)
        assert found.decided.tolist() == [[False, False, False, True, False]]
        assert found.decided_inputs.tolist() == [[False, True]] and found.input_p[0].isnan().tolist() == [True, False]
        p, w = found.weights(torch.full(shape, 0.125))
        assert p[0, 3].argmax() == SEP and p[0, 3, SEP] == 1 and not p[..., NONE].any()
        assert set(w[0].topk(2).indices.tolist()) == {2, 4}

    def test_of_two_inputs_that_matter_one_alone_decides_nothing(self):
        parts, shape = open_parts(nodes=2)
        losses = noise(parts)
        losses[:, 1 + parts.index(Part(0, 2, None))] += 20
        assert not judge(losses, parts, shape, 2).decided_inputs.any()

    def test_chance_decides_something_at_most_as_often_as_the_level_says(self):
        """Four nodes, 8 batches."""
        parts, shape = open_parts(nodes=4)
        found = [judge(noise(parts, seed=seed), parts, shape, 4) for seed in range(60)]
        assert sum(bool(f.decided.any() or f.decided_inputs.any()) for f in found) <= 60 * LEVEL

    def test_two_candidates_alone_are_decided_by_chance_as_often_as_the_level_says(self):
        """The test is exact where the leader is one of two: a one-sided one would decide twice as often."""
        parts, count = [Part(0, 0, SEP), Part(0, 0, SKIP)], 1000
        found = [judge(noise(parts, seed=seed), parts, (1, 2, 8), 1).decided.any() for seed in range(count)]
        assert sum(map(bool, found)) / count == pytest.approx(LEVEL, abs=0.02)

    def test_p_is_of_the_worst_pair_and_corrected_by_holm(self):
        parts, shape = open_parts(nodes=2)
        losses = noise(parts) + torch.linspace(0, 4, 1 + len(parts))
        found, expected = judge(losses, parts, shape, 2), []
        for choice in range(5):
            rows = [losses[:, 1 + r].numpy() for r, part in enumerate(parts) if part[1:2] == (choice,) and part[2]]
            best = max(rows, key=lambda row: row.mean())
            expected.append(max(ttest_rel(best, row).pvalue for row in rows if row is not best))
        rows = [losses[:, 1 + parts.index(Part(0, e, None))].numpy() for e in (2, 3, 4)]
        *left, a, b = sorted(rows, key=lambda row: row.mean())
        expected.append(max(ttest_rel(k, row).pvalue for k in (a, b) for row in left))
        ours = [*found.operation_p[0].tolist(), float(found.input_p[0, 1])]
        assert ours == pytest.approx(holm.corrected(expected), rel=1e-9)

    def test_the_scores_are_the_mean_rises_and_their_errors(self):
        parts, shape = open_parts(nodes=1)
        losses = noise(parts)
        found, rise = judge(losses, parts, shape, 1), losses[:, 2] - losses[:, 0]
        at = parts[1]
        assert float(found.operations[at]) == pytest.approx(float(rise.mean())) and found.loss == losses[:, 0].mean()
        assert found.operation_errors[at] == pytest.approx(float(rise.std() / 8**0.5)) and found.forwards == 8 * 17
        assert found.operations[..., NONE].isnan().all() and found.input_p.isnan().all()

    def test_without_any_effect_the_earlier_leads_and_nothing_is_decided(self):
        parts, shape = open_parts(nodes=2)
        found = judge(torch.ones(4, 1 + len(parts), dtype=torch.float64), parts, shape, 2)
        assert not found.decided.any() and not found.decided_inputs.any() and found.largest == 0
        p, w = found.weights(torch.full(shape, 0.125))
        assert (p.argmax(-1) == 1).all() and (w == 1).all()

    def test_an_effect_that_never_varies_is_decided(self):
        parts, shape = open_parts(nodes=1)
        losses = torch.ones(4, 1 + len(parts), dtype=torch.float64)
        losses[:, 1 + parts.index(Part(0, 1, SEP))] = 2
        assert judge(losses, parts, shape, 1).decided.tolist() == [[False, True]]

    def test_an_edge_that_its_weights_decided_keeps_their_choice(self):
        mask, decided = torch.ones(1, 2, 8, dtype=torch.bool), torch.tensor([[True, False]])
        mask[0, 1, SKIP] = False
        parts = parts_to_remove(mask, decided)
        assert [p.operation for p in parts] == [1, 2, 4, 5, 6, 7, None, None] and {p.edge for p in parts[:6]} == {1}
        found = judge(noise(parts), parts, (1, 2, 8), 1)
        probabilities = torch.tensor([0.5, 0, 0, 0, 0.3, 0.2, 0, 0]).expand(1, 2, 8)
        p, _ = found.weights(probabilities)
        assert found.asked == 1 and p[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 1, 2 / 3, 0, 0])
        assert p[0, 1, SKIP] == 0 and sorted(p[0, 1, [1, 2, 4, 5, 6, 7]].tolist())[-1] == 1

    def test_where_the_weights_decided_all_edges_only_inputs_are_asked(self):
        parts = parts_to_remove(torch.ones(1, 2, 8, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool))
        found = judge(noise(parts), parts, (1, 2, 8), 1)
        assert found.asked == 0 and found.largest == 0 and not found.decided.any()

    def test_an_edge_with_one_real_operation_left_is_not_asked(self):
        mask = torch.zeros(1, 2, 8, dtype=torch.bool)
        mask[0, :, SEP] = mask[0, 1, NONE] = True
        parts = parts_to_remove(mask, torch.zeros(1, 2, dtype=torch.bool))
        assert parts == [Part(0, 0, None), Part(0, 1, None)]
        p, _ = judge(noise(parts), parts, (1, 2, 8), 1).weights(mask / mask.sum(-1, keepdim=True))
        assert p[0, :, SEP].tolist() == [1, 1] and p.sum() == 2

    def test_the_record_is_json(self):
        parts, shape = open_parts(nodes=2, groups=2)
        found = judge(noise(parts), parts, shape, 2)
        record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert record["operations"][1][4][0] is None and record["edges"] == found.edges.tolist()
        assert record["batches"] == 8 and record["forwards"] == 8 * (1 + 2 * 5 * 8)


def moved_network(shared: bool = True) -> CellUNet:
    """Two levels of cells that do something: projections and logits away from zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments())
        network.implant(MixedCells(network.stages, CellShape(nodes=2), partial=2, shared=shared))
        for parameter in network.cells.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return network


def measured(network: CellUNet, *scored: tuple[int, int]) -> Removal:
    """Removals of all edges, and of the operations of the ``(group, edge)`` that are named."""
    precision = Precision.of(CPU)
    decided = torch.ones(network.cells.architecture.beta.shape, dtype=torch.bool)
    for at in scored:
        decided[at] = False
    return measure_removals(
        network,
        network.cells,
        lambda batch: precision.loss_of(network, no_signal, batch),
        batches(2)(0),
        2,
        decided,
    )


class TestTheLosses:
    @pytest.mark.parametrize("shared", [True, False])
    def test_equal_those_of_cells_that_are_built_without_the_part(self, shared):
        last = 0 if shared else 1
        found = measured(moved_network(shared), (0, 0), (last, 4), (last, 3))

        def slow(part):
            """Every operation by itself, the softmax over what is left by hand."""
            rebuilt = moved_network(shared)
            architecture = rebuilt.cells.architecture
            p, beta = architecture.alpha.detach().exp(), architecture.beta.detach().exp()
            if part is not None:
                (beta if part.operation is None else p)[tuple(i for i in part if i is not None)] = 0
            p, w = (
                p / p.sum(-1, keepdim=True),
                torch.cat([b / b.sum(-1, keepdim=True) for b in beta.split([2, 3], -1)], -1),
            )
            architecture.probabilities, architecture.edge_weights = lambda: p, lambda: w
            rebuilt.implant(EdgewiseCells(rebuilt.cells))
            stream = batches(2)(0)
            with torch.no_grad():
                return [float(no_signal(rebuilt(b["data"]), b["target"])) for b in (next(stream), next(stream))]

        base = slow(None)
        assert found.loss == pytest.approx(sum(base) / 2, rel=1e-6)
        for part in (Part(0, 0, SEP), Part(last, 4, 7), Part(last, 3, 1), Part(0, 1, None), Part(last, 3, None)):
            rise = sum(a - b for a, b in zip(slow(part), base, strict=True)) / 2
            score = found.edges[part[:2]] if part.operation is None else found.operations[part]
            assert float(score) == pytest.approx(rise, abs=2e-6) and abs(rise) > 1e-5

    def test_leave_everything_as_it_was(self):
        network, before = moved_network(), moved_network()
        network.train()
        network.cells.auxiliary_skip = 0.5
        measured(network, (0, 1))
        assert same_state(network, before) and network.training and network.cells.auxiliary_skip == 0.5
        assert all(p.grad is None for p in network.parameters())

    def test_do_not_see_the_auxiliary_skip_which_found_cells_lack(self):
        plain, with_skip = moved_network(), moved_network()
        with_skip.cells.auxiliary_skip = 0.5
        assert torch.equal(measured(plain).edges, measured(with_skip).edges)

    def test_a_part_returns_even_if_the_loss_fails(self):
        architecture = moved_network().cells.architecture
        before = architecture.alpha.detach().clone()
        with pytest.raises(RuntimeError), without(architecture, Part(0, 1, SEP)):
            assert (
                architecture.probabilities()[0, 1, SEP] == 0
                and torch.isclose(architecture.probabilities().sum(-1), torch.ones(1, 5)).all()
            )
            raise RuntimeError
        assert torch.equal(architecture.alpha, before)


class TestSearches:
    def test_no_epoch_depends_on_the_selection(self, tmp_path):
        """Weights as ever, and a finished search may be selected from again."""
        network, selected = tiny_network(nodes=1), tiny_network(nodes=1)
        (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
        by_weights = search(tmp_path / "a", network, WEIGHTS)
        by_removal = search(tmp_path / "b", selected, PLAN)
        assert lines(tmp_path / "a") == lines(tmp_path / "b") and same_state(network, selected)
        states = [torch.load(tmp_path / name / "search_state.pt", weights_only=True) for name in "ab"]
        assert states[0]["identity"] == states[1]["identity"] and not {"select"} & states[0]["identity"].keys()
        assert by_weights.removal is None and "select" not in by_weights.genotype.origin
        again = search(tmp_path / "a", tiny_network(nodes=1), PLAN, resume=True)
        assert again.genotype == by_removal.genotype and again.genotype.origin == by_removal.genotype.origin
        assert search(tmp_path / "a", tiny_network(nodes=1), WEIGHTS, resume=True) == by_weights

    def test_batches_go_on_where_the_search_stopped_and_a_killed_selection_ends_the_same(self, tmp_path):
        drawn, later = [], []
        whole = search(tmp_path, tiny_network(nodes=1), PLAN, architecture_batches=batches(2, drawn))
        searched = PLAN.epochs * PLAN.iterations
        assert drawn == list(range(searched + PLAN.select_batches))

        def killing(start):
            for index, batch in enumerate(batches(2)(start), start=start):
                if index == searched + 1:
                    raise KeyboardInterrupt
                yield batch

        (tmp_path / "killed").mkdir()
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "killed", tiny_network(nodes=1), PLAN, architecture_batches=killing)
        resumed = search(
            tmp_path / "killed", tiny_network(nodes=1), PLAN, architecture_batches=batches(2, later), resume=True
        )
        assert later == drawn[searched:]
        assert resumed.genotype == whole.genotype and resumed.message == whole.message
        timeless = [{**r.removal.to_dict(), "seconds": 0} for r in (resumed, whole)]
        assert timeless[0] == timeless[1]

    def test_an_undecided_search_says_so_and_how_it_was_selected(self, tmp_path):
        result = search(tmp_path, tiny_network(nodes=1), PLAN, lambda output, target: 0.0 * output.sum())
        assert result.status == "undecided" and result.decided_edges == 0
        for words in (
            "2 of 2 edges",
            "the best by removal, not a finding",
            "on 2 held-out batches",
            "0 decided by rem",
        ):
            assert words in result.message
        assert result.genotype.origin["select"] == "removal" and result.genotype.origin["decided_by_removal"] == 0
        assert result.seconds > result.removal.seconds > 0

    @pytest.mark.parametrize("best", ["sep_conv_5x5", "max_pool_3x3"])
    def test_the_operation_that_made_the_target_is_found_where_weights_say_nothing(self, tmp_path, best):
        """A teacher with the student's weights and one operation on one edge; nothing learns."""
        teacher, student = (tiny_network(nodes=1, partial=1) for _ in range(2))
        for network in (teacher, student):
            nn.init.normal_(network.cells.levels[0].projection.weight, generator=torch.Generator().manual_seed(4))
        teacher.cells.architecture.alpha.data[:, 1, OPERATIONS.index(best)] = 50.0

        def taught(start):
            for batch in batches(2)(start):
                yield {"data": batch["data"], "target": teacher(batch["data"]).detach()}

        still = replace(PLAN, epochs=2, drift=1e-6, weight_lr=1e-9, select_batches=8)
        result = search(tmp_path, student, still, weight_batches=taught, architecture_batches=taught)
        assert result.genotype.cells[0][0][1] == (best, 1) and result.removal.decided[0, 1]
        assert result.removal.decided.sum() == result.decided_edges

    def test_edges_that_the_weights_decided_count_too(self, tmp_path):
        network = tiny_network(nodes=1)
        plan = SearchPlan(
            epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1, select="removal", select_batches=2
        )
        result = search(tmp_path, network, plan, signal(network))
        assert result.status == "decided" and result.removal.asked == 0
        assert result.message.startswith("All 2 edges were decided after") and "of the 0 edges" in result.message
        assert {op for node in result.genotype.cells[0] for op, _ in node} == {"sep_conv_3x3"}

    def test_a_loss_that_is_not_a_number_is_named_with_a_way_out(self, tmp_path):
        calls = iter(range(10**6))
        steps = PLAN.iterations * (2 * PLAN.epochs - PLAN.warmup_epochs)

        def failing(output, target):
            return no_signal(output, target) * (torch.nan if next(calls) == steps + 3 else 1.0)

        with pytest.raises(FloatingPointError, match=r"search.select: expected finite losses .*search.select=weights"):
            search(tmp_path, tiny_network(nodes=1), PLAN, failing)
        assert search(tmp_path, tiny_network(nodes=1), WEIGHTS, resume=True).epochs == PLAN.epochs

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"select": "chance"}, r"select: expected one of \('weights', 'removal', 'draw'\), got 'chance'"),
            ({"select_batches": 1}, "select_batches: expected at least 2, to know their spread, got 1"),
        ],
    )
    def test_a_bad_plan_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            SearchPlan(**changes)
