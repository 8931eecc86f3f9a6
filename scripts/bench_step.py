"""Seconds and memory of a search step: our mixed cells against the published ones, edge by edge, in the same U-Net.

    python scripts/bench_step.py --threads 1 --json step.json
    python scripts/bench_step.py --levers --threads 1
    python scripts/bench_step.py --grow --threads 1 --json growth.json --plot growth.png

``--levers`` takes one means after the other away from our cells instead, to show what each brings; the results stay
the same. Two ideas were tried and dropped. Interleaved sub-lattices (a dilated depthwise convolution as plain ones
on every d-th pixel) gave way to product kernels: up to 16 channels a depthwise and its pointwise convolution are one
ordinary convolution, dilated or not; above that, depthwise convolutions are left as they are. A bank of augmented
batches with cached encoder features is not built. What pruning takes out of the calls is shown by ``--grow`` (active).

A step is one architecture half-step and one weight half-step with the host frozen, on random images. Both sides have
the same weights, run by turns in one process, and are compared by the medians. ``--clock cpu`` counts the time of this
process only; with one thread that is the wall-clock of an idle machine. Memory: the most that one step adds,
on CUDA from the allocator, on a CPU from the peak resident size of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reference"))

import torch
from bench_step_levers import steps_without
from edgewise_cells import EdgewiseCells
from torch import nn

from nnunet_iac.cells.architecture import architecture_parameters, weight_parameters
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.markdown import table_text
from nnunet_iac.search.bilevel import Precision, architecture_step, weight_step

PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
SIDES = ("published", "ours")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Case:
    """One U-Net, as nnU-Net 2.8.1 plans it for a data set; the batch is smaller where a CPU has to do it."""

    name: str
    patch: tuple[int, ...]
    features: tuple[int, ...]
    batch: int
    gpu_batch: int
    nodes: int = 4
    active: float = 1.0


CASES = (
    Case("Dataset004 2d", (56, 40), (32, 64, 128, 256), 12, 149),
    Case("Dataset004 3d_fullres", (40, 56, 40), (32, 64, 128, 256), 2, 4),
    Case("Dataset501 2d", (256, 224), (32, 64, 128, 256, 512, 512), 2, 18),
)


def growth(base: Case) -> list[Case]:
    """Vary one thing at a time: image size, nodes, channels, levels, dimension, operations left."""
    square = replace(base, patch=(64, 64), batch=4, gpu_batch=32)
    return [
        *(replace(square, name=f"size {s}", patch=(s, s)) for s in (32, 64, 128)),
        *(replace(square, name=f"nodes {n}", nodes=n) for n in (2, 3, 4, 5)),
        *(replace(square, name=f"channels {f}", features=tuple(f * 2**i for i in range(4))) for f in (16, 32, 64)),
        *(replace(square, name=f"levels {n - 1}", features=tuple(32 * 2**i for i in range(n))) for n in (2, 3, 4)),
        replace(square, name="dimension 2", patch=(64, 64)),
        replace(square, name="dimension 3", patch=(16, 16, 16)),
        *(replace(square, name=f"active {a}", active=a) for a in (0.25, 0.5, 1.0)),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that others use as well")
    parser.add_argument("--only", help="a part of the names to run")
    parser.add_argument("--grow", action="store_true", help="how the cost grows, instead of the data sets' U-Nets")
    parser.add_argument("--levers", action="store_true", help="take one means after the other away from our cells")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--plot", help="draw the growth into this PNG file")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if args.memory_of:
        name, side = json.loads(args.memory_of)
        print(_resident_peak(_side(_case(name), device)[side]))
        return 0
    if device.type == "cuda" and args.clock == "cpu":
        parser.error("--clock cpu: expected --device cpu with it; a GPU works while its process waits")
    cases = growth(CASES[0]) if args.grow else list(CASES)
    if args.levers:
        print(_lever_table([case for case in cases if not args.only or args.only in case.name], device, args))
        return 0
    rows = [_row(case, device, args) for case in cases if not args.only or args.only in case.name]
    print(_table(rows))
    if args.json:
        machine = {
            "device": device_name(device),
            "threads": args.threads,
            "clock": args.clock,
            "torch": torch.__version__,
        }
        Path(args.json).write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        _plot(rows, args.plot)
    return 0


def _case(name: str) -> Case:
    return next(case for case in (*CASES, *growth(CASES[0])) if case.name == name)


def _side(case: Case, device: torch.device) -> dict[str, Callable[[], None]]:
    """Return a step for each side; both work on the same weights."""
    network, cells, batch = _searched(case, device)
    return {
        side: _step(network, of_side, batch, device)
        for side, of_side in zip(SIDES, (EdgewiseCells(cells), cells), strict=True)
    }


def ours(case: Case, device: torch.device) -> tuple[CellUNet, Callable[[], None]]:
    """Return the network with our cells, and a step."""
    network, cells, batch = _searched(case, device)
    return network, _step(network, cells, batch, device)


def _searched(case: Case, device: torch.device) -> tuple[CellUNet, MixedCells, dict[str, Any]]:
    torch.manual_seed(0)
    network = network_of(case).to(device)
    cells = MixedCells(network.stages, CellShape(nodes=case.nodes)).to(device)
    if case.active < 1:
        mask = torch.rand(cells.architecture.mask.shape) < case.active
        mask[..., 4] = True
        cells.architecture.set_mask(mask.to(device))
    for cell in cells.levels:
        projection: Any = cell.projection
        nn.init.normal_(projection.weight, std=0.05)
    network.freeze_host(True)
    network.train()
    return network, cells, batch_of(case, device, network)


def network_of(case: Case) -> CellUNet:
    """Build the stock U-Net of a case, with deep supervision."""
    return CellUNet(PLAIN, Genotype.identity(), **host_arguments(case))


def host_arguments(case: Case) -> dict[str, Any]:
    """Return the host's arguments as the plans have them."""
    dimension, stages = len(case.patch), len(case.features)
    return dict(
        deep_supervision=True,
        input_channels=1,
        num_classes=3,
        n_stages=stages,
        features_per_stage=list(case.features),
        conv_op=nn.Conv2d if dimension == 2 else nn.Conv3d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d if dimension == 2 else nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def batch_of(case: Case, device: torch.device, network: CellUNet) -> dict[str, Any]:
    """Draw random images and targets of all output resolutions."""
    size = case.gpu_batch if device.type == "cuda" else case.batch
    data = torch.randn(size, 1, *case.patch, device=device)
    with torch.no_grad():
        outputs = network(data)
    return {"data": data, "target": [torch.randint(3, o.shape[:1] + o.shape[2:], device=device) for o in outputs]}


def training_loss(outputs: Any, targets: Any) -> torch.Tensor:
    """Return the sum of the cross-entropies of all output resolutions."""
    return torch.stack([nn.functional.cross_entropy(o, t) for o, t in zip(outputs, targets, strict=True)]).sum()


def _step(network: CellUNet, cells: nn.Module, batch: dict[str, Any], device: torch.device) -> Callable[[], None]:
    network.implant(cells)
    weights = torch.optim.SGD(weight_parameters(network), lr=1e-6)
    architecture = torch.optim.Adam(architecture_parameters(network), lr=1e-6)
    precision = Precision.of(device)

    def step() -> None:
        network.implant(cells)
        architecture_step(network, training_loss, batch, architecture, precision)
        weight_step(network, training_loss, batch, weights, precision)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _medians(steps: dict[str, Callable[[], None]], args: argparse.Namespace) -> dict[str, float]:
    """Run the steps by turns and return the median seconds of each; the first round warms up."""
    clock, seconds = CLOCKS[args.clock], {name: list[float]() for name in steps}
    for repeat in range(args.repeats + 1):
        for name, step in steps.items():
            started = clock()
            step()
            if repeat:
                seconds[name].append(clock() - started)
    return {name: median(values) for name, values in seconds.items()}


def _lever_table(cases: Sequence[Case], device: torch.device, args: argparse.Namespace) -> str:
    """Return the seconds of a step with every means taken away in turn, and how many times those of ours they are."""
    tables = [_medians(steps_without(*ours(case, device)), args) for case in cases]
    rows = [
        [name, *(f"{middle[name]:.3f} s ({middle[name] / middle['nothing']:.2f})" for middle in tables)]
        for name in (tables[0] if tables else ())
    ]
    return table_text(["without", *(case.name for case in cases)], rows)


def _row(case: Case, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    middle = _medians(_side(case, device), args)
    memory = {side: _memory(case, side, device, args.threads) for side in SIDES}
    row = {
        **asdict(case),
        "device": device_name(device),
        **{f"seconds_{side}": middle[side] for side in SIDES},
        "speedup": middle["published"] / middle["ours"],
        **{f"megabytes_{side}": memory[side] / 2**20 for side in SIDES},
        "memory_ratio": memory["ours"] / memory["published"],
    }
    print(f"{case.name}: {row['speedup']:.2f} times as fast, {row['memory_ratio']:.2f} of the memory", flush=True)
    return row


def _memory(case: Case, side: str, device: torch.device, threads: int) -> float:
    if device.type == "cuda":
        step = _side(case, device)[side]
        step()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return float(torch.cuda.max_memory_allocated() - before)
    words = [sys.executable, __file__, "--device", "cpu", "--threads", str(threads)]
    words += ["--memory-of", json.dumps([case.name, side])]
    # Freed blocks go back to the system at once, so that the resident size is what is in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def _resident_peak(step: Callable[[], None]) -> int:
    """Return how far one step raises the resident size above what it was before, in bytes."""
    # VmHWM, not getrusage: the latter remembers the parent process across exec.
    before = _kilobytes("VmRSS")
    step()
    return 1024 * (_kilobytes("VmHWM") - before)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def device_name(device: torch.device) -> str:
    """Return the name for the records."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    head = ["U-Net", "batch", "published s", "ours s", "speed-up", "published MB", "ours MB", "memory ratio"]
    body = []
    for r in rows:
        batch = r["batch"] if r["device"] == "cpu" else r["gpu_batch"]
        cells = [r["name"], str(batch), f"{r['seconds_published']:.3f}", f"{r['seconds_ours']:.3f}"]
        cells += [f"{r['speedup']:.2f}", f"{r['megabytes_published']:.0f}", f"{r['megabytes_ours']:.0f}"]
        body.append([*cells, f"{r['memory_ratio']:.2f}"])
    return table_text(head, body)


def _plot(rows: Sequence[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys(r["name"].split()[0] for r in rows))
    figure, axes = plt.subplots(1, len(kinds), figsize=(3 * len(kinds), 3), squeeze=False, layout="constrained")
    for axis, kind in zip(axes[0], kinds, strict=True):
        chosen = [r for r in rows if r["name"].split()[0] == kind]
        for side in SIDES:
            values = [r[f"seconds_{side}"] for r in chosen]
            axis.plot([r["name"].split()[1] for r in chosen], values, marker="o", label=side)
        axis.set(title=kind, ylim=(0, None))
    axes[0][0].set_ylabel("seconds per search step")
    axes[0][0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
