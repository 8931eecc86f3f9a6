"""The losses are what plain loops say, and leave out what they should."""

from __future__ import annotations

import pytest
import slow_meta_losses as slow
import torch
from torch import Tensor
from torch.nn import functional

from nnunet_iac.metaspace.losses import contrastive_loss, fid_loss, normalised_fid, performance_loss, rank_loss


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(rows: int, seed: int) -> Tensor:
    return functional.normalize(uniform(rows, 5, seed=seed) - 0.5, dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_the_slow_ones(seed: int) -> None:
    similarities, dice = uniform(4, 7, seed=seed) * 2 - 1, (uniform(4, 7, seed=seed + 50) * 5).round() / 5
    dice[3] = 0.4  # a task in which all tie
    first, second = units(4, seed), units(4, seed + 1)
    distances = torch.cdist(first, second)
    distances = distances + distances.T

    found = [
        performance_loss(similarities, dice),
        rank_loss(similarities, dice, sigma=0.3),
        fid_loss(first, distances, beta=0.7),
        contrastive_loss(first, second, margin=0.2),
    ]
    expected = [
        slow.performance(similarities.tolist(), dice.tolist()),
        slow.rank(similarities.tolist(), dice.tolist(), 0.3),
        slow.fid(first.tolist(), distances.tolist(), 0.7),
        slow.contrastive(first.tolist(), second.tolist(), 0.2),
    ]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-12)
    assert min(expected) > 0


def test_ties_move_nothing() -> None:
    similarities = uniform(1, 3).requires_grad_()

    rank_loss(similarities, torch.tensor([[0.5, 0.5, 0.5]]), sigma=0.1).backward()

    assert similarities.grad is not None and similarities.grad.eq(0).all()


def test_the_rank_loss_lifts_the_better_one() -> None:
    similarities = torch.zeros(1, 2, requires_grad=True)

    rank_loss(similarities, torch.tensor([[0.9, 0.1]]), sigma=0.1).backward()

    assert similarities.grad is not None and similarities.grad[0, 0] < 0 < similarities.grad[0, 1]


def test_one_data_set_has_no_pairs() -> None:
    one = units(1, 0)

    assert fid_loss(one, torch.zeros(1, 1), beta=1.0) == contrastive_loss(one, one, margin=0.2) == 0


def test_folds_of_a_data_set_are_no_negatives_of_each_other() -> None:
    datasets = torch.eye(2)[[0, 0, 1]].requires_grad_()  # two folds of one data set, and another one

    loss = contrastive_loss(datasets, datasets.detach(), margin=0.2, names=["a", "a", "b"])
    loss.backward()

    assert loss == 0 and datasets.grad is not None and datasets.grad.eq(0).all()
    assert contrastive_loss(datasets, datasets, margin=0.2) > 0, "else they would be"
    models = units(3, 5)
    both = [contrastive_loss(units(3, 4), models, margin=0.2, names=names).item() for names in ((), ("a", "b", "c"))]
    assert both[0] == both[1]
    alone = contrastive_loss(datasets[:2], models[:2, :2].float(), margin=0.2, names=["a", "a"])
    alone.backward()
    assert alone == 0 and datasets.grad.isfinite().all()


def test_normalising_keeps_zeros() -> None:
    assert normalised_fid(torch.zeros(2, 2)).eq(0).all()
