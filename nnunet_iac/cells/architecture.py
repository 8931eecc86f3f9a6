"""Architecture parameters: one softmax over operations for each edge, one softmax over edges for each node.

They are ordinary ``nn.Parameter``s and therefore in the ``state_dict`` (in the published code they are not), but
:func:`weight_parameters` leaves them out of what the weight optimiser, its decay and its clipping see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nnunet_iac.cells.cell_shape import CELL_INPUTS, edges_of
from nnunet_iac.cells.genotype import OPERATIONS

START = 1e-3
"""Standard deviation of the noise that logits start from (PC-DARTS)."""


class ArchitectureParameters(nn.Module):
    """Logits of operations (``alpha``) and edges (``beta``) and the mask of operations still in the race.

    Axes: ``G`` groups (1 cell shared by all levels, or one for each level), ``E`` edges in the order of
    :func:`nnunet_iac.cells.genotype.edges_of`, ``O`` operations in the order of
    :data:`nnunet_iac.cells.genotype.OPERATIONS`.

    Attributes:
        alpha: ``(G, E, O)``, drawn from ``START N(0, 1)``.
        beta: ``(G, E)``, likewise.
        mask: ``(G, E, O)`` booleans, True for an active operation. Change it by :meth:`set_mask` only.

    Example:
        >>> parameters = ArchitectureParameters(groups=1, nodes=4, generator=torch.Generator().manual_seed(0))
        >>> parameters.probabilities().shape, bool(torch.allclose(parameters.probabilities().sum(-1), torch.ones(1)))
        (torch.Size([1, 14, 8]), True)
    """

    mask: torch.Tensor

    def __init__(self, *, groups: int, nodes: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.nodes = nodes
        edges = len(edges_of(nodes))
        self.alpha = nn.Parameter(START * torch.randn(groups, edges, len(OPERATIONS), generator=generator))
        self.beta = nn.Parameter(START * torch.randn(groups, edges, generator=generator))
        self.register_buffer("mask", torch.ones(groups, edges, len(OPERATIONS), dtype=torch.bool))
        self._in_use: torch.Tensor | None = None
        self._active: list[list[tuple[int, ...]]] = []
        self._refresh_active()
        self.register_load_state_dict_post_hook(_refresh_after_loading)

    def probabilities(self) -> torch.Tensor:
        """Return ``p[g, e] = softmax(alpha[g, e])`` over the active operations, 0 elsewhere; ``(G, E, O)``."""
        if self._in_use is not None:
            return self._in_use
        return self.alpha.masked_fill(~self.mask, -torch.inf).softmax(-1)

    @contextmanager
    def using(self, probabilities: torch.Tensor) -> Iterator[None]:
        """Let :meth:`probabilities` return this tensor ``(G, E, O)`` for a while; it is 0 where the mask is.

        Raises:
            ValueError: if the shape differs.
        """
        if probabilities.shape != self.alpha.shape:
            raise ValueError(
                f"probabilities: expected shape {tuple(self.alpha.shape)}, got {tuple(probabilities.shape)}"
            )
        self._in_use = probabilities
        try:
            yield
        finally:
            self._in_use = None

    def edge_weights(self) -> torch.Tensor:
        """Return the softmax of ``beta`` over the edges that enter one node; ``(G, E)``."""
        sizes = [node + CELL_INPUTS for node in range(self.nodes)]
        return torch.cat([b.softmax(-1) for b in self.beta.split(sizes, dim=-1)], dim=-1)

    def active(self, group: int, edge: int) -> tuple[int, ...]:
        """Return the indices of one edge's active operations (plain integers: no device is asked)."""
        return self._active[group][edge]

    @torch.no_grad()
    def set_mask(self, mask: torch.Tensor) -> None:
        """Replace the mask.

        Raises:
            ValueError: if the shape differs, an edge would lose its last operation, or a pruned one would return.
        """
        if mask.shape != self.mask.shape:
            raise ValueError(f"mask: expected shape {tuple(self.mask.shape)}, got {tuple(mask.shape)}")
        mask = mask.to(self.mask)
        if bool((mask & ~self.mask).any()):
            raise ValueError("mask: expected pruned operations to stay pruned, got one that returns")
        if not bool(mask.any(-1).all()):
            raise ValueError("mask: expected at least one operation on each edge, got an edge with none")
        self.mask.copy_(mask)
        self._refresh_active()

    def _refresh_active(self) -> None:
        self._active = [
            [tuple(i for i, on in enumerate(edge) if on) for edge in group] for group in self.mask.cpu().tolist()
        ]


def _refresh_after_loading(module: nn.Module, _: object) -> None:
    if isinstance(module, ArchitectureParameters):
        module._refresh_active()


def architecture_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of every :class:`ArchitectureParameters` inside ``network``."""
    return [p for m in network.modules() if isinstance(m, ArchitectureParameters) for p in (m.alpha, m.beta)]


def weight_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield all other parameters that require a gradient: what a weight optimiser may see."""
    architecture = {id(p) for p in architecture_parameters(network)}
    return (p for p in network.parameters() if id(p) not in architecture and p.requires_grad)
