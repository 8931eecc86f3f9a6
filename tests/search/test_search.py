from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments
from tiny_searches import SEP, batches, lines, no_signal, same_state, search, signal, tiny_network
from torch import nn

from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.stability import drift_threshold

SHORT = SearchPlan(epochs=4, iterations=2, warmup_epochs=2)
STRONG = SearchPlan(epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1)


class TestPlan:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epochs": 0}, "epochs, iterations: expected at least 1, got 0"),
            ({"iterations": 0}, "epochs, iterations: expected at least 1, got 200, 0"),
            ({"warmup_epochs": 0}, "warmup_epochs: expected from 1 .* got 0; without warm-up"),
            ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs: expected from 1 to epochs - 1 = 4, got 5"),
            ({"drift": 0}, "drift: expected a positive number, got 0"),
            ({"tau": -1.0}, "tau: expected a positive number, got -1.0"),
            ({"patience": 0}, "patience: expected a positive number of epochs, got 0"),
            ({"easing": 0.0}, r"easing, easing_epochs: expected a factor in \(0, 1\] and a number from 0, got 0.0, 0"),
            ({"easing_epochs": -1}, "easing, easing_epochs: .* got 1.0, -1"),
            ({"weight_lr": 0.0}, "weight_lr: expected a positive number, got 0.0"),
            ({"mode": "thawed"}, r"mode: expected one of \('frozen', 'joint'\), got 'thawed'"),
        ],
    )
    def test_numbers_out_of_range_are_named_at_once(self, changes, message):
        with pytest.raises(ValueError, match=message):
            SearchPlan(**changes)

    def test_an_epoch_moves_a_logit_as_far_whatever_its_number_of_steps(self):
        few, many = SearchPlan(iterations=5), SearchPlan(iterations=500)
        assert few.architecture_lr * 5 == pytest.approx(many.architecture_lr * 500) == pytest.approx(few.drift)

    def test_at_rest_is_a_third_of_what_a_window_allows_or_the_walk_of_a_few_large_steps(self):
        third, walk = 0.2 * 2 / 3, 1.5 * (0.2 / 5) * math.sqrt(2 * 5)
        assert SearchPlan(iterations=50).rule == SearchPlan(iterations=500).rule
        assert SearchPlan(iterations=50).rule.tau == pytest.approx(drift_threshold(third))
        assert SearchPlan(iterations=5).rule.tau == pytest.approx(drift_threshold(walk)) and walk > third

    def test_the_architecture_is_eased_after_the_warm_up(self):
        plan = SearchPlan(epochs=9, warmup_epochs=2, easing=0.5, easing_epochs=3)
        assert [epoch for epoch in range(9) if plan.is_eased(epoch)] == [2, 3, 4]
        assert not any(replace(plan, easing=1.0).is_eased(epoch) for epoch in range(9))

    def test_tau_may_be_given(self):
        assert SearchPlan(tau=0.02).rule.tau == 0.02 and SearchPlan(patience=7).rule.patience == 7


class TestTrace:
    @pytest.fixture(scope="class")
    @staticmethod
    def trace(tmp_path_factory):
        folder = tmp_path_factory.mktemp("trace")
        search(folder, tiny_network(), SHORT)
        return lines(folder)

    def test_has_one_line_for_each_epoch(self, trace):
        assert [line["epoch"] for line in trace] == [0, 1, 2, 3]
        assert [line["phase"] for line in trace] == ["warmup", "warmup", "search", "search"]

    def test_alphas_stand_still_in_the_warm_up_and_leave_uniform_after_it(self, trace):
        p = [torch.tensor(line["probabilities"]) for line in trace]
        assert torch.equal(p[0], p[1]) and (p[1] - 0.125).abs().max() < 1e-3
        assert (p[2] - p[1]).abs().max() > 1e-3 and (p[3] - 0.125).abs().max() > 5e-3

    def test_a_dice_is_asked_for_after_every_epoch_and_changes_nothing_else(self, tmp_path, trace):
        said, values = [], iter([0.1, math.nan, 0.2, 0.25])
        search(tmp_path, tiny_network(), SHORT, dice=lambda: next(values), log=said.append)
        measured = lines(tmp_path)
        assert [line.pop("dice", None) for line in measured] == [0.1, None, 0.2, 0.25]
        assert measured == trace and [text[-13:] for text in said if ", Dice" in text] == [
            ", Dice 0.1000",
            ", Dice 0.2000",
            ", Dice 0.2500",
        ]

    def test_divergences_are_not_counted_in_the_warm_up(self, trace):
        assert all(value is None for line in trace for value in line["jsd"][0])
        assert [line["arch_loss"] is None for line in trace] == [True, True, False, False]

    def test_variation_is_the_sum_of_each_logit_s_squared_steps(self, tmp_path):
        """One step an epoch, so that the states on the disk hold every step; none in the warm-up."""
        network, seen = tiny_network(), []

        def look(text):
            if text.startswith("search: epoch"):
                content = torch.load(tmp_path / "search_state.pt", weights_only=True)
                seen.append((content["variation"], network.cells.architecture.alpha.detach().double().clone()))

        search(tmp_path, network, SearchPlan(epochs=5, iterations=1, warmup_epochs=2), log=look)
        assert not seen[0][0].any() and not seen[1][0].any()
        steps = [(b[1] - a[1]) ** 2 for a, b in itertools.pairwise(seen)]
        for epoch in range(2, 5):
            assert steps[epoch - 1].all() and torch.allclose(seen[epoch][0], sum(steps[:epoch]), rtol=1e-5, atol=0)

    def test_eased_epochs_move_the_logits_less_and_decide_nothing(self, tmp_path, trace):
        plan = replace(SHORT, easing=0.25, easing_epochs=1)
        search(tmp_path, tiny_network(), plan)
        eased = lines(tmp_path)
        moved = [
            [(torch.tensor(b["probabilities"]) - torch.tensor(a["probabilities"])).abs().max() for a, b in pairs]
            for pairs in (itertools.pairwise(eased[1:]), itertools.pairwise(trace[1:]))
        ]
        assert 0 < moved[0][0] < 0.5 * moved[1][0] and moved[0][1] > moved[0][0]
        assert all(value is None for value in eased[2]["jsd"][0])

    def test_shapes_are_those_of_the_contract(self, trace):
        last = trace[-1]
        assert torch.tensor(last["probabilities"]).shape == torch.tensor(last["mask"]).shape == (1, 5, 8)
        assert torch.tensor(last["edge_weights"]).shape == torch.tensor(last["decided"]).shape == (1, 5)
        assert last["active_operations"] == 40 and last["pruned"] == []


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search for a planted operation: result, network, trace, and Adam's state and the mask after each epoch."""
    folder, network, seen = tmp_path_factory.mktemp("found"), tiny_network(), []

    def look(text):
        if text.startswith("search: epoch"):
            content = torch.load(folder / "search_state.pt", weights_only=True)
            seen.append((content["architecture"]["state"].get(0), network.cells.architecture.mask.clone()))

    result = search(folder, network, STRONG, signal(network), log=look)
    return result, network, lines(folder), seen


class TestOutcome:
    def test_a_planted_operation_is_found_early(self, found):
        result, _, trace, _ = found
        assert result.status == "decided" and result.decided_edges == result.edges == 5
        assert 0 < result.epochs < STRONG.epochs and len(trace) == result.epochs
        assert {op for node in result.genotype.cells[0] for op, _ in node} == {"sep_conv_3x3"}
        assert result.message.startswith(f"All 5 edges were decided after {result.epochs} of 25 epochs")

    def test_what_was_pruned_is_in_the_trace_once_and_stays_pruned(self, found):
        _, network, trace, _ = found
        pruned = [tuple(entry) for line in trace for entry in line["pruned"]]
        mask = network.cells.architecture.mask
        assert sorted(pruned) == sorted((0, int(e), OPERATIONS[o]) for _, e, o in (~mask).nonzero())
        assert len(pruned) > 20 and mask[..., SEP].all() and trace[-1]["mask"] == mask.int().tolist()
        assert all(p == 0 for g, e, o in (~mask).nonzero() for p in [trace[-1]["probabilities"][g][e][o]])
        counts = [line["active_operations"] for line in trace]
        assert counts == sorted(counts, reverse=True) and counts[0] == 40

    def test_pruning_forgets_the_momentum_of_the_edge(self, found):
        moments, mask = next((moments, mask) for moments, mask in found[3] if not mask.all())
        assert not moments["exp_avg"][~mask.all(-1)].any() and not moments["exp_avg_sq"][~mask].any()
        assert moments["exp_avg_sq"][mask].all()

    def test_the_full_search_prunes_nothing_and_runs_its_whole_budget(self, tmp_path):
        network = tiny_network()
        plan = SearchPlan(epochs=10, iterations=3, warmup_epochs=1, drift=0.4, tau=0.1, prune=False)
        result = search(tmp_path, network, plan, signal(network))
        assert result.epochs == 10 and network.cells.architecture.mask.all()
        assert not any(line["pruned"] for line in lines(tmp_path))
        assert result.genotype.origin["pruned"] is False

    def test_a_search_without_signal_ends_undecided_and_says_so(self, tmp_path):
        result = search(tmp_path, tiny_network(), SHORT)
        assert result.status == "undecided" and result.genotype.origin["status"] == "undecided"
        for words in ("ended undecided", "5 of 5 edges", "not a finding", "random cells"):
            assert words in result.message
        assert not any(line["pruned"] for line in lines(tmp_path))

    def test_and_does_so_after_a_plateau_of_twenty_epochs(self, tmp_path):
        plan = SearchPlan(epochs=30, iterations=1, warmup_epochs=1)
        result = search(tmp_path, tiny_network(), plan, lambda output, target: 0.0 * output.sum())
        assert result.epochs == 1 + 20 and "after 21 of 30 epochs (no progress in the last 20)" in result.message

    def test_the_genotype_says_where_it_comes_from(self, tmp_path):
        genotype = search(tmp_path, tiny_network(), SHORT).genotype
        assert genotype.kind == "searched" and genotype.nodes == 2 and genotype.width == 0.5
        assert {"seed": 0, "epochs": 4, "budget": 4, "edges": 5}.items() <= genotype.origin.items()
        assert Genotype.from_dict(json.loads(json.dumps(genotype.to_dict()))) == genotype

    def test_the_operation_that_made_the_target_is_found(self, tmp_path):
        """A teacher with the student's weights and one operation on every edge; only the architecture learns."""
        best = OPERATIONS.index("sep_conv_5x5")
        teacher, student = (tiny_network(nodes=1, partial=1) for _ in range(2))
        for network in (teacher, student):
            nn.init.normal_(network.cells.levels[0].projection.weight, generator=torch.Generator().manual_seed(4))
        teacher.cells.architecture.alpha.data[..., best] = 50.0
        teacher.cells.architecture.beta.data.zero_()

        def taught(stream):
            def open_at(start):
                for batch in batches(stream)(start):
                    yield {"data": batch["data"], "target": teacher(batch["data"]).detach()}

            return open_at

        plan = SearchPlan(epochs=60, iterations=6, warmup_epochs=1, drift=0.6, weight_lr=1e-9)
        result = search(tmp_path, student, plan, weight_batches=taught(1), architecture_batches=taught(2))
        assert result.genotype.cells[0] == ((("sep_conv_5x5", 0), ("sep_conv_5x5", 1)),)
        assert result.status == "decided" and result.epochs < plan.epochs

    def test_the_same_seed_gives_the_same_search(self, tmp_path):
        folders = [tmp_path / "a", tmp_path / "b"]
        networks = [tiny_network() for _ in folders]
        for seed, (folder, network) in enumerate(zip(folders, networks, strict=True)):
            folder.mkdir()
            torch.manual_seed(seed)
            search(folder, network, SHORT)
        assert lines(folders[0]) == lines(folders[1]) and same_state(*networks)

    @pytest.mark.parametrize("mode", ["frozen", "joint"])
    def test_the_host_changes_only_when_it_is_searched_jointly(self, tmp_path, mode):
        network, before = (tiny_network(mode=mode) for _ in range(2))
        search(tmp_path, network, SearchPlan(epochs=3, iterations=2, warmup_epochs=1, mode=mode))
        assert (network.host_digest() == before.host_digest()) is (mode == "frozen")

    def test_discrete_cells_cannot_be_searched(self, tmp_path):
        network = CellUNet(BACKBONES["plain"], Genotype.random(seed=0), **host_arguments())
        with pytest.raises(ValueError, match="network: expected mixed cells, got DiscreteCells; implant"):
            search(tmp_path, network, SHORT)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("part", ["encoder", "decoder"])
    def test_a_host_that_trains_cannot_be_searched_as_a_frozen_one(self, tmp_path, part):
        network = tiny_network()
        next(getattr(network, part).parameters()).requires_grad_(True)
        with pytest.raises(ValueError, match=r"network: expected a frozen host .*freeze_host\(True\)"):
            search(tmp_path, network, SHORT)
        assert not list(tmp_path.iterdir())
        network.freeze_host(True)
        assert search(tmp_path, network, SHORT).epochs == SHORT.epochs


class TestNotANumber:
    PLAN = SearchPlan(epochs=5, iterations=2, warmup_epochs=1)

    @staticmethod
    def failing(*calls):
        count = iter(range(10**6))
        return lambda output, target: no_signal(output, target) * (torch.nan if next(count) in calls else 1.0)

    @pytest.mark.parametrize("call", [0, 1, 2, 3, 7, 8])
    def test_once_restores_the_last_good_epoch_and_says_so(self, tmp_path, call):
        said, drawn, network = [], [], tiny_network()
        result = search(
            tmp_path, network, self.PLAN, self.failing(call), log=said.append, weight_batches=batches(1, drawn)
        )
        assert result.epochs == 5 and [line["epoch"] for line in lines(tmp_path)] == list(range(5))
        assert len([text for text in said if "restored the state after epoch" in text and "got" in text]) == 1
        assert all(value.isfinite().all() for value in network.state_dict().values())
        assert drawn == list(range(len(drawn))), "a batch that led to NaN was drawn again"
        assert "NaN" not in (tmp_path / "search.jsonl").read_text()

    # Calls 3 and 4 of the loss look for the source of NaN in call 2.
    @pytest.mark.parametrize("calls", [(2, 5), (3, 9)])
    def test_twice_stops_with_advice_and_keeps_the_good_state(self, tmp_path, calls):
        with pytest.raises(FloatingPointError, match=r"restored once already.*NaN in the images.*search.host=frozen"):
            search(tmp_path, tiny_network(), self.PLAN, self.failing(*calls))
        content = torch.load(tmp_path / "search_state.pt", weights_only=True)
        assert all(value.isfinite().all() for value in content["network"].values())
        assert content["epoch"] == len(lines(tmp_path))

    def test_what_is_said_names_the_case(self, tmp_path):
        def poisoned(start):
            for index, batch in enumerate(batches(1)(start), start):
                bad = {**batch, "data": batch["data"] * torch.nan, "keys": ["case_b"]}
                yield bad if index == 3 else batch

        said = []
        search(tmp_path, tiny_network(), self.PLAN, weight_batches=poisoned, log=said.append)
        assert any(
            r"in epoch 1. Source: data: 64 of 64 values of channel 0 of sample 0 (case 'case_b')" in t for t in said
        )

    def test_what_is_said_names_level_edge_and_operation(self, tmp_path):
        network, said, calls = tiny_network(), [], []

        def loss(output, target):
            calls.append(0)
            if len(calls) == 5:
                network.cells.levels[0].body.edges[2].operations[SEP][0].pointwise.weight.data.fill_(3e38)
            return no_signal(output, target)

        search(tmp_path, network, self.PLAN, loss, log=said.append)
        assert any("cell of level 0, edge 0 -> node 1, sep_conv_3x3" in text for text in said)

    def test_a_logit_that_is_not_a_number_counts_too(self, tmp_path):
        network, said, calls = tiny_network(), [], []

        def loss(output, target):
            calls.append(0)
            if len(calls) == 7:
                with torch.no_grad():
                    network.cells.architecture.beta[0, 0] = torch.inf
            return no_signal(output, target)

        search(tmp_path, network, self.PLAN, loss, log=said.append)
        assert any("beta: expected finite" in text or "gradients: expected finite" in text for text in said)
        assert network.cells.architecture.beta.isfinite().all()
