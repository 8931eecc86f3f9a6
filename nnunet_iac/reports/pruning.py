"""When operations were pruned, and what each edge ended with: tables edge x operation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from nnunet_iac.cells.genotype import OPERATIONS, Cell
from nnunet_iac.reports.canvas import INK, MUTED, RULE, text_colour_on, title_axes
from nnunet_iac.reports.names import colour_of, edge_name, label_of, level_name
from nnunet_iac.reports.trace import SearchTrace

EPOCH_COLOURS: Colormap = LinearSegmentedColormap.from_list("epochs", ["#fde9c9", "#e58b5b", "#8d2f5c", "#2b1b45"])
SHARE_COLOURS: Colormap = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#bcd7ee", "#3f7fbf", "#173a6b"])


@dataclass(frozen=True, eq=False)
class PruningTimes:
    """The epoch at which each operation of each edge of one cell was pruned.

    Attributes:
        title: name of the cell.
        edges: E names.
        epochs: ``(E, 8)``, NaN where the operation is still active.
        first_epoch: first epoch of the search, for the colour scale.
        last_epoch: last epoch of the search, for the colour scale.
    """

    title: str
    edges: tuple[str, ...]
    epochs: NDArray[np.float64]
    first_epoch: int
    last_epoch: int


@dataclass(frozen=True, eq=False)
class FinalState:
    """Where one cell stands at the last epoch.

    Attributes:
        title: name of the cell.
        edges: E names.
        nodes: E numbers of the node each edge enters (edges of a node share one softmax of weights).
        probabilities: ``(E, 8)``, NaN where pruned.
        edge_weights: ``(E,)``, softmax within a node.
        chosen: ``(edge, operation)`` pairs of the genotype, empty without one.
    """

    title: str
    edges: tuple[str, ...]
    nodes: tuple[int, ...]
    probabilities: NDArray[np.float64]
    edge_weights: NDArray[np.float64]
    chosen: tuple[tuple[int, int], ...]


def pruning_times_data(trace: SearchTrace, group: int, second_input: str = "decoder") -> PruningTimes:
    """Return what :func:`draw_pruning_times` draws.

    An operation that is inactive at the end without a pruning line (that line was lost) gets the first epoch at which
    it was seen inactive.
    """
    mask = trace.mask[:, group]
    epochs = np.where(mask[-1], np.nan, trace.epochs[np.argmin(mask, axis=0)].astype(np.float64))
    for event in trace.pruned:
        if event.group == group and not mask[-1, event.edge, event.operation]:
            epochs[event.edge, event.operation] = event.epoch
    return PruningTimes(
        title=level_name(group, trace.groups, trace.first_level),
        edges=_edge_names(trace, second_input),
        epochs=epochs,
        first_epoch=int(trace.epochs[0]),
        last_epoch=int(trace.epochs[-1]),
    )


def final_state_data(
    trace: SearchTrace, group: int, second_input: str = "decoder", cell: Cell | None = None
) -> FinalState:
    """Return what :func:`draw_final_state` draws; ``cell`` marks what the genotype took (edges unknown to it: none)."""
    probabilities = trace.probabilities[-1, group]
    index = {edge: i for i, edge in enumerate(trace.edges)}
    taken = [((node, source), operation) for node, edges in enumerate(cell or ()) for operation, source in edges]
    return FinalState(
        title=level_name(group, trace.groups, trace.first_level),
        edges=_edge_names(trace, second_input),
        nodes=tuple(node for node, _ in trace.edges),
        probabilities=np.where(trace.mask[-1, group], probabilities, np.nan),
        edge_weights=trace.edge_weights[-1, group],
        chosen=tuple((index[edge], OPERATIONS.index(operation)) for edge, operation in taken if edge in index),
    )


def draw_pruning_times(record: PruningTimes, ax: Axes) -> None:
    """Draw a heat map edge x operation: the colour and the number are the epoch, a dot is an active operation."""
    scale = epoch_scale(record)
    ax.imshow(record.epochs, cmap=EPOCH_COLOURS, norm=scale, aspect="auto", interpolation="nearest")
    _prepare_table(record.edges, [label_of(i) for i in range(len(OPERATIONS))], record.title, ax)
    for (row, column), epoch in np.ndenumerate(record.epochs):
        if np.isnan(epoch):
            ax.plot(column, row, "o", color=colour_of(column), markersize=5)
        else:
            shade = text_colour_on(*EPOCH_COLOURS(scale(epoch))[:3])
            ax.text(column, row, f"{epoch:.0f}", ha="center", va="center", fontsize=7.5, color=shade)


def epoch_scale(record: PruningTimes) -> Normalize:
    """Return the colour scale of a heat map of epochs (for its colour bar)."""
    return Normalize(record.first_epoch, max(record.last_epoch, record.first_epoch + 1))


def draw_final_state(record: FinalState, ax: Axes) -> None:
    """Draw a table edge x operation of probabilities with the edge weights in a column of its own; frames: chosen."""
    operations = len(OPERATIONS)
    table = np.column_stack([record.probabilities, np.full(len(record.edges), np.nan), record.edge_weights])
    ax.imshow(table, cmap=SHARE_COLOURS, norm=Normalize(0, 1), aspect="auto", interpolation="nearest")
    labels = [*(label_of(i) for i in range(operations)), "", "edge weight"]
    _prepare_table(record.edges, labels, record.title, ax)
    for (row, column), value in np.ndenumerate(table):
        if column == operations:
            continue
        text, shade = ("·", MUTED) if np.isnan(value) else (f"{value:.2f}", _shade(value))
        ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color=shade)
    ax.add_patch(Rectangle((operations - 0.5, -0.5), 1, len(record.edges), facecolor="white", linewidth=0))
    for row in range(1, len(record.nodes)):
        if record.nodes[row] != record.nodes[row - 1]:
            ax.axhline(row - 0.5, color=MUTED, linewidth=0.9)
    for edge, operation in record.chosen:
        frame = Rectangle((operation - 0.46, edge - 0.44), 0.92, 0.88, fill=False, linewidth=2.4)
        frame.set_edgecolor(colour_of(operation))
        ax.add_patch(frame)


def _edge_names(trace: SearchTrace, second_input: str) -> tuple[str, ...]:
    return tuple(edge_name(node, source, second_input) for node, source in trace.edges)


def _shade(value: float) -> str:
    return text_colour_on(*SHARE_COLOURS(value)[:3])


def _prepare_table(rows: tuple[str, ...], columns: list[str], title: str, ax: Axes) -> None:
    title_axes(ax, title)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_yticks(range(len(rows)), labels=list(rows), fontsize=8, color=INK)
    ax.set_xticks(range(len(columns)), labels=columns, fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
    for index, label in enumerate(ax.get_xticklabels()):
        label.set_color(colour_of(index) if index < len(OPERATIONS) else INK)
    ax.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=RULE, linewidth=0.7)
    ax.tick_params(which="both", length=0)
