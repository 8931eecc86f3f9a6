from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from nnunet_iac.search.stability import drift_threshold, jensen_shannon


def simplex(count: int, seed: int = 0, temperature: float = 2.0) -> torch.Tensor:
    logits = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (temperature * logits).softmax(-1)


class TestDivergence:
    def test_is_zero_for_equal_distributions(self):
        p = simplex(100)
        assert jensen_shannon(p, p).abs().max() < 1e-15

    def test_is_one_for_disjoint_one_hot_distributions(self):
        one_hot = torch.eye(8)
        for i in range(8):
            for j in range(8):
                assert float(jensen_shannon(one_hot[i], one_hot[j])) == float(i != j)

    def test_is_symmetric_and_within_zero_and_one(self):
        p, q = simplex(500, 1, 8.0), simplex(500, 2, 8.0)
        assert torch.equal(jensen_shannon(p, q), jensen_shannon(q, p))
        assert 0 <= jensen_shannon(p, q).min() and jensen_shannon(p, q).max() <= 1

    def test_equals_scipy(self):
        p, q = simplex(200, 3), simplex(200, 4)
        p[:50, 2], q[25:75, 5] = 0.0, 0.0
        p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
        expected = torch.tensor([jensenshannon(a, b, base=2) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)])
        assert torch.allclose(jensen_shannon(p, q), expected, atol=1e-12)

    @pytest.mark.parametrize("drift", [0.01, 0.05, 0.1])
    def test_of_a_small_logit_drift_is_the_drift_threshold(self, drift):
        generator = torch.Generator().manual_seed(0)
        logits = 1e-3 * torch.randn(20000, 8, generator=generator, dtype=torch.float64)
        moved = logits + drift * torch.randn(20000, 8, generator=generator, dtype=torch.float64)
        mean = float(jensen_shannon(logits.softmax(-1), moved.softmax(-1)).mean())
        # The mean of eight independent drifts is not visible to the softmax: one degree of freedom of eight less.
        assert mean == pytest.approx(drift_threshold(drift) * 7 / 8, rel=0.03)
