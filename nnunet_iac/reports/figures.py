"""Whole figures: small multiples, panels side by side, legends and colour bars around the single plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nnunet_iac.cells.genotype import OPERATIONS, Cell, Genotype
from nnunet_iac.reports.canvas import INK, MUTED, new_figure, png_bytes
from nnunet_iac.reports.course import (
    active_operations_data,
    draw_active_operations,
    draw_epoch_seconds,
    draw_losses,
    draw_search_dice,
    epoch_seconds_data,
    losses_data,
    search_dice_data,
)
from nnunet_iac.reports.dice import draw_dice_by_case, draw_dice_by_class
from nnunet_iac.reports.genotype_graph import draw_genotype_graph, genotype_graph_data
from nnunet_iac.reports.graphviz_drawing import graphviz_png
from nnunet_iac.reports.names import colour_of, label_of
from nnunet_iac.reports.pruning import (
    EPOCH_COLOURS,
    draw_final_state,
    draw_pruning_times,
    epoch_scale,
    final_state_data,
    pruning_times_data,
)
from nnunet_iac.reports.scores import Scores, dice_by_case_data, dice_by_class_data
from nnunet_iac.reports.trace import SearchTrace
from nnunet_iac.reports.trajectory import (
    TAU_COLOUR,
    divergence_data,
    draw_divergence,
    draw_probabilities,
    probabilities_data,
)

_PER_ROW = 2


def probabilities_png(trace: SearchTrace, group: int, second_input: str) -> bytes:
    """Return one panel of probabilities for each edge of a cell: rows are what an edge reads, columns the nodes."""
    pruned = Line2D([], [], color=INK, marker="x", linestyle="", markersize=5, label="pruned")
    legend = [*_operation_legend(), pruned, *_epoch_legend()]

    def panel(edge: int, ax: Axes) -> None:
        draw_probabilities(probabilities_data(trace, group, edge, second_input), ax)

    return png_bytes(_edge_grid(trace, panel, legend))


def divergence_png(trace: SearchTrace, group: int, second_input: str, tau: float | None) -> bytes:
    """Return one panel of divergence for each edge of a cell, laid out as :func:`probabilities_png`."""
    legend: list[Artist] = [Line2D([], [], color="#28348f", linewidth=1.5, label="JSD, 0 … 1 (log)")]
    if tau is not None:
        legend.append(Line2D([], [], color=TAU_COLOUR, linewidth=1.1, linestyle=(0, (4, 2)), label=f"tau = {tau:.3g}"))
        legend.append(Patch(facecolor="#2e8b57", alpha=0.15, label="stable (below tau)"))

    def panel(edge: int, ax: Axes) -> None:
        draw_divergence(divergence_data(trace, group, edge, second_input, tau), ax)

    return png_bytes(_edge_grid(trace, panel, [*legend, *_epoch_legend()]))


def final_state_png(trace: SearchTrace, second_input: str, genotype: Genotype | None) -> bytes:
    """Return a table of probabilities and edge weights at the last epoch for each cell."""
    figure, axes = _panels(trace.groups, 4.6, 0.27 * len(trace.edges) + 1.25)
    for group, ax in enumerate(axes):
        draw_final_state(final_state_data(trace, group, second_input, _cell(genotype, group, trace.groups)), ax)
    return png_bytes(figure)


def pruning_times_png(trace: SearchTrace, second_input: str) -> bytes:
    """Return a heat map of the epochs of pruning for each cell, with one colour bar."""
    figure, axes = _panels(trace.groups, 4.3, 0.27 * len(trace.edges) + 1.25)
    records = [pruning_times_data(trace, group, second_input) for group in range(trace.groups)]
    for record, ax in zip(records, axes, strict=True):
        draw_pruning_times(record, ax)
    bar = figure.colorbar(
        ScalarMappable(epoch_scale(records[0]), EPOCH_COLOURS), ax=axes, fraction=0.035, pad=0.02, aspect=30
    )
    bar.set_label("pruned at epoch", fontsize=8, color=MUTED)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
    bar.outline.set_visible(False)
    return png_bytes(figure)


def course_png(trace: SearchTrace) -> bytes:
    """Return active operations, seconds, losses and, where it was measured, Dice over epochs, side by side."""
    dice = search_dice_data(trace)
    figure = new_figure(11, 3.2)
    axes = figure.subplots(1, 3 + dice.is_known)
    draw_active_operations(active_operations_data(trace), axes[0])
    draw_epoch_seconds(epoch_seconds_data(trace), axes[1])
    draw_losses(losses_data(trace), axes[2])
    if dice.is_known:
        draw_search_dice(dice, axes[3])
    figure.legend(handles=_operation_legend(), loc="outside lower left", fontsize=8, frameon=False, ncols=8)
    return png_bytes(figure)


def genotype_png(genotype: Genotype, level: int) -> bytes:
    """Return the graph of one cell, drawn by graphviz where its ``dot`` program is installed, else by matplotlib."""
    record = genotype_graph_data(genotype, level)
    drawn = graphviz_png(record)
    if drawn is not None:
        return drawn
    figure = new_figure(*_graph_size(genotype))
    figure.set_layout_engine("none")
    draw_genotype_graph(record, figure.add_axes((0.01, 0.01, 0.98, 0.98)))
    return png_bytes(figure)


def dice_png(scores: Scores) -> bytes:
    """Return bars for each class, and with a host the paired scatter of cases beside them."""
    height = max(3.6, 0.5 * (len(scores.classes) + 1) + 1.2)
    if scores.host is None:
        figure = new_figure(6.5, max(2.2, height - 1.4))
        draw_dice_by_class(dice_by_class_data(scores), figure.subplots())
        return png_bytes(figure)
    figure = new_figure(11, height)
    bars, scatter = figure.subplots(1, 2, width_ratios=(1.15, 1))
    draw_dice_by_class(dice_by_class_data(scores), bars)
    draw_dice_by_case(dice_by_case_data(scores), scatter)
    return png_bytes(figure)


def _graph_size(genotype: Genotype) -> tuple[float, float]:
    if genotype.is_identity:
        return 4.5, 0.9
    columns, rows = min(genotype.nodes, 4), min(-(-genotype.nodes // 2), 3)
    return 3.0 + 2.0 * columns, 1.9 + 1.45 * rows


def _cell(genotype: Genotype | None, group: int, groups: int) -> Cell | None:
    if genotype is None or len(genotype.cells) not in (1, groups):
        return None
    return genotype.cell(genotype.first_level + group)


def _operation_legend() -> list[Artist]:
    return [Line2D([], [], color=colour_of(i), linewidth=2.4, label=label_of(i)) for i in range(len(OPERATIONS))]


def _epoch_legend() -> list[Artist]:
    return [
        Line2D([], [], color=INK, linestyle=":", linewidth=1, label="edge decided"),
        Patch(facecolor="#e3e6eb", label="warm-up (weights only)"),
    ]


def _edge_grid(trace: SearchTrace, panel: Callable[[int, Axes], None], legend: Sequence[Artist]) -> Figure:
    nodes = trace.nodes
    width, height = max(7.0, 2.75 * nodes), 1.45 * (nodes + 1) + (0 if nodes > 2 else 0.8)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # all rows of the staircase are to be equally high
    margins = {"left": 0.45 / width, "right": 1 - 0.1 / width, "top": 1 - 0.3 / height, "bottom": 0.5 / height}
    if nodes <= 2:
        margins["bottom"] = 1.3 / height
    grid = GridSpec(nodes + 1, nodes, figure=figure, hspace=0.62, wspace=0.13, **margins)
    for edge, (node, source) in enumerate(trace.edges):
        ax = figure.add_subplot(grid[source, node])
        panel(edge, ax)
        # An edge's neighbours share its axes: numbers stand only at the left and at the bottom of the staircase.
        ax.tick_params(labelleft=node == max(0, source - 1), labelbottom=source == node + 1)
        if source == node + 1:
            ax.set_xlabel("epoch", fontsize=8, color=MUTED, labelpad=1)
    corner = (0.01, 0.02)
    figure.legend(handles=list(legend), loc="lower left", bbox_to_anchor=corner, fontsize=9, frameon=False, ncols=2)
    return figure


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, _PER_ROW)
    rows = -(-count // columns)
    figure = new_figure(max(6.5, width * columns), height * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]
