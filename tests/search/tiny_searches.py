"""Tiny searches: one level, two nodes, batches that are a pure function of their index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tiny_hosts import BACKBONES, host_arguments

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import BatchSource, SearchResult, run_search

SEP = OPERATIONS.index("sep_conv_3x3")
CPU = torch.device("cpu")
Loss = Callable[[Any, Any], torch.Tensor]


def tiny_network(*, nodes: int = 2, partial: int = 2, mode: str = "frozen", seed: int = 0) -> CellUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments(features=(8, 16)))
        generator = torch.Generator().manual_seed(seed)
        network.apply(network.initialize)
        network.freeze_host(mode == "frozen")
        network.implant(MixedCells(network.stages, CellShape(nodes=nodes), partial=partial, generator=generator))
        network.cells.apply(network.initialize)
    return network


def batches(stream: int, drawn: list[int] | None = None) -> BatchSource:
    """Random images and targets; ``drawn`` collects the indices that were asked for."""

    def open_at(start: int) -> Iterator[dict[str, torch.Tensor]]:
        index = start
        while True:
            if drawn is not None:
                drawn.append(index)
            generator = torch.Generator().manual_seed(1000 * stream + index)
            data = torch.randn(1, 1, 8, 8, generator=generator)
            yield {"data": data, "target": torch.randn(1, 3, 8, 8, generator=generator)}
            index += 1

    return open_at


def no_signal(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean()


def signal(network: CellUNet, operation: int = SEP, noise: float = 0.3) -> Loss:
    """A loss that rewards one operation on every edge, with noise that differs from batch to batch."""

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        probabilities = network.cells.architecture.probabilities()
        # The mean over images, so that the losses of two halves of a batch have the whole one's as their mean.
        reward = noise * target.flatten(1).mean(0)[: probabilities.numel()].view_as(probabilities)
        reward[..., operation] += 1.0
        return no_signal(output, target) - (probabilities * reward).sum()

    return loss


def search(
    folder: Path,
    network: CellUNet,
    plan: SearchPlan,
    loss: Loss = no_signal,
    *,
    weight_batches: BatchSource | None = None,
    architecture_batches: BatchSource | None = None,
    **options: Any,
) -> SearchResult:
    options = {"log": lambda _: None, **options}
    return run_search(
        network,
        loss,
        weight_batches or batches(1),
        architecture_batches or batches(2),
        plan,
        folder,
        device=CPU,
        **options,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    """The trace without the wall-clock."""
    read = [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read]


def same_state(a: CellUNet, b: CellUNet) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)
