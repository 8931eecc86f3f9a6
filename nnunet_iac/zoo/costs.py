"""What a network costs, measured on this machine, and whether that is within limits.

The paper of MedNNS leaves hardware limits open, tables of devices are wrong for other machines: every candidate is run
here, on one patch of the size that it would be trained with.
"""

from __future__ import annotations

import math
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Costs:
    """What one network costs.

    Attributes:
        parameters: numbers in its weights, shared ones counted once.
        macs: multiply-adds of a forward pass of one patch, convolutions only (half of torch's count of FLOPs).
        latency_ms: median time of a forward pass of one patch, in milliseconds.
        memory_mb: weights, and the largest sum of tensors that a forward pass of one patch holds at a time, in MiB.
    """

    parameters: int
    macs: int
    latency_ms: float
    memory_mb: float

    def __str__(self) -> str:
        """Say it for people."""
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.2f} G multiply-adds, "
            f"{self.latency_ms:.0f} ms, {self.memory_mb:.0f} MiB a patch"
        )


@dataclass(frozen=True)
class Size:
    """What a network costs on any machine; see :class:`Costs`.

    Attributes:
        parameters: numbers in its weights.
        macs: multiply-adds of a forward pass of one patch.
    """

    parameters: int
    macs: int


@dataclass(frozen=True)
class Limits:
    """The most that a network may cost; None is no limit.

    Raises:
        ValueError: if a limit is not a positive number.

    Example:
        >>> Limits(max_parameters=10).broken_by(Costs(20, 1, 1.0, 1.0))
        ['parameters 20 > 10']
        >>> Limits(max_macs=10, max_latency_ms=1).broken_by(Size(20, 20))
        ['macs 20 > 10']
    """

    max_parameters: float | None = None
    max_macs: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None

    def __post_init__(self) -> None:
        wrong = {name: value for name, value in self._given.items() if not (math.isfinite(value) and value > 0)}
        if wrong:
            raise ValueError(f"limits: expected positive numbers, got {wrong}")

    @property
    def _given(self) -> dict[str, float]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def broken_by(self, costs: Costs | Size) -> list[str]:
        """Return which limits a network breaks as far as is known, in words; empty if none."""
        known = {item.name for item in fields(costs)}
        names = {name: name.removeprefix("max_") for name in self._given if name.removeprefix("max_") in known}
        return [
            f"{name} {getattr(costs, name):.4g} > {self._given[limit]:.4g}"
            for limit, name in names.items()
            if getattr(costs, name) > self._given[limit]
        ]


def measure_costs(
    network: nn.Module, channels: int, patch_size: Sequence[int], *, device: torch.device, repeats: int = 3
) -> Costs:
    """Run a network in evaluation mode on one patch of zeros and measure.

    Latency is the median of ``repeats`` passes after one that is not counted; it is this machine's as it is loaded
    now. Memory is counted on CUDA by the allocator; elsewhere the tensors alive at a time are added up, without what a
    library needs inside an operation.

    Args:
        network: as it is trained; it is moved to the device.
        channels: of the image.
        patch_size: in voxels.
        device: where to run.
        repeats: counted passes.

    Raises:
        ValueError: if ``repeats`` is not positive, or the network cannot take a patch of this size.

    Example:
        >>> costs = measure_costs(nn.Conv2d(2, 4, 3, padding=1, bias=False), 2, (8, 8), device=torch.device("cpu"))
        >>> costs.parameters, costs.macs
        (72, 4608)
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected at least 1, got {repeats}")
    network = network.to(device).eval()
    patch = torch.zeros(1, channels, *patch_size, device=device)
    parameters = sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        macs = _macs(network, patch)
        times = [_seconds(network, patch) for _ in range(repeats + 1)][1:]
        memory = _cuda_bytes(network, patch) if device.type == "cuda" else _held_bytes(network, patch)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return Costs(parameters, macs, 1000 * statistics.median(times), (weights + memory) / 2**20)


def size_of(build: Callable[[], nn.Module], channels: int, patch_size: Sequence[int]) -> Size:
    """Return the size of a network that takes no memory: it is built, and run on one patch, without any numbers.

    Args:
        build: makes the network; all that it makes is on torch's ``meta`` device.
        channels: of the image.
        patch_size: in voxels.

    Raises:
        ValueError: if the network cannot take a patch of this size.

    Example:
        >>> size_of(lambda: nn.Conv2d(2, 4, 3, padding=1, bias=False), 2, (8, 8))
        Size(parameters=72, macs=4608)
    """
    with torch.device("meta"), torch.no_grad():
        network = build().eval()
        macs = _macs(network, torch.zeros(1, channels, *patch_size))
    return Size(sum(p.numel() for p in network.parameters()), macs)


def _macs(network: nn.Module, patch: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        try:
            network(patch)
        except RuntimeError as error:  # what torch says of sizes that do not fit
            raise ValueError(
                f"patch_size: expected one that the network can take, got {tuple(patch.shape[2:])} ({error})"
            ) from error
    return int(counter.get_total_flops()) // 2


def _seconds(network: nn.Module, patch: torch.Tensor) -> float:
    started = time.perf_counter()
    network(patch)
    if patch.device.type == "cuda":
        torch.cuda.synchronize(patch.device)
    return time.perf_counter() - started


def _cuda_bytes(network: nn.Module, patch: torch.Tensor) -> int:
    torch.cuda.reset_peak_memory_stats(patch.device)
    before = torch.cuda.memory_allocated(patch.device)
    network(patch)
    return int(torch.cuda.max_memory_allocated(patch.device) - before)


def _held_bytes(network: nn.Module, patch: torch.Tensor) -> int:
    with _LiveTensors() as live:
        network(patch)
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Adds up the bytes of all tensors made inside, until Python lets go of them."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.peak = 0, 0
        self._users: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._hold(tensor)
        return result

    def _hold(self, tensor: torch.Tensor) -> None:
        # Views share a storage, which lives as long as one of them.
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        self.held += size if not self._users[place] else 0
        self._users[place] += 1
        self.peak = max(self.peak, self.held)
        weakref.finalize(tensor, self._release, place, size)

    def _release(self, place: int, size: int) -> None:
        self._users[place] -= 1
        self.held -= size if not self._users[place] else 0
