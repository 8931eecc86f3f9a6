"""Two processes with half of every batch each find what one process with the whole batches finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_searches import CPU, lines, no_signal, signal, tiny_network

from nnunet_iac.cells.architecture import ArchitectureParameters, architecture_parameters, weight_parameters
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search import ranks
from nnunet_iac.search.bilevel import Precision, architecture_step, weight_step
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import run_search

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "reference"), str(Path(__file__).parents[2])]
PLANS = {
    "frozen": SearchPlan(epochs=6, iterations=3, warmup_epochs=1, drift=1.0),
    "joint, random perturbation, selection by removal": SearchPlan(
        epochs=4,
        iterations=2,
        warmup_epochs=1,
        mode="joint",
        perturbation="random",
        select="removal",
        select_batches=2,
    ),
    "adversarial, selection by lot": SearchPlan(
        epochs=4, iterations=2, warmup_epochs=1, perturbation="adversarial", select="draw"
    ),
}
"""Without a signal: nothing is pruned."""
PRUNING = SearchPlan(epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1)
"""Prunes where one operation is rewarded, and ends by itself."""
BY_LOT = SearchPlan(epochs=4, iterations=2, warmup_epochs=1, select="draw")
"""Ends undecided."""
MASK = "cells.architecture.mask"
SKIP = OPERATIONS.index("skip_connect")
HALF_STEPS = "half-steps"
"""Not a search, but one half-step of each kind."""


def halves(stream: int, rank: int, count: int):
    """Batches of two images; with two ranks each gets one of them."""

    def open_at(start: int):
        index = start
        while True:
            generator = torch.Generator().manual_seed(1000 * stream + index)
            data = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
            target = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
            yield {"data": data[rank::count], "target": target[rank::count]}
            index += 1

    return open_at


def search(folder: Path, name: str, rank: int, count: int) -> tuple[dict[str, torch.Tensor], list[str]]:
    """What is found, and what the log says of every epoch."""
    torch.set_num_threads(1)
    plan, variation, said = {**PLANS, "disagreeing by lot": BY_LOT}.get(name, PRUNING), None, []
    network = tiny_network(mode=plan.mode).double()
    log = said.append
    if name.startswith("disagreeing") and rank > 0:
        variation, log = disagreement(network.cells.architecture, said)
    torch.manual_seed(100 + (0 if count == 1 else rank))
    streams = (halves(1, rank, count), halves(2, rank, count))
    loss = signal(network) if plan is PRUNING else no_signal
    result = run_search(network, loss, *streams, plan, folder, device=CPU, log=log, variation=variation)
    said += [result.message, json.dumps(result.genotype.to_dict())]
    removal = {} if result.removal is None else {"edges": result.removal.edges, "p": result.removal.operation_p}
    return {**network.state_dict(), **removal}, said


def disagreement(architecture: ArchitectureParameters, said: list[str]) -> tuple[torch.Tensor, Callable[[str], None]]:
    """Let a rank favour another operation, take every lead for chance, and prefer other edges after each epoch.

    It stands for a rounding error at a threshold, which no test can place.
    """

    def log(line: str) -> None:
        said.append(line)
        architecture.beta.detach().normal_(std=3.0)

    architecture.alpha.detach()[..., SKIP] += 8.0
    return torch.full(architecture.alpha.shape, 1e6, dtype=torch.float64), log


def half_steps(rank: int, count: int) -> dict[bool, dict[str, torch.Tensor]]:
    """Gradients of all parameters under nnU-Net's loss, with batch Dice (True) and without.

    Steps of length 1 without momentum show them as differences. The images have very different amounts of foreground:
    Dice of a batch is then far from the mean of its halves' Dice.
    """
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)
    foreground = torch.rand(4, 1, 8, 8, generator=generator) < torch.tensor([0.03, 0.9, 0.1, 0.5]).view(4, 1, 1, 1)
    target = foreground * torch.randint(1, 3, (4, 1, 8, 8), generator=generator).double()
    batch = {"data": data[rank::count], "target": target[rank::count]}
    gradients = {}
    for batch_dice in (True, False):
        network = tiny_network(mode="joint").double()
        for level in network.cells.levels:
            torch.nn.init.constant_(level.projection.weight, 0.03)
        dice = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": count > 1}
        loss = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        architecture = torch.optim.SGD(architecture_parameters(network), lr=1.0)
        weights = torch.optim.SGD(list(weight_parameters(network)), lr=1.0)
        architecture_step(network, loss, batch, architecture, Precision(CPU))
        weight_step(network, loss, batch, weights, Precision(CPU), clip=float("inf"))
        gradients[batch_dice] = {name: before[name] - p.detach() for name, p in network.named_parameters()}
    return gradients


def main(rank: int, folder: Path, name: str) -> None:
    """One of two ranks."""
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    (folder / "files").mkdir(exist_ok=True)
    found = half_steps(rank, 2) if name == HALF_STEPS else search(folder / "files", name, rank, 2)
    torch.save(found, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def two_ranks(folder: Path, name: str) -> list[Any]:
    """What each of two processes found and said."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(FOLDERS), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__]
    started = [subprocess.Popen([*words, str(rank), str(folder), name], env=environment) for rank in (0, 1)]
    try:
        assert [process.wait(timeout=240) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


def assert_close(found: object, expected: object, where: str = "") -> None:
    """Numbers of a trace may differ by rounding, all else may not."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_close(found[index], value, f"{where}[{index}]")
    else:
        close = pytest.approx(expected, rel=1e-5, abs=2e-7) if isinstance(expected, float) else expected
        assert found == close, where


@pytest.mark.parametrize("name", [*PLANS, "pruning"])
def test_two_ranks_with_half_batches_equal_one_with_whole_ones(tmp_path, name):
    (first, said), (second, said_too) = two_ranks(tmp_path, name)
    (tmp_path / "alone").mkdir()
    alone, said_alone = search(tmp_path / "alone", name, 0, 1)

    assert first.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key].double(), value.double(), rtol=1e-5, atol=1e-8), key
    assert said == said_too == said_alone
    assert_close(lines(tmp_path / "files"), lines(tmp_path / "alone"))
    assert bool(first[MASK].all()) == (name != "pruning")


def test_ranks_that_would_decide_otherwise_follow_the_first(tmp_path):
    (first, said), (second, said_too) = two_ranks(tmp_path, "disagreeing")

    assert not first[MASK].all() and torch.equal(first[MASK], second[MASK])
    assert first["cells.architecture.alpha"].ne(second["cells.architecture.alpha"]).any()
    assert said == said_too and f"epoch {PRUNING.epochs} of" not in "".join(said)


def test_ranks_that_would_draw_otherwise_have_the_first_ones_genotype(tmp_path):
    (first, said), (second, said_too) = two_ranks(tmp_path, "disagreeing by lot")

    assert first["cells.architecture.alpha"].ne(second["cells.architecture.alpha"]).any()
    assert said == said_too and "were drawn" in said[-2]


def test_gradients_of_nnunets_own_loss_are_those_of_the_whole_batch(tmp_path):
    first, second = two_ranks(tmp_path, HALF_STEPS)
    alone = half_steps(0, 1)

    for batch_dice, expected in alone.items():
        assert float(expected["cells.architecture.alpha"].abs().max()) > 1e-4
        assert sum(float(value.abs().max()) > 1e-3 for value in expected.values()) > 10
        for name, value in expected.items():
            for found in (first, second):
                assert torch.allclose(found[batch_dice][name], value, rtol=0, atol=1e-6), (batch_dice, name)
    apart = (alone[True][name] - alone[False][name] for name in alone[True])
    assert max(float(value.abs().max()) for value in apart) > 1e-3  # the two losses are not the same here


def test_alone_nothing_is_changed():
    values = [torch.randn(3), torch.randn(2, 2)]
    before = [v.clone() for v in values]
    ranks.average(values)
    ranks.wait()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))
    assert ranks.same(values[0]) is values[0] and ranks.is_first() and ranks.count() == 1


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
