"""Mixed cells that start where another search ended: its logits, softened by a temperature, and its weights.

Our choices (arXiv 2407.20279 transfers both and then tunes both; it does not say how)::

    alpha = source / T + max(0, 1 - 1 / T) cold        the same for beta

where ``cold`` is the seeded draw of a search from scratch. At ``T = 1`` the search starts with the source's very
logits; for ``T -> infinity`` its start is a cold one, bit for bit.

- *Operations that the source pruned* are active again. Their logits did not move after their pruning, so they come
  back with those, but never ahead of an operation that outlived them: an edge's survivors may all have drifted below.
- *Levels* meet by their number from full resolution, as the layers of hosts do: there they have the same channels and
  the host's weights that they were trained with. Logits of levels that the source lacks are those of its nearest one. A
  shared source serves every level; for a shared target the logits of the levels that it has cells on are averaged.
- *Weights* meet by name; other widths, kernels and dimensions go by the rules of
  :mod:`nnunet_iac.cells.kernel_fit`. Running statistics and both optimisers start anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch

from nnunet_iac.cells.kernel_fit import fit_convolution, fit_vector
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.transfer_report import TensorRecord, TransferReport

ARCHITECTURE = "architecture."
"""Start of the names of logits and mask."""

VARIATION = ARCHITECTURE + "variation"
"""Name of the sum of each logit's squared steps in its search, ``(G, E, O)``."""


@torch.no_grad()
def start_architecture(cells: MixedCells, source: Mapping[str, torch.Tensor], temperature: float) -> torch.Tensor:
    """Let the logits of operations and edges start from a source, in place; see the module's text.

    Returns:
        how far chance alone may have moved the logits before this search, as the sum of squared steps ``(G, E, O)``:
        that of the source over ``T^2``. A source that does not tell is taken for chance altogether.

    Args:
        cells: of a search that did not start yet; its own draw is the cold start.
        source: ``state_dict`` of other mixed cells, of any number of levels.
        temperature: positive, or infinity.

    Raises:
        ValueError: if the temperature is not positive, or the source has other edges or operations, or logits that are
            not finite.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number or infinity, got {temperature}")
    own = cells.architecture
    alpha, beta, mask = (_tensor(source, name) for name in ("alpha", "beta", "mask"))
    expected = tuple(own.alpha.shape[1:])
    if tuple(alpha.shape[1:]) != expected or mask.shape != alpha.shape or beta.shape != alpha.shape[:2]:
        raise ValueError(
            f"source: expected cells with {expected[0]} edges and {expected[1]} operations, got logits "
            f"{tuple(alpha.shape)} and {tuple(beta.shape)}; take a source with the same cell.nodes"
        )
    if not bool(torch.isfinite(alpha).all() and torch.isfinite(beta).all()):
        raise ValueError("source: expected finite logits, got NaN or Inf; take another source")
    ahead = cells.shape.first_level - _first_level(source)
    levels = cells.shape.levels_with_cells(len(cells.levels))
    matched = partial(match_levels, groups=len(own.alpha), shared=cells.shared, ahead=ahead, levels=levels)
    for logits, found in ((own.alpha, revived(alpha, mask)), (own.beta, beta)):
        logits.copy_(softened(matched(found).to(logits), logits, temperature))
    steps = source.get(VARIATION)
    if steps is None:
        steps = (alpha - alpha.mean(-1, keepdim=True)).square()
    elif steps.shape != alpha.shape:
        raise ValueError(f"source: expected squared steps of shape {tuple(alpha.shape)}, got {tuple(steps.shape)}")
    return matched(steps.double().cpu()) / temperature**2


def revived(alpha: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return logits ``(G, E, O)`` in which no pruned operation is ahead of one that outlived it on its edge.

    Example:
        >>> revived(torch.tensor([[[0.0, 3.0, -2.0]]]), torch.tensor([[[True, False, False]]])).tolist()
        [[[0.0, 0.0, -2.0]]]
    """
    lowest = alpha.masked_fill(~mask, torch.inf).amin(-1, keepdim=True)
    return torch.where(mask, alpha, torch.minimum(alpha, lowest))


def match_levels(
    logits: torch.Tensor, groups: int, *, shared: bool, ahead: int = 0, levels: int | None = None
) -> torch.Tensor:
    """Return logits ``(G, ...)`` for another number of groups, ``(groups, ...)``.

    Args:
        logits: of the source, one group for all levels or one for each, highest resolution first.
        groups: of the target.
        shared: whether the target's one group is that of all levels.
        ahead: levels by which the target's first cell lies deeper than the source's; negative if it lies higher.
        levels: on which a target with one group for all has cells; None for as deep as the source.

    Example:
        >>> levels = torch.tensor([[1.0], [3.0]])
        >>> match_levels(levels, 3, shared=False).flatten().tolist(), match_levels(levels, 1, shared=True).tolist()
        ([1.0, 3.0, 3.0], [[2.0]])
    """
    if shared:
        # Of levels that the target has cells on, or of the nearest if the source has none of these.
        first = min(max(ahead, 0), len(logits) - 1)
        last = len(logits) if levels is None else max(ahead + levels, first + 1)
        return logits[first:last].mean(0, keepdim=True)
    return logits[[min(max(level + ahead, 0), len(logits) - 1) for level in range(groups)]]


def softened(source: torch.Tensor, cold: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return ``source / T + max(0, 1 - 1 / T) cold``.

    Example:
        >>> source, cold = torch.tensor([2.0, -4.0]), torch.tensor([0.5, 0.25])
        >>> [softened(source, cold, t).tolist() for t in (1.0, 2.0, math.inf)]
        [[2.0, -4.0], [1.25, -1.875], [0.5, 0.25]]
    """
    share = 1 / temperature
    return source * share + max(0.0, 1 - share) * cold


@torch.no_grad()
def transfer_cells(
    cells: MixedCells,
    source: Mapping[str, torch.Tensor],
    *,
    same_second_input: bool = True,
    same_projection: bool = True,
) -> TransferReport:
    """Copy what fits of a source's weights into the cells of a search, in place; logits stay as they are.

    Args:
        cells: initialised.
        source: ``state_dict`` of other mixed cells.
        same_second_input: whether both read the same second input; otherwise the layer that reads it stays fresh.
        same_projection: whether both project their nodes alike; otherwise the projection stays fresh, and closed: a
            random one behind a gain must not be added at full strength, nor a trained one wait behind a gain of zero.
            Where one side alone has gains, they do not, whatever is said here.
    """
    own = {name: value for name, value in cells.named_parameters() if not name.startswith(ARCHITECTURE)}
    same_projection = same_projection and _has_gains(own) == _has_gains(source)
    records = []
    for name, value in own.items():
        found = source.get(name)
        reason = "the source has no such layer" if found is None else ""
        if not same_second_input and ".inputs.0." in name:
            reason = "the source read another second input"
        if not same_projection and name.split(".")[2:3] in (["projection"], ["gain"]):
            reason = "the source had another projection"
        if found is None or reason:
            records.append(_skipped(name, found, value, reason))
        else:
            records.append(_fit(name, found, value, cells.shape.nodes))
    statistics = {name for name, _ in cells.named_buffers()}
    for name, found in source.items():
        if name not in own and not name.startswith(ARCHITECTURE):
            why = "running statistics start anew" if name in statistics else "the target has no such layer"
            records.append(_skipped(name, found, None, why))
    return TransferReport(tuple(records))


def _fit(name: str, found: torch.Tensor, own: torch.Tensor, nodes: int) -> TensorRecord:
    # A projection reads the nodes' channels side by side.
    groups = nodes if name.endswith("projection.weight") else 1
    fitted = fit_vector(found, own) if own.dim() < 3 else fit_convolution(found, own, groups=groups)
    own.copy_(fitted.tensor)
    return TensorRecord(
        name,
        "adapted" if fitted.how else "copied",
        fitted.how,
        tuple(found.shape),
        tuple(own.shape),
        fitted.from_source,
        fitted.fresh,
    )


def _skipped(name: str, found: torch.Tensor | None, own: torch.Tensor | None, why: str) -> TensorRecord:
    old, new = (None if tensor is None else tuple(tensor.shape) for tensor in (found, own))
    return TensorRecord(name, "skipped", why, old, new, 0, 0 if own is None else math.prod(own.shape))


def _first_level(source: Mapping[str, torch.Tensor]) -> int:
    """Return the highest resolution at which the source has weights of a cell; 0 if it has none at all."""
    return min((int(name.split(".")[1]) for name in source if name.startswith("levels.")), default=0)


def _has_gains(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(name.startswith("levels.") and name.endswith(".gain") for name in tensors)


def _tensor(source: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    if ARCHITECTURE + name not in source:
        raise ValueError(f"source: expected {ARCHITECTURE}{name} among its tensors, got none; take another source")
    return source[ARCHITECTURE + name]
