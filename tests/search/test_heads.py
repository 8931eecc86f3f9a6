"""Heads as slices of one layer, and data sets by turns: what a batch moves, and which data set it is of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments
from tiny_searches import CPU, batches
from torch.nn.functional import cross_entropy

from nnunet_iac.cells.architecture import architecture_parameters
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.bilevel import Precision, architecture_step
from nnunet_iac.search.heads import HeadLoss, OfDataset
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import STATE, TRACE, run_search
from nnunet_iac.search.turns import Turns

SIZES = [2, 3, 4]


def shared_network(*, deep_supervision: bool = False) -> CellUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        arguments = host_arguments(features=(8, 16, 16)) | {"num_classes": sum(SIZES)}
        network = CellUNet(BACKBONES["plain"], Genotype.identity(), deep_supervision, **arguments)
        network.apply(network.initialize)
        network.implant(
            MixedCells(network.stages, CellShape(nodes=2), partial=2, generator=torch.Generator().manual_seed(0))
        )
    return network


def labelled(number: int, drawn: list[tuple[int, int]] | None = None) -> Callable[[int], Iterator[dict[str, Any]]]:
    """Images and label maps of a data set with ``SIZES[number]`` classes."""

    def open_at(start: int) -> Iterator[dict[str, Any]]:
        for index, batch in enumerate(batches(number + 10)(start), start):
            if drawn is not None:
                drawn.append((number, index))
            yield {"data": batch["data"], "target": (batch["target"][:, 0] > 0).long()}

    return open_at


def loss_of_heads() -> HeadLoss:
    return HeadLoss(SIZES, [cross_entropy] * len(SIZES))


# --- heads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SIZES)))
def test_a_batch_moves_the_head_of_its_data_set_and_what_is_shared(number: int) -> None:
    network, batch = shared_network(deep_supervision=True), next(labelled(number)(0))

    def deep(output: Any, target: Any) -> torch.Tensor:
        return sum((cross_entropy(one, target[:, :: 2**i, :: 2**i]) for i, one in enumerate(output)), torch.zeros(()))

    loss = HeadLoss(SIZES, [deep] * len(SIZES))
    loss(network(batch["data"]), OfDataset(number, batch["target"])).backward()

    begin = sum(SIZES[:number])
    own = range(begin, begin + SIZES[number])
    for layer in network.decoder.seg_layers:
        moved = [i for i, row in enumerate(layer.weight.grad) if row.abs().sum() > 0]
        assert moved == [i for i, g in enumerate(layer.bias.grad) if g != 0] == list(own)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.encoder.parameters() if p.dim() > 1)


def test_the_softmax_is_taken_within_the_slice_bit_for_bit() -> None:
    output = torch.randn(2, sum(SIZES), 4, 4, generator=torch.Generator().manual_seed(0))
    target, begin = torch.randint(0, 2, (2, 4, 4), generator=torch.Generator().manual_seed(1)), 0
    for number, size in enumerate(SIZES):
        alone = cross_entropy(output[:, begin : begin + size], target)
        loud = output.clone()
        loud[:, :begin], loud[:, begin + size :] = 1e4, -1e4
        for seen in (output, loud):
            assert torch.equal(loss_of_heads()(seen, OfDataset(number, target)), alone)
        begin += size


def test_the_architecture_step_reads_the_slice_too() -> None:
    values = []
    for noise in (0.0, 100.0):
        network = shared_network()
        with torch.no_grad():  # what other heads answer
            network.decoder.seg_layers[-1].bias[SIZES[0] :] += noise
            for level in network.cells.levels:
                level.projection.weight.normal_(generator=torch.Generator().manual_seed(3))
        optimizer = torch.optim.SGD(architecture_parameters(network.cells), 1.0)
        batch = next(iter(Turns([labelled(0)])))
        architecture_step(network, loss_of_heads(), batch, optimizer, Precision.of(CPU))
        values.append(network.cells.architecture.alpha.detach().clone())
    assert torch.equal(*values) and not torch.equal(values[0], shared_network().cells.architecture.alpha)


@pytest.mark.parametrize(("sizes", "losses"), [([], 0), ([2, 0], 2), ([2, 3], 1)])
def test_heads_that_do_not_fit_their_losses_are_refused(sizes: list[int], losses: int) -> None:
    with pytest.raises(ValueError, match="heads: expected a positive number of outputs and a loss for each data set"):
        HeadLoss(sizes, [cross_entropy] * losses)


def test_outputs_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="output: expected 9 channels, those of all heads, got 3"):
        loss_of_heads()(torch.zeros(1, 3, 4, 4), OfDataset(0, torch.zeros(1, 4, 4).long()))


# --- turns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_sampling_is_balanced_and_every_batch_is_drawn_once(count: int) -> None:
    drawn: list[tuple[int, int]] = []
    turns = Turns([labelled(number % 3, None) for number in range(count)])
    numbers = [next(turns)["target"].number for _ in range(4 * count)]
    assert numbers == [b % count for b in range(4 * count)] and set(Counter(numbers).values()) == {4}

    turns = Turns([labelled(number, drawn) for number in range(min(count, 3))])
    for _ in range(7):
        next(turns)
    assert drawn == [(b % min(count, 3), b // min(count, 3)) for b in range(7)]


@pytest.mark.parametrize("deep", [False, True])
def test_nan_in_a_target_is_found_with_its_case_and_data_set(deep: bool) -> None:
    network, broken = shared_network(), torch.zeros(2, 16, 16)
    broken[1, 3, 4] = torch.nan

    def opener(start: int) -> Iterator[dict[str, Any]]:
        for batch in batches(0)(start):
            yield {"data": batch["data"], "target": [broken, broken] if deep else broken, "keys": ["one", "two"]}

    turns = Turns([labelled(0), opener], 1, names=["Dataset001_A", "Dataset002_B"])

    found = Precision.of(CPU).source_of(network, lambda output, _: output.mean() * torch.nan, next(turns))

    assert found.kind == "data" and found.text.startswith("target: 1 of 16 values of channel 3 of sample 1")
    assert "(case 'two', data set Dataset002_B) NaN or Inf" in found.text


@pytest.mark.parametrize("start", range(8))
def test_a_stream_opened_later_goes_on_as_one_from_the_start(start: int) -> None:
    openers = [labelled(number) for number in range(3)]
    whole, later = Turns(openers), Turns(openers, start)
    for _ in range(start):
        next(whole)
    for _ in range(5):
        one, two = next(whole), next(later)
        assert torch.equal(one["data"], two["data"]) and one["target"].number == two["target"].number
        assert torch.equal(one["target"].target, two["target"].target)


def test_a_target_stays_with_its_data_set_whatever_the_order() -> None:
    """Images and labels of data set ``n`` are all ``n``: in any order a batch's head is that of both."""
    marked = [
        lambda start, n=n: ({"data": torch.full((1, 1, 2, 2), n), "target": torch.full((1, 2, 2), n)} for _ in range(9))
        for n in range(3)
    ]
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        turns = Turns([marked[n] for n in order])
        for b in range(6):
            batch = next(turns)
            wanted = order[b % 3]
            assert batch["target"].number == b % 3
            assert batch["data"].unique().tolist() == batch["target"].target.unique().tolist() == [wanted]


def test_the_workers_of_all_data_sets_are_stopped() -> None:
    stopped = []

    class Stream(list):  # type: ignore[type-arg]
        def _finish(self) -> None:
            stopped.append(self)

    turns = Turns([lambda start: Stream(), lambda start: iter([]), lambda start: Stream()])
    turns._finish()
    assert len(stopped) == 2


def test_a_target_moves_to_the_device_with_all_its_resolutions() -> None:
    moved = OfDataset(2, [torch.zeros(1), torch.ones(1)]).to(torch.device("meta"))
    assert moved.number == 2 and [one.device.type for one in moved.target] == ["meta", "meta"]
    assert OfDataset(0, torch.zeros(1)).to(torch.device("meta")).target.device.type == "meta"


# --- a search -------------------------------------------------------------------------------------------------------


def searched(folder: Path, epochs: int, *, perturbation: Any = "none", resume: bool = False) -> CellUNet:
    folder.mkdir(exist_ok=True)
    network = shared_network()
    torch.manual_seed(99 if resume else 0)  # perturbations are drawn from the global generator, which the state keeps
    sides = [lambda start, s=side: Turns([labelled(n + 3 * s) for n in range(3)], start) for side in (0, 1)]
    plan = SearchPlan(epochs=3, iterations=4, warmup_epochs=1, mode="joint", perturbation=perturbation, prune=False)

    class Stop(Exception):
        pass

    def log(text: str) -> None:
        if f"epoch {epochs} of 3" in text and epochs < 3:
            raise Stop

    try:
        run_search(network, loss_of_heads(), *sides, plan, folder, device=CPU, resume=resume, log=log)
    except Stop:
        pass
    return network


@pytest.mark.parametrize("perturbation", ["none", "random"])
def test_killed_in_the_middle_of_a_round_and_resumed_equals_undisturbed(tmp_path: Path, perturbation: Any) -> None:
    whole = searched(tmp_path / "whole", 3, perturbation=perturbation)
    searched(tmp_path / "killed", 1, perturbation=perturbation)  # four batches: the second data set has the next turn
    resumed = searched(tmp_path / "killed", 3, perturbation=perturbation, resume=True)

    one, two = whole.state_dict(), resumed.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    lines = [
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / run / TRACE).read_text().splitlines()]
        for run in ("whole", "killed")
    ]
    assert lines[0] == lines[1] and len(lines[0]) == 3
    assert torch.load(tmp_path / "killed" / STATE, weights_only=True)["batches"] == 12
