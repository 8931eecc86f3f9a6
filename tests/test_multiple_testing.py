"""Holm's correction is what it is defined as."""

from __future__ import annotations

import holm as reference
import numpy as np
import pytest

from nnunet_iac.multiple_testing import holm

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("top", [1.0, 0.1])
def test_holm_is_the_level_at_which_the_procedure_rejects(size: int, top: float) -> None:
    for _ in range(20):
        p_values = np.round(RNG.uniform(0, top, size), 2).tolist()  # rounded: ties
        assert holm(p_values) == pytest.approx(reference.corrected(p_values))


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\]"):
        holm([0.5, float("nan")])
