"""A genotype drawn by graphviz, where its ``dot`` program is installed."""

from __future__ import annotations

import shutil
import subprocess

from nnunet_iac.reports.canvas import INK, MUTED
from nnunet_iac.reports.genotype_graph import FILL, FRAME, GenotypeGraph, Vertex
from nnunet_iac.reports.names import OPERATION_COLOURS, OPERATION_LABELS

_SHAPE = 'shape=box style="rounded,filled" fontname="DejaVu Sans,Helvetica,Arial" fontsize=13 margin="0.18,0.08"'


def dot_source(record: GenotypeGraph) -> str:
    """Return the graph in the DOT language (no graphviz needed).

    Example:
        >>> from nnunet_iac.cells.genotype import Genotype
        >>> from nnunet_iac.reports.genotype_graph import genotype_graph_data
        >>> '"skip" -> "output"' in dot_source(genotype_graph_data(Genotype.identity()))
        True
    """
    output = "skip + project(concat)" if record.operations else "output"
    lines = [
        "digraph cell {",
        "rankdir=LR; nodesep=0.35; ranksep=0.55; bgcolor=white; dpi=130; splines=true;",
        f'node [{_SHAPE} color="{INK}" fontcolor="{INK}"];',
        f'edge [fontname="DejaVu Sans,Helvetica,Arial" fontsize=11 color="{MUTED}" arrowsize=0.8];',
        *(_vertex_line(vertex, output if vertex.kind == "output" else vertex.name) for vertex in record.vertices),
        *(_arrow_line(arrow.source, arrow.target, arrow.operation) for arrow in record.arrows),
        "}",
    ]
    return "\n".join(lines)


def graphviz_png(record: GenotypeGraph) -> bytes | None:
    """Return the graph as a PNG file drawn by ``dot``; None where that program is absent or fails."""
    if shutil.which("dot") is None:
        return None
    import graphviz  # optional at run time: a missing package is the same as a missing program

    try:
        return bytes(graphviz.Source(dot_source(record), engine="dot").pipe(format="png", quiet=True))
    except (graphviz.ExecutableNotFound, subprocess.CalledProcessError, OSError):
        return None


def _vertex_line(vertex: Vertex, label: str) -> str:
    return f'"{vertex.name}" [label="{label}" fillcolor="{FILL[vertex.kind]}" color="{FRAME[vertex.kind]}"];'


def _arrow_line(source: str, target: str, operation: str | None) -> str:
    if operation is None:
        return f'"{source}" -> "{target}" [style=dashed];'
    colour, label = OPERATION_COLOURS[operation], OPERATION_LABELS[operation]
    return f'"{source}" -> "{target}" [label=" {label} " color="{colour}" fontcolor="{colour}" penwidth=2];'
