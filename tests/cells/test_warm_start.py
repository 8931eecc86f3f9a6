"""Logits and weights of one search as the start of another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.operations import Stage
from nnunet_iac.cells.warm_start import VARIATION, match_levels, revived, start_architecture, transfer_cells


def stages(*channels: int, kernel: tuple[int, ...] = (3, 3)) -> list[Stage]:
    norm = nn.InstanceNorm2d if len(kernel) == 2 else nn.InstanceNorm3d
    return [Stage(c, kernel, norm, {"affine": True}) for c in channels]


def cells(
    seed: int, *channels: int, kernel: tuple[int, ...] = (3, 3), shared: bool = True, partial: int = 4, **shape
) -> MixedCells:
    """Mixed cells all of whose numbers are drawn; those of the logits are large."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = MixedCells(
            stages(*(channels or (16, 32)), kernel=kernel),
            CellShape(**{"nodes": 2, **shape}),
            shared=shared,
            partial=partial,
        )
        for parameter in made.parameters():
            nn.init.normal_(parameter)
    return made


def logits(found: MixedCells) -> tuple[torch.Tensor, torch.Tensor]:
    return found.architecture.alpha.detach().clone(), found.architecture.beta.detach().clone()


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class TestLogits:
    def test_an_infinite_temperature_is_a_cold_start_bit_for_bit(self):
        target, source = cells(0), cells(1)
        cold = logits(target)
        start_architecture(target, source.state_dict(), math.inf)
        assert same(logits(target), cold)

    def test_temperature_one_is_the_source_bit_for_bit(self):
        target, source = cells(0), cells(1)
        start_architecture(target, source.state_dict(), 1.0)
        assert same(logits(target), logits(source))

    def test_in_between_every_lead_shrinks_with_the_temperature(self):
        spreads = []
        for temperature in (0.5, 1.0, 2.0, 8.0, 1e9):
            target, source = cells(0), cells(1)
            with torch.no_grad():
                target.architecture.alpha.mul_(1e-3)
            start_architecture(target, source.state_dict(), temperature)
            spreads.append(float(target.architecture.alpha.detach().std()))
        assert spreads == sorted(spreads, reverse=True)

    def test_pruned_operations_come_back_behind_those_that_outlived_them(self):
        source = cells(1)
        mask = torch.ones_like(source.architecture.mask)
        mask[..., 3:] = False
        source.architecture.set_mask(mask)
        target = cells(0)
        start_architecture(target, source.state_dict(), 1.0)
        assert target.architecture.mask.all()
        alpha = target.architecture.alpha
        assert torch.equal(alpha[..., :3], source.architecture.alpha[..., :3])
        assert (alpha[..., 3:] <= alpha[..., :3].amin(-1, keepdim=True)).all()
        over = source.architecture.alpha[..., 3:] < alpha[..., :3].amin(-1, keepdim=True)
        assert over.any() and torch.equal(alpha[..., 3:][over], source.architecture.alpha[..., 3:][over])

    def test_survivors_keep_their_shares(self):
        source, target = cells(1), cells(0)
        mask = source.architecture.mask.clone()
        mask[0, 0, 2] = False
        source.architecture.set_mask(mask)
        start_architecture(target, source.state_dict(), 1.0)
        target.architecture.set_mask(mask)
        assert torch.equal(target.architecture.probabilities(), source.architecture.probabilities())

    def test_a_shared_source_serves_every_level(self):
        source, target = cells(1), cells(0, 16, 32, 64, shared=False)
        start_architecture(target, source.state_dict(), 1.0)
        assert all(torch.equal(group, source.architecture.alpha[0]) for group in target.architecture.alpha)

    def test_levels_meet_from_full_resolution_and_the_deepest_serves_those_below(self):
        source, target = cells(1, 16, 32, shared=False), cells(0, 16, 32, 64, shared=False)
        start_architecture(target, source.state_dict(), 1.0)
        own, other = target.architecture.alpha, source.architecture.alpha
        assert torch.equal(own[:2], other) and torch.equal(own[2], other[1])

    def test_a_shared_target_takes_the_mean(self):
        source, target = cells(1, 16, 32, shared=False), cells(0)
        start_architecture(target, source.state_dict(), 1.0)
        assert torch.equal(target.architecture.alpha[0], source.architecture.alpha.mean(0))

    @pytest.mark.parametrize(("ahead", "mean"), [(0, 10.0), (1, 0.0), (2, 0.0), (5, 0.0), (-1, 10.0)])
    def test_a_shared_target_leaves_out_levels_above_its_first(self, ahead, mean):
        found = match_levels(torch.tensor([[30.0], [0.0], [0.0]]), 1, shared=True, ahead=ahead)
        assert found.tolist() == [[mean]]

    def test_a_shared_target_leaves_out_levels_below_its_last(self):
        source, target = cells(1, 16, 32, 64, shared=False), cells(0, 16, 32)
        start_architecture(target, source.state_dict(), 1.0)
        assert torch.equal(target.architecture.alpha[0], source.architecture.alpha[:2].mean(0))

    @pytest.mark.parametrize(
        ("first", "other", "places"), [(1, 0, [1, 2, 2]), (0, 1, [0, 0, 1, 1]), (0, 0, [0, 1, 2, 2])]
    )
    def test_levels_meet_by_their_number_wherever_the_cells_of_either_side_begin(self, first, other, places):
        target = cells(0, 16, 32, 64, 64, shared=False, first_level=first)
        source = cells(1, 16, 32, 64, shared=False, first_level=other)
        found = source.state_dict()
        found[VARIATION] = torch.rand(source.architecture.alpha.shape)
        moved = start_architecture(target, found, 1.0)
        assert same(logits(target), tuple(value[places] for value in logits(source)))
        assert torch.equal(moved.float(), found[VARIATION][places])

    @pytest.mark.parametrize(("first", "other", "left"), [(1, 0, slice(1, None)), (0, 1, slice(None))])
    def test_a_shared_target_takes_the_mean_of_levels_that_it_has_cells_on(self, first, other, left):
        target = cells(0, 16, 32, 64, first_level=first)
        source = cells(1, 16, 32, 64, shared=False, first_level=other)
        start_architecture(target, source.state_dict(), 1.0)
        assert same(logits(target), tuple(value[left].mean(0, keepdim=True) for value in logits(source)))

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, math.inf])
    def test_squared_steps_shrink_with_the_square_of_what_logits_shrink_with(self, temperature):
        source = cells(1)
        found = source.state_dict()
        told = torch.rand(source.architecture.alpha.shape)
        untold = (found["architecture.alpha"] - found["architecture.alpha"].mean(-1, keepdim=True)).square()
        for steps, state in ((told, {**found, VARIATION: told}), (untold, found)):
            moved = start_architecture(cells(0), state, temperature)
            assert torch.allclose(moved, steps.double() * (1 / temperature) ** 2, rtol=1e-6, atol=0)

    def test_one_level_of_its_own_takes_that_of_full_resolution(self):
        assert match_levels(torch.tensor([[1.0], [3.0]]), 1, shared=False).tolist() == [[1.0]]

    def test_an_edge_with_nothing_pruned_keeps_its_bits(self):
        alpha = torch.randn(2, 5, 8)
        assert torch.equal(revived(alpha, torch.ones(2, 5, 8, dtype=torch.bool)), alpha)

    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
    def test_a_temperature_that_is_none_is_refused(self, temperature):
        with pytest.raises(ValueError, match="temperature: expected a positive number or infinity"):
            start_architecture(cells(0), cells(1).state_dict(), temperature)

    def test_other_nodes_are_refused_by_both_numbers_and_nothing_changes(self):
        target = cells(0)
        before = logits(target)
        with pytest.raises(ValueError, match=r"expected cells with 5 edges and 8 operations, got logits \(1, 9, 8\)"):
            start_architecture(target, cells(1, nodes=3).state_dict(), 1.0)
        assert same(logits(target), before)

    def test_logits_that_are_not_finite_are_refused(self):
        source = cells(1).state_dict()
        source["architecture.beta"][0, 0] = math.nan
        with pytest.raises(ValueError, match="finite logits"):
            start_architecture(cells(0), source, 1.0)

    def test_a_source_without_logits_is_refused(self):
        with pytest.raises(ValueError, match=r"expected architecture\.alpha among its tensors"):
            start_architecture(cells(0), {}, 1.0)


class TestWeights:
    def test_equal_cells_are_copied_bit_for_bit_and_logits_stay(self):
        target, source = cells(0), cells(1)
        before = logits(target)
        report = transfer_cells(target, source.state_dict())
        assert same(logits(target), before)
        own, other = target.state_dict(), source.state_dict()
        assert all(torch.equal(own[k], other[k]) for k in own if not k.startswith("architecture."))
        assert report.share == 1.0 and report.counts["copied"] == len(report.records)

    @pytest.mark.parametrize(
        ("options", "channels"),
        [({"kernel": (3, 3, 3)}, (16, 32)), ({}, (32, 64)), ({}, (8, 8)), ({"partial": 2}, (16, 32))],
    )
    def test_what_differs_is_fitted_and_counted(self, options, channels):
        target, source = cells(0, *channels, **options), cells(1)
        report = transfer_cells(target, source.state_dict())
        counts, numbers = report.counts, report.parameters
        total = sum(p.numel() for n, p in target.named_parameters() if not n.startswith("architecture."))
        assert counts["adapted"] > 0 and counts["fresh"] == 0 and numbers["total"] == total
        assert all(bool(torch.isfinite(p).all()) for p in target.parameters())

    def test_a_projection_reads_each_node_s_own_channels(self):
        target, source = cells(0, 32), cells(1, 16)
        transfer_cells(target, source.state_dict())
        wide, narrow = target.levels[0].projection.weight, source.levels[0].projection.weight
        for node in range(2):
            assert torch.equal(wide[:16, 16 * node : 16 * node + 8], narrow[:, 8 * node : 8 * node + 8])
            assert not wide[:16, 16 * node + 8 : 16 * node + 16].any()

    def test_levels_that_the_source_lacks_stay_fresh_and_those_too_many_are_left_over(self):
        deep, flat = cells(0, 16, 32, 64), cells(1)
        before = deep.levels[2].projection.weight.detach().clone()
        report = transfer_cells(deep, flat.state_dict())
        assert torch.equal(deep.levels[2].projection.weight, before)
        assert report.counts["fresh"] == sum(1 for _ in deep.levels[2].parameters())
        assert transfer_cells(cells(1), cells(0, 16, 32, 64).state_dict()).counts["left over"] > 0

    def test_the_layer_of_another_second_input_stays_fresh(self):
        target = cells(0)
        before = target.levels[0].inputs[0][1].weight.detach().clone()
        report = transfer_cells(target, cells(1).state_dict(), same_second_input=False)
        assert torch.equal(target.levels[0].inputs[0][1].weight, before) and report.counts["fresh"] == 2

    def test_running_statistics_start_anew(self):
        made = [
            MixedCells(
                [Stage(16, (3, 3), nn.BatchNorm2d, {})], CellShape(nodes=1), generator=torch.Generator().manual_seed(n)
            )
            for n in (0, 1)
        ]
        with torch.no_grad():
            for name, buffer in made[1].named_buffers():
                if name.endswith("running_mean"):
                    buffer.fill_(3.0)
        report = transfer_cells(made[0], made[1].state_dict())
        assert not any(b.any() for n, b in made[0].named_buffers() if n.endswith("running_mean"))
        assert {r.how for r in report.records if r.target_shape is None} == {"running statistics start anew"}
