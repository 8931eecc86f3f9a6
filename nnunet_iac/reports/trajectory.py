"""Architecture probabilities and Jensen-Shannon divergence of one edge over the epochs of a search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.reports.canvas import INK, MUTED, style_axes, title_axes
from nnunet_iac.reports.names import colour_of, edge_name, label_of
from nnunet_iac.reports.trace import SearchTrace

SMALLEST_DIVERGENCE = 1e-7
"""Smaller divergences (0 for an edge with one operation left) are drawn at this value: the axis is logarithmic."""

TAU_COLOUR = "#c0392b"


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities of the operations of one edge.

    Attributes:
        edge: name of the edge, such as ``skip→n2``.
        epochs: ``(T,)``.
        values: ``(T, 8)``, NaN from the epoch on in which an operation is pruned.
        leader: operation with the highest probability at the end.
        search_start: first epoch that trained architecture parameters, None during warm-up.
        decided_at: first epoch from which the edge stayed decided, None while it is undecided.
    """

    edge: str
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]
    leader: int
    search_start: int | None
    decided_at: int | None


@dataclass(frozen=True, eq=False)
class Divergence:
    """Stability of one edge: JSD in [0, 1] between its probabilities now and a window ago.

    Attributes:
        edge: name of the edge.
        epochs: ``(T,)``.
        values: ``(T,)``, NaN while the window fills.
        tau: threshold of stability, None where the settings give none.
        search_start: first epoch that trained architecture parameters, None during warm-up.
        decided_at: first epoch from which the edge stayed decided, None while it is undecided.
    """

    edge: str
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]
    tau: float | None
    search_start: int | None
    decided_at: int | None


def probabilities_data(trace: SearchTrace, group: int, edge: int, second_input: str = "decoder") -> Probabilities:
    """Return what :func:`draw_probabilities` draws: one edge of one cell."""
    values = trace.probabilities[:, group, edge]
    node, source = trace.edges[edge]
    return Probabilities(
        edge=edge_name(node, source, second_input),
        epochs=trace.epochs,
        values=np.where(values > 0, values, np.nan),
        leader=int(np.argmax(np.nan_to_num(values[-1], nan=-1.0))),
        search_start=trace.search_start,
        decided_at=decided_at(trace, group, edge),
    )


def divergence_data(
    trace: SearchTrace, group: int, edge: int, second_input: str = "decoder", tau: float | None = None
) -> Divergence:
    """Return what :func:`draw_divergence` draws: one edge of one cell."""
    node, source = trace.edges[edge]
    return Divergence(
        edge=edge_name(node, source, second_input),
        epochs=trace.epochs,
        values=trace.divergence[:, group, edge],
        tau=tau,
        search_start=trace.search_start,
        decided_at=decided_at(trace, group, edge),
    )


def decided_at(trace: SearchTrace, group: int, edge: int) -> int | None:
    """Return the first epoch from which an edge stayed decided to the end; None if it is undecided at the end."""
    decided = trace.decided[:, group, edge]
    if not decided[-1]:
        return None
    undecided = np.flatnonzero(~decided)
    return int(trace.epochs[undecided[-1] + 1 if len(undecided) else 0])


def draw_probabilities(record: Probabilities, ax: Axes) -> None:
    """Draw one line for each operation; a line ends with a cross where the operation is pruned."""
    _prepare(record.epochs, record.search_start, record.decided_at, ax)
    order = [i for i in range(len(OPERATIONS)) if i != record.leader] + [record.leader]
    for index in order:
        values = record.values[:, index]
        alive = np.flatnonzero(np.isfinite(values))
        if not len(alive):
            continue
        width = 2.4 if index == record.leader else 1.3
        marker = "o" if len(alive) == 1 else None
        ax.plot(record.epochs, values, color=colour_of(index), linewidth=width, marker=marker, markersize=3)
        if alive[-1] + 1 < len(record.epochs):
            ax.plot(
                record.epochs[alive[-1]], values[alive[-1]], "x", color=colour_of(index), markersize=4, clip_on=False
            )
    ax.set_ylim(0, 1.02)
    ax.set_yticks([0, 0.5, 1])
    final = record.values[-1, record.leader]
    title_axes(ax, record.edge, f"{label_of(record.leader)}  {final:.2f}", colour_of(record.leader))


def draw_divergence(record: Divergence, ax: Axes) -> None:
    """Draw the divergence on a logarithmic axis, with tau and the stable zone below it where tau is known."""
    _prepare(record.epochs, record.search_start, record.decided_at, ax)
    values = np.clip(record.values, SMALLEST_DIVERGENCE, None)
    ax.set_yscale("log")
    ax.set_ylim(SMALLEST_DIVERGENCE * 0.7, 1.3)
    ax.set_yticks([1e-6, 1e-4, 1e-2, 1])
    ax.minorticks_off()
    if record.tau is not None:
        ax.axhspan(SMALLEST_DIVERGENCE * 0.7, record.tau, color="#2e8b57", alpha=0.09, linewidth=0)
        ax.axhline(record.tau, color=TAU_COLOUR, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.plot(record.epochs, values, color="#28348f", linewidth=1.4, marker=".", markersize=3)
    if not np.isfinite(record.values).any():
        ax.text(
            0.5, 0.5, "window not filled", transform=ax.transAxes, ha="center", va="center", fontsize=8, color=MUTED
        )
    note = "undecided" if record.decided_at is None else f"decided at {record.decided_at}"
    title_axes(ax, record.edge, note)


def _prepare(epochs: NDArray[np.int64], search_start: int | None, decided: int | None, ax: Axes) -> None:
    style_axes(ax)
    first, last = int(epochs[0]), int(epochs[-1])
    ax.set_xlim(first - 0.5, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    warm_until = last + 0.5 if search_start is None else search_start - 0.5
    if warm_until > first - 0.5:
        ax.axvspan(first - 0.5, warm_until, color="#eef0f3", linewidth=0)
    if decided is not None:
        ax.axvline(decided, color=INK, linewidth=0.9, linestyle=":")
