"""Time and parameters of a U-Net with cells, or with a baseline's skips, against the stock one.

    python scripts/bench_overhead.py --threads 1 --json overhead.json

Cells are drawn at random (``--seeds`` of them: what a cell costs depends on its operations); ``heaviest`` has the
dearest operation on every edge; ``from level 1`` has no cell at full resolution. Both sides run by turns in one process
on the same images and are compared by the medians; ``--clock cpu`` is for a machine that others use as well. Goal: at
most 1.25 times the time of a training step and 1.15 times that of a prediction.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_step import CASES, CLOCKS, PLAIN, Case, batch_of, device_name, host_arguments, network_of, training_loss

from nnunet_iac.baselines.attention import AttentionUNet
from nnunet_iac.baselines.dense import DenseSkipUNet
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.markdown import table_text

HEAVIEST = "sep_conv_5x5"
DEEPER = (1, 2)
"""First levels with cells, besides the full resolution; see `cell.first_level`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that others use as well")
    parser.add_argument("--seeds", type=int, default=3, help="how many random genotypes")
    parser.add_argument("--only", help="a part of the names to run")
    parser.add_argument("--json", help="write the rows to this file")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if device.type == "cuda" and args.clock == "cpu":
        parser.error("--clock cpu: expected --device cpu with it; a GPU works while its process waits")
    rows = [
        _row(case, name, build(case), device, args)
        for case in CASES
        if not args.only or args.only in case.name
        for name, build in _networks(args.seeds).items()
    ]
    print(_table(rows))
    if args.json:
        machine = {
            "device": device_name(device),
            "threads": args.threads,
            "clock": args.clock,
            "torch": torch.__version__,
        }
        Path(args.json).write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def _networks(seeds: int) -> dict[str, Callable[[Case], CellUNet]]:
    """Return what builds each network that is compared with the stock one."""

    def with_cells(genotype: Genotype) -> Callable[[Case], CellUNet]:
        return lambda case: CellUNet(PLAIN, genotype, **host_arguments(case))

    return {
        **{name: with_cells(genotype) for name, genotype in _genotypes(seeds).items()},
        "attention gates": lambda case: AttentionUNet(PLAIN, **host_arguments(case)),
        "dense skips": lambda case: DenseSkipUNet(PLAIN, **host_arguments(case)),
    }


def _genotypes(seeds: int) -> dict[str, Genotype]:
    heavy = Genotype.random(seed=0).to_dict()
    heavy["cells"] = [[[[HEAVIEST, source] for _, source in node] for node in cell] for cell in heavy["cells"]]
    found = {**{f"random {s}": Genotype.random(seed=s) for s in range(seeds)}, "heaviest": Genotype.from_dict(heavy)}
    deeper = {
        f"{name}, from level {level}": replace(genotype, first_level=level)
        for level in DEEPER
        for name, genotype in found.items()
    }
    return {**found, **deeper}


def _row(case: Case, name: str, implanted: CellUNet, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    stock, implanted = network_of(case).to(device), implanted.to(device)
    batch = batch_of(case, device, stock)
    sides = {"stock": stock, "implanted": implanted}
    training = _medians({side: _training(network, batch) for side, network in sides.items()}, device, args)
    prediction = _medians({side: _prediction(network, batch) for side, network in sides.items()}, device, args)
    parameters = {side: sum(p.numel() for p in network.parameters()) for side, network in sides.items()}
    row = {
        "name": case.name,
        "cells": name,
        "device": device_name(device),
        "training": training["implanted"] / training["stock"],
        "prediction": prediction["implanted"] / prediction["stock"],
        "parameters": parameters["implanted"] / parameters["stock"],
        "seconds": {"training": training, "prediction": prediction},
    }
    print(f"{case.name}, {name}: training {row['training']:.2f}, prediction {row['prediction']:.2f}", flush=True)
    return row


def _training(network: CellUNet, batch: dict[str, Any]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.99, nesterov=True)

    def step() -> None:
        network.train()
        network.decoder.deep_supervision = True
        optimizer.zero_grad(set_to_none=True)
        training_loss(network(batch["data"]), batch["target"]).backward()
        optimizer.step()

    return step


def _prediction(network: CellUNet, batch: dict[str, Any]) -> Callable[[], None]:
    @torch.no_grad()
    def predict() -> None:
        network.eval()
        network.decoder.deep_supervision = False
        network(batch["data"][:1])

    return predict


def _medians(sides: dict[str, Callable[[], None]], device: torch.device, args: argparse.Namespace) -> dict[str, float]:
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    clock = CLOCKS[args.clock]
    for repeat in range(args.repeats + 1):
        for side, run in sides.items():
            started = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                seconds[side].append(clock() - started)
    return {side: median(values) for side, values in seconds.items()}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    measured = ("training", "prediction", "parameters")
    body = [[r["name"], r["cells"], *(f"{r[name]:.2f}" for name in measured)] for r in rows]
    return table_text(["U-Net", "cells", "training step", "prediction", "parameters"], body)


if __name__ == "__main__":
    sys.exit(main())
