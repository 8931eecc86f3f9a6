from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments
from tiny_searches import CPU, batches, no_signal, signal, tiny_network
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import run_search
from nnunet_iac.search.smoothing import (
    adversarial_perturbation,
    beta_decay,
    evaluating,
    onto_simplex,
    perturbation_size,
    random_perturbation,
)

SKIP = OPERATIONS.index("skip_connect")
SHAPE = (2, 5, 8)


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(SHAPE, generator=generator) < 0.6
    mask[..., 4] = True
    return torch.randn(SHAPE, generator=generator).masked_fill(~mask, -torch.inf).softmax(-1), mask


def on_the_simplex(p: torch.Tensor, mask: torch.Tensor) -> bool:
    return bool((p >= 0).all() and not p[~mask].any() and torch.allclose(p.sum(-1), torch.ones(SHAPE[:-1])))


class TestPerturbations:
    @pytest.mark.parametrize("size", [0.03, 0.3, 1.0])
    def test_stay_on_the_simplex_of_what_is_active(self, size):
        p, mask = drawn()
        torch.manual_seed(0)
        assert on_the_simplex(random_perturbation(p, mask, size), mask)
        assert on_the_simplex(adversarial_perturbation(p, mask, size, lambda q: q.square().sum()), mask)

    def test_of_size_zero_are_none(self):
        p, mask = drawn()
        assert torch.allclose(random_perturbation(p, mask, 0.0), p)

    def test_random_ones_come_from_the_global_generator(self):
        p, mask = drawn()
        torch.manual_seed(3)
        first, second = (random_perturbation(p, mask, 0.3) for _ in range(2))
        torch.manual_seed(3)
        assert torch.equal(random_perturbation(p, mask, 0.3), first) and not torch.equal(first, second)

    def test_an_attack_raises_the_loss_more_than_chance_does(self):
        p, mask = drawn()
        slope = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(0)

        def loss(q: torch.Tensor) -> torch.Tensor:
            return (slope * q).sum()

        attacked = float(loss(adversarial_perturbation(p, mask, 0.1, loss)))
        by_chance = [float(loss(random_perturbation(p, mask, 0.1))) for _ in range(20)]
        assert attacked > max(by_chance) > float(loss(p))

    def test_an_attack_that_lowers_the_loss_is_taken_back(self):
        p, mask = drawn()
        calls = []

        def falling(q: torch.Tensor) -> torch.Tensor:
            calls.append(q)
            return q.sum() - len(calls)

        assert torch.equal(adversarial_perturbation(p, mask, 0.3, falling), p) and len(calls) == 9

    def test_grow_linearly_over_the_budget(self):
        assert perturbation_size(50, 100, 0.3) == pytest.approx(0.165)

    def test_a_row_pushed_to_zero_becomes_its_former_largest_entry(self):
        p = torch.tensor([[[-0.3, -0.1, -0.2]]])
        assert onto_simplex(p, torch.tensor([[[True, False, True]]])).tolist() == [[[0.0, 0.0, 1.0]]]


def test_beta_decay_pulls_at_what_leads_and_leaves_pruned_operations_alone():
    _, mask = drawn()
    alpha = torch.randn(SHAPE, requires_grad=True)
    beta_decay(alpha, mask).backward()
    expected = alpha.detach().masked_fill(~mask, -torch.inf).softmax(-1) / (SHAPE[0] * SHAPE[1])
    assert torch.allclose(alpha.grad, expected)


OPTIONS = {
    "random": {"perturbation": "random"},
    "adversarial": {"perturbation": "adversarial"},
    "beta decay": {"beta_decay": 1.0},
    "auxiliary skip": {"auxiliary_skip": True},
    "no skips": {"max_skips": 0},
}


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
class TestASearchWithAnOption:
    def search(self, folder, option, **arguments):
        plan = SearchPlan(epochs=5, iterations=2, warmup_epochs=1, **option)
        network = tiny_network()
        torch.manual_seed(5)
        found = run_search(network, no_signal, batches(1), batches(2), plan, folder, device=CPU, **arguments)
        return found, network

    def test_differs_from_one_without(self, tmp_path, option):
        for name in ("with", "without"):
            (tmp_path / name).mkdir()
        with_it, without = self.search(tmp_path / "with", option), self.search(tmp_path / "without", {})
        same_alpha = torch.equal(with_it[1].cells.architecture.alpha, without[1].cells.architecture.alpha)
        if "max_skips" in option:
            assert same_alpha and "skip_connect" in str(without[0].genotype.cells)
            assert "skip_connect" not in str(with_it[0].genotype.cells)
        else:
            assert not same_alpha

    def test_resumed_is_the_uninterrupted_one(self, tmp_path, option):
        for name in ("whole", "killed"):
            (tmp_path / name).mkdir()
        _, whole = self.search(tmp_path / "whole", option)
        calls = []

        def dying(line: str) -> None:
            calls.append(line)
            if len(calls) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.search(tmp_path / "killed", option, log=dying)
        _, resumed = self.search(tmp_path / "killed", option, resume=True)
        assert torch.equal(whole.cells.architecture.alpha, resumed.cells.architecture.alpha)
        weights = zip(whole.cells.parameters(), resumed.cells.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights)


def test_the_auxiliary_skip_fades_over_the_budget(tmp_path, monkeypatch):
    network = tiny_network()
    seen = []
    original = type(network.cells).forward

    def watched(cells, *arguments):
        seen.append(cells.auxiliary_skip)
        return original(cells, *arguments)

    monkeypatch.setattr(type(network.cells), "forward", watched)
    plan = SearchPlan(epochs=4, iterations=1, warmup_epochs=1, auxiliary_skip=True)
    run_search(network, no_signal, batches(1), batches(2), plan, tmp_path, device=CPU)
    assert list(dict.fromkeys(seen)) == [1.0, 0.75, 0.5, 0.25]


def left_over(tmp_path, **options: Any) -> tuple[list[str], str, int]:
    """The warnings, the message and the epochs of a search that rewards one operation, with an auxiliary skip."""
    plan = SearchPlan(warmup_epochs=1, auxiliary_skip=True, **options)
    network, said = tiny_network(), []
    loss = signal(network)
    found = run_search(network, loss, batches(1), batches(2), plan, tmp_path, device=CPU, log=said.append)
    return [line for line in said if "WARNING" in line], found.message, found.epochs


def test_a_search_that_ends_before_its_auxiliary_skip_is_gone_says_how_much_was_left(tmp_path):
    warnings, message, epochs = left_over(tmp_path, epochs=20, iterations=6, drift=0.4, tau=0.1, patience=1)

    assert epochs < 20 and len(warnings) == 1
    for text in (warnings[0], message):
        assert f"did not fade out: {1 - epochs / 20:.2f} of it was left when the search ended after {epochs} of" in text


def test_a_search_to_the_end_has_none_left(tmp_path):
    warnings, message, epochs = left_over(tmp_path, epochs=2, iterations=1)

    assert epochs == 2 and warnings == [] and "auxiliary" not in message


def batch_norm_network() -> CellUNet:
    """A host with batch normalisation, cells in it, all of it training."""
    arguments = host_arguments(features=(8, 16))
    arguments |= {"norm_op": nn.BatchNorm2d, "dropout_op": nn.Dropout2d, "dropout_op_kwargs": {"p": 0.1}}
    network = CellUNet(BACKBONES["plain"], Genotype.identity(), **arguments)
    network.implant(MixedCells(network.stages, CellShape(nodes=2), partial=2))
    return network


def test_running_statistics_see_the_batches_of_the_steps_alone_and_not_those_of_an_attack(tmp_path):
    network = batch_norm_network()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    plan = SearchPlan(epochs=3, iterations=2, warmup_epochs=1, mode="joint", perturbation="adversarial", prune=False)

    run_search(network, no_signal, batches(1), batches(2), plan, tmp_path, device=CPU)

    # Three epochs of two weight steps, and two of two architecture steps.
    host = [m for m in network.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert host and {int(m.num_batches_tracked) for m in host} == {10}
    # One edge's pooling stands for all that leave its state; the others keep its statistics.
    assert {int(m.num_batches_tracked) for m in norms} == {10}


def test_every_module_gets_its_own_mode_back_after_an_attack():
    network = batch_norm_network().train()
    network.encoder.eval()
    before = {name: module.training for name, module in network.named_modules()}

    with pytest.raises(KeyError), evaluating(network):
        assert not any(module.training for module in network.modules())
        raise KeyError

    assert before == {name: module.training for name, module in network.named_modules()}
    assert set(before.values()) == {True, False}
