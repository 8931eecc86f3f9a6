"""The loss of batches with one part of the mixed cells removed at a time; see :mod:`nnunet_iac.search.removal`.

Nothing trains: no gradients, evaluation mode, the precision of the search (on CUDA autocast). A cell that all levels
share loses the part at all of them.

Cost: ``n (1 + operations + G E)`` forwards for ``n`` batches. ``operations`` are the active ones but `none` on edges
that their weights did not decide, ``7 G E`` at most: for a shared cell of four nodes up to 113 forwards a batch. A step
of the search (weights and architecture) takes 3.7 times as long as a forward (one thread, Dataset004's 2D plans), so
that the default of 32 batches is a tenth of 200 epochs of 50 steps, but more than a whole search of few steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from tqdm import tqdm

from nnunet_iac.cells.architecture import ArchitectureParameters
from nnunet_iac.cells.discretise import NONE
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search import ranks
from nnunet_iac.search.bilevel import Batch
from nnunet_iac.search.removal import Part, Removal, judge


def measure_removals(
    network: CellUNet,
    cells: MixedCells,
    loss: Callable[[Batch], torch.Tensor],
    batches: Iterator[Batch],
    count: int,
    decided: torch.Tensor,
) -> Removal:
    """Score every part by its removal; nothing is changed afterwards but the position of ``batches``.

    Ranks average their losses.

    Args:
        network: host with mixed cells.
        cells: its cells; an auxiliary skip is left out, as the found cells have none.
        loss: of the network on a batch.
        batches: that the search did not draw.
        count: how many of them.
        decided: edges that keep the operation their weights chose, ``(G, E)``.

    Raises:
        FloatingPointError: if a loss is NaN or Inf.
    """
    started = time.perf_counter()
    parts = parts_to_remove(cells.architecture.mask.cpu(), decided)
    training, auxiliary_skip = network.training, cells.auxiliary_skip
    network.eval()
    cells.auxiliary_skip = 0.0
    try:
        losses = _losses(cells.architecture, parts, loss, batches, count)
    finally:
        cells.auxiliary_skip = auxiliary_skip
        network.train(training)
    seconds = time.perf_counter() - started
    return judge(losses, parts, tuple(cells.architecture.mask.shape), cells.shape.nodes, seconds=seconds)


def parts_to_remove(mask: torch.Tensor, decided: torch.Tensor) -> list[Part]:
    """Return the active operations but `none` of undecided edges that have two or more, then all edges.

    Args:
        mask: active operations, ``(G, E, O)``.
        decided: ``(G, E)``.
    """
    scored = mask & ~decided.unsqueeze(-1)
    scored[..., NONE] = False
    scored &= scored.sum(-1, keepdim=True) > 1
    operations = [Part(int(g), int(e), int(o)) for g, e, o in scored.nonzero()]
    return operations + [Part(int(g), int(e), None) for g, e in torch.ones_like(decided).nonzero()]


@contextmanager
def without(architecture: ArchitectureParameters, part: Part) -> Iterator[None]:
    """Remove a part for a while: its logit is ``-inf``, and the softmax gives its share to what is left."""
    at: tuple[int, ...] = part[:2] if part.operation is None else (part.group, part.edge, part.operation)
    logits = (architecture.beta if part.operation is None else architecture.alpha).detach()
    before = logits[at].clone()
    logits[at] = -torch.inf
    try:
        yield
    finally:
        logits[at] = before


def _losses(
    architecture: ArchitectureParameters,
    parts: Sequence[Part],
    loss: Callable[[Batch], torch.Tensor],
    batches: Iterator[Batch],
    count: int,
) -> torch.Tensor:
    """Return the loss of each batch with nothing removed, then without each part, ``(count, 1 + R)``."""
    rows = []
    total = count * (1 + len(parts))
    with torch.no_grad(), tqdm(total=total, desc="removal", unit="forward", disable=not ranks.is_first()) as progress:
        for _ in range(count):
            batch, row = next(batches), []
            for part in (None, *parts):
                with nullcontext() if part is None else without(architecture, part):
                    row.append(loss(batch).detach())
                progress.update()
            rows.append(torch.stack(row))
    losses = torch.stack(rows)
    ranks.average([losses])
    # The first rank's, so that no rounding error makes ranks decide differently.
    losses = ranks.same(losses).double().cpu()
    if not bool(losses.isfinite().all()):
        raise FloatingPointError(
            "search.select: expected finite losses of the batches that select by removal, got NaN or Inf; the search "
            "itself is whole: go on with --c and search.select=weights, or look for NaN in the images"
        )
    return losses
