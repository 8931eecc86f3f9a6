"""A genotype as a graph: what one discrete cell computes, drawn with matplotlib or written for graphviz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Outline

from nnunet_iac.cells.cell_shape import CELL_INPUTS
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.arrow_routing import Box, Curve, Point
from nnunet_iac.reports.canvas import INK, MUTED
from nnunet_iac.reports.graph_layout import layout_graph
from nnunet_iac.reports.names import OPERATION_COLOURS, OPERATION_LABELS, input_name

OUTPUT = "output"
"""Name of the vertex that stands for ``skip + project(concat(nodes))``."""

VertexKind = Literal["input", "node", "output"]

FILL = {"input": "#fff4dc", "node": "#e8eefb", "output": "#e9f4ea"}
FRAME = {"input": "#c98a00", "node": "#28348f", "output": "#117733"}


@dataclass(frozen=True)
class Vertex:
    """A box of the graph: an input of the cell, one of its nodes, or its output."""

    name: str
    kind: VertexKind


@dataclass(frozen=True)
class Arrow:
    """An edge of the graph; ``operation`` is None where a signal is only handed on (to the output)."""

    source: str
    target: str
    operation: str | None = None


@dataclass(frozen=True)
class GenotypeGraph:
    """One cell as vertices (inputs, nodes, output) and arrows (operations first, then the way to the output)."""

    vertices: tuple[Vertex, ...]
    arrows: tuple[Arrow, ...]

    @property
    def operations(self) -> tuple[Arrow, ...]:
        """The arrows that carry an operation."""
        return tuple(arrow for arrow in self.arrows if arrow.operation is not None)


def genotype_graph_data(genotype: Genotype, level: int | None = None) -> GenotypeGraph:
    """Return the graph of one cell, by default the first.

    An identity genotype has no cell: the skip goes to the output as it is.

    Example:
        >>> graph = genotype_graph_data(Genotype.identity())
        >>> [(arrow.source, arrow.target) for arrow in graph.arrows]
        [('skip', 'output')]
    """
    if genotype.is_identity:
        return GenotypeGraph((Vertex("skip", "input"), Vertex(OUTPUT, "output")), (Arrow("skip", OUTPUT),))
    second = genotype.second_input
    inputs = [Vertex(input_name(i, second), "input") for i in range(CELL_INPUTS)]
    nodes = [Vertex(input_name(i + CELL_INPUTS, second), "node") for i in range(genotype.nodes)]
    operations = [
        Arrow(input_name(source, second), nodes[node].name, operation)
        for node, edges in enumerate(genotype.cell(genotype.first_level if level is None else level))
        for operation, source in edges
    ]
    handed_on = [Arrow(vertex.name, OUTPUT) for vertex in [*nodes, inputs[1]]]
    return GenotypeGraph((*inputs, *nodes, Vertex(OUTPUT, "output")), (*operations, *handed_on))


def draw_genotype_graph(record: GenotypeGraph, ax: Axes) -> None:
    """Draw the graph from left to right; labels are placed so that they cover neither boxes nor each other.

    The size of the text follows the size of the axes, which should be at least twice as wide as high.
    """
    layout = layout_graph(
        inputs=[vertex.name for vertex in record.vertices if vertex.kind == "input"],
        nodes=[vertex.name for vertex in record.vertices if vertex.kind == "node"],
        output=OUTPUT,
        arrows=[(a.source, a.target, OPERATION_LABELS[a.operation]) for a in record.operations if a.operation],
        residual="skip",
    )
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(layout.left, layout.right)
    ax.set_ylim(layout.bottom, layout.top)
    points = 72 * _inches_per_unit(ax, layout.right - layout.left, layout.top - layout.bottom)
    for points_on_way in layout.rails:
        _draw_way(points_on_way, MUTED, 0.012 * points, ax, dashes=(0, (4, 2.5)))
    for arrow, curve in zip(record.operations, layout.curves, strict=True):
        _draw_way(curve.points, OPERATION_COLOURS[str(arrow.operation)], 0.026 * points, ax)
    for arrow, curve in zip(record.operations, layout.curves, strict=True):
        _draw_label(curve, OPERATION_LABELS[str(arrow.operation)], OPERATION_COLOURS[str(arrow.operation)], points, ax)
    kinds = {vertex.name: vertex.kind for vertex in record.vertices}
    for name, box in layout.boxes.items():
        _draw_box(name, kinds[name], box, points, ax)


def _inches_per_unit(ax: Axes, width: float, height: float) -> float:
    return float(min(ax.bbox.width / width, ax.bbox.height / height) / ax.figure.dpi)


def _draw_way(
    points: tuple[Point, ...],
    colour: str,
    width: float,
    ax: Axes,
    dashes: tuple[int, tuple[float, float]] | str = "-",
) -> None:
    ax.add_patch(
        FancyArrowPatch(
            path=Outline(list(points)),
            arrowstyle="-|>,head_length=5,head_width=2.6",
            color=colour,
            linewidth=width,
            linestyle=dashes,
            shrinkA=0,
            shrinkB=0,
            joinstyle="round",
            zorder=1,
        )
    )


def _draw_label(curve: Curve, text: str, colour: str, points: float, ax: Axes) -> None:
    box = curve.label
    ax.add_patch(
        FancyBboxPatch(
            (box.left, box.bottom),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor="white",
            edgecolor=colour,
            linewidth=0.012 * points,
            zorder=3,
        )
    )
    ax.text(box.x, box.y, text, ha="center", va="center_baseline", fontsize=0.155 * points, color=colour, zorder=4)


def _draw_box(name: str, kind: VertexKind, box: Box, points: float, ax: Axes) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (box.left, box.bottom),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.14",
            facecolor=FILL[kind],
            edgecolor=FRAME[kind],
            linewidth=0.02 * points,
            zorder=5,
        )
    )
    text = "skip + project(concat)" if kind == "output" and box.height > box.width else name
    rotation = 90 if kind == "output" and box.height > box.width else 0
    weight = "bold" if kind == "node" else "normal"
    ax.text(
        box.x, box.y, text, ha="center", va="center", fontsize=0.17 * points, color=INK, zorder=6, rotation=rotation
    ).set_fontweight(weight)
