"""Which candidates are drawn, how their Dice is counted, what they answer to noise, how a ranking is judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from tiny_supernets import images, supernet

from nnunet_iac.zoo.candidates import sample_candidates
from nnunet_iac.zoo.candidates_dice import mean_dice, overlap_counts, predicted_masks, region_masks
from nnunet_iac.zoo.candidates_fidelity import ENOUGH, kendall_rows, rank_fidelity, spearman_rows
from nnunet_iac.zoo.candidates_response import NoisePlan, functional_response
from nnunet_iac.zoo.elastic_space import ElasticSpace
from nnunet_iac.zoo.subnetwork import extract

SPACE = ElasticSpace((8, 16, 16), (2, 2, 2), (2, 1), residual=False, multiple=2)
SMALL = ElasticSpace((8, 16), (2, 1), (1,), residual=False, multiple=8)


class TestCandidates:
    @pytest.mark.parametrize("count", [2, 3, 50])
    def test_they_are_distinct_and_the_extremes_are_first(self, count):
        found = sample_candidates(SPACE, count)
        assert len(set(found)) == len(found) == count
        assert found[:2] == (SPACE.largest, SPACE.smallest)
        for configuration in found:
            SPACE.check(configuration)

    def test_equal_spaces_have_equal_candidates_and_other_seeds_others(self):
        again = ElasticSpace((8, 16, 16), (2, 2, 2), (2, 1), residual=False, multiple=2)
        assert sample_candidates(again, 20) == sample_candidates(SPACE, 20)
        assert sample_candidates(SPACE, 20, seed=1) != sample_candidates(SPACE, 20)

    def test_all_of_a_small_space_can_be_asked_for_but_not_more(self):
        assert set(sample_candidates(SMALL, SMALL.count)) == set(SMALL)
        with pytest.raises(ValueError, match=f"expected at most {SMALL.count}, the sub-networks that this plan has"):
            sample_candidates(SMALL, SMALL.count + 1)
        with pytest.raises(ValueError, match="expected at least 2, the largest and the smallest, got 1"):
            sample_candidates(SMALL, 1)


class TestDice:
    def test_voxels_are_summed_over_patches_and_what_nobody_annotated_does_not_count(self):
        truth = torch.tensor([[0, 1, 1, 2], [3, 3, 1, 0]])
        answer = torch.tensor([[0, 1, 2, 2], [1, 2, 1, 1]])
        logits = torch.nn.functional.one_hot(answer, 3).movedim(-1, 1).float()
        counted = truth[:, None] != 3

        counts = overlap_counts(predicted_masks(logits, "softmax"), region_masks(truth, [1, 2]), counted)

        assert counts.tolist() == [[2, 1], [1, 1], [1, 0]]
        assert mean_dice(counts) == pytest.approx((4 / 6 + 2 / 3) / 2)

    def test_regions_overlap(self):
        truth = torch.tensor([[0, 1, 2]])
        logits = torch.tensor([[[-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]])
        counts = overlap_counts(
            predicted_masks(logits, "sigmoid"), region_masks(truth, [(1, 2), (2,)]), torch.ones(1, 1, 3).bool()
        )
        assert counts.tolist() == [[2, 1], [0, 1], [0, 0]]

    def test_a_class_that_is_nowhere_is_left_out_and_no_foreground_at_all_is_an_error(self):
        assert mean_dice(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])) == 1
        with pytest.raises(ValueError, match="expected foreground in at least one"):
            mean_dice(torch.zeros(3, 2))


class TestResponses:
    @pytest.mark.parametrize(("kind", "dimension"), [("plain", 2), ("residual", 3)])
    def test_they_are_mean_and_maximum_of_the_bottleneck_padded_with_zeros(self, kind, dimension):
        network = supernet(kind, dimension)
        small = extract(network, network.space.smallest).network
        noise = images(dimension, batch=3)

        response = functional_response(small.train(), noise, 16)

        with torch.no_grad():
            deepest = small.eval().encoder(noise)[-1].flatten(2)
        own = deepest.shape[1]
        assert own < 16 and response.shape == (32,)
        torch.testing.assert_close(response[: 2 * own : 2], deepest.mean(2).mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(response[1 : 2 * own : 2], deepest.amax(2).mean(0), atol=1e-5, rtol=1e-5)
        assert not response[2 * own :].any()
        # Networks of other widths agree channel by channel, however wide the largest of each plan is.
        assert torch.equal(functional_response(small, noise, 24)[:32], response)

    def test_the_noise_is_the_seeds_and_a_network_wider_than_the_largest_is_refused(self):
        assert torch.equal(NoisePlan(3).draw(2, (8, 8))[:2], NoisePlan(2).draw(2, (8, 8)))
        assert not torch.equal(NoisePlan(2, seed=1).draw(2, (8, 8)), NoisePlan(2).draw(2, (8, 8)))
        with pytest.raises(ValueError, match="noise images: expected at least 1"):
            NoisePlan(0)
        with pytest.raises(ValueError, match="expected at least the 16 channels of the bottleneck, got 8"):
            functional_response(supernet(), images(), 8)


class TestFidelity:
    def test_a_hand_made_case(self):
        found = rank_fidelity([1, 2, 3, 4, 5], [0.1, 0.3, 0.2, 0.5, 0.4])
        # Two swaps of neighbours: 1 - 6 * 4 / (5 * 24) and (8 - 2) / 10; the pick has 0.4, the best 0.5.
        assert found.spearman.value == pytest.approx(0.8) and found.kendall.value == pytest.approx(0.6)
        assert found.regret == pytest.approx(0.1) and found.random_regret == pytest.approx(0.2)
        assert not found.conclusive and found.verdict.startswith("NO CONCLUSION: 5 networks are too few")

    def test_values_are_scipys_with_ties_and_the_interval_holds_them(self):
        draw = np.random.default_rng(0)
        x = draw.normal(size=30).round(1)
        y = (x + draw.normal(size=30)).round(1)
        found = rank_fidelity(x, y)
        assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
        assert found.kendall.value == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        for side in (found.spearman, found.kendall):
            assert 0 < side.low < side.value < side.high < 1
        assert found.conclusive and "ranks networks as they rank" in found.verdict
        assert rank_fidelity(x, -y).conclusive and "backwards" in rank_fidelity(x, -y).verdict
        assert rank_fidelity(x, y) == found

    def test_the_interval_holds_95_percent_of_what_other_samples_of_the_pairs_give(self):
        draw = np.random.default_rng(2)
        x = draw.normal(size=40)
        y = x + draw.normal(size=40)
        found = rank_fidelity(x, y)
        drawn = draw.integers(40, size=(4000, 40))
        for side, rows in ((found.spearman, spearman_rows), (found.kendall, kendall_rows)):
            expected = np.quantile(rows(x[drawn], y[drawn]), [0.025, 0.975])
            assert [side.low, side.high] == pytest.approx(expected, abs=0.015)

    def test_chance_and_what_does_not_vary_are_no_conclusion(self):
        draw = np.random.default_rng(1)
        chance = rank_fidelity(draw.normal(size=ENOUGH), draw.normal(size=ENOUGH))
        flat = rank_fidelity([1, 1, 1], [1, 2, 3])
        assert not chance.conclusive and "the interval contains 0" in chance.verdict
        assert flat.spearman.value is None and not flat.conclusive and "no ranking to compare" in flat.verdict

    @pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, math.nan], [1, 2, 3])])
    def test_too_few_or_broken_numbers_are_refused(self, x, y):
        with pytest.raises(ValueError, match="expected finite numbers of the same 3 or more networks"):
            rank_fidelity(x, y)
