"""Several processes that search together: the same network on each, parts of every batch, one decision for all.

Outside of ``torch.distributed`` there is one rank, and all of this does nothing. Weights are drawn from one seed and
gradients are averaged, so that weights and logits stay equal on all ranks; only the first writes files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from nnunet_iac.cells.health import Finding


def count() -> int:
    """Return the number of processes that search together.

    Example:
        >>> count(), is_first()
        (1, True)
    """
    return dist.get_world_size() if _together() else 1


def is_first() -> bool:
    """Return whether this process writes the files."""
    return not _together() or dist.get_rank() == 0


def wait() -> None:
    """Go on when all ranks are here, for instance because the first has written a file that all will read."""
    if _together():
        dist.barrier()


def average(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the ranks, in place; NaN and Inf of one rank reach all.

    Args:
        tensors: of one data type and device, of the same shapes on all ranks.

    Example:
        >>> gradient = torch.ones(3)
        >>> average([gradient])
        >>> gradient.tolist()
        [1.0, 1.0, 1.0]
    """
    if not _together() or not tensors:
        return
    # One message instead of hundreds.
    together = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(together)
    together /= count()
    for tensor, mean in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def mean(value: torch.Tensor) -> float:
    """Return the mean over the ranks of one number, on every rank; the tensor stays as it is.

    Example:
        >>> mean(torch.tensor(2.0))
        2.0
    """
    value = value.detach().clone()
    average([value])
    return float(value)


def same(tensor: torch.Tensor) -> torch.Tensor:
    """Return the first rank's value of a tensor on every rank.

    Example:
        >>> same(torch.tensor([1.0])).tolist()
        [1.0]
    """
    if _together():
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor


def gather(value: Any) -> list[Any]:
    """Return what each rank gave, in order of ranks, on every rank.

    Args:
        value: that can be pickled.

    Example:
        >>> gather("one")
        ['one']
    """
    if not _together():
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def first_known(finding: Finding) -> Finding:
    """Return the first finding of a rank that is not ``unknown``: the others' batches may be sound.

    Example:
        >>> first_known(Finding("loss", "the loss is nan")).kind
        'loss'
    """
    found = gather(finding)
    return next((f for f in found if f.kind != "unknown"), found[0])


@contextmanager
def alone(*parts: Any) -> Iterator[None]:
    """Let networks and losses be computed for a while without messages to other ranks, which may not compute them.

    nnU-Net's Dice gathers the batches of all ranks where its ``ddp`` is true, and synchronised batch normalisation
    shares its statistics in training mode; it takes its running statistics here.

    Args:
        parts: modules; anything else is left as it is.

    Example:
        >>> from torch import nn
        >>> loss = nn.Module()
        >>> loss.ddp = True
        >>> with alone(loss):
        ...     loss.ddp
        False
        >>> loss.ddp
        True
    """
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    gathering: list[Any] = [module for module in modules if getattr(module, "ddp", False) is True]
    synchronised = [m for m in modules if isinstance(m, nn.SyncBatchNorm) and m.training]
    for module in gathering:
        module.ddp = False
    for module in synchronised:
        module.training = False
    try:
        yield
    finally:
        for module in gathering:
            module.ddp = True
        for module in synchronised:
            module.training = True


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
