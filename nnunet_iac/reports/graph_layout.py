"""Places for the boxes of a small directed graph that is read from left to right.

Nodes fan out (earlier ones inside, later ones outside), so that each has a straight way to the output at the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_iac.reports.arrow_routing import Box, Curve, Point, route_arrows

COLUMN, ROW = 2.35, 0.95
"""Distance of columns, and half the distance of rows, in the units of the layout."""


@dataclass(frozen=True)
class GraphLayout:
    """A finished layout: boxes by name, one curve for each labelled arrow, and unlabelled ways to the output."""

    boxes: dict[str, Box]
    curves: tuple[Curve, ...]
    rails: tuple[tuple[Point, ...], ...]
    left: float
    right: float
    bottom: float
    top: float


def layout_graph(
    inputs: Sequence[str], nodes: Sequence[str], output: str, arrows: Sequence[tuple[str, str, str]], residual: str
) -> GraphLayout:
    """Lay out a cell.

    Args:
        inputs: names at the left; the last one (``residual``) also goes around to the output.
        nodes: names in topological order.
        output: name of the box at the right.
        arrows: ``(source, target, label)`` of each operation.
        residual: the input that is added to the output.
    """
    boxes = _boxes(inputs, nodes, output)
    rails = _rails(boxes, nodes, output, residual)
    curves = route_arrows([(boxes[s], boxes[t], label) for s, t, label in arrows], boxes, rails)
    everything = np.concatenate(
        [np.array(way) for way in (*rails, *(curve.points for curve in curves))]
        + [np.array([[b.left, b.bottom], [b.x + b.width / 2, b.y + b.height / 2]]) for b in boxes.values()]
        + [np.array([[c.label.left, c.label.bottom], [c.label.x, c.label.y + c.label.height / 2]]) for c in curves]
    )
    (left, bottom), (right, top) = everything.min(axis=0) - 0.15, everything.max(axis=0) + 0.15
    return GraphLayout(boxes, curves, rails, float(left), float(right), float(bottom), float(top))


def _boxes(inputs: Sequence[str], nodes: Sequence[str], output: str) -> dict[str, Box]:
    spread = ROW * max(1.0, 0.5 * len(nodes))
    heights = np.linspace(spread, -spread, len(inputs)) if len(inputs) > 1 else np.zeros(1)
    boxes = {name: Box(0.0, float(y), 1.25, 0.52) for name, y in zip(inputs, heights, strict=True)}
    for index, name in enumerate(nodes):
        y = ROW * (index // 2 + 0.5) * (1 if index % 2 == 0 else -1)
        boxes[name] = Box(COLUMN * (index + 1), y, 0.68, 0.52)
    tall = 0.52 if not nodes else 2 * ROW * ((len(nodes) + 1) // 2) + 0.35
    boxes[output] = Box(COLUMN * (len(nodes) + 1) - 0.6 * bool(nodes), 0.0, 1.25 if not nodes else 0.5, max(tall, 0.52))
    return boxes


def _rails(boxes: dict[str, Box], nodes: Sequence[str], output: str, residual: str) -> tuple[tuple[Point, ...], ...]:
    end, start = boxes[output], boxes[residual]
    straight = [((boxes[n].x + boxes[n].width / 2, boxes[n].y), (end.left, boxes[n].y)) for n in nodes]
    if not nodes:
        return (((start.x + start.width / 2, start.y), (end.left, end.y)),)
    floor = min(start.bottom, end.bottom) - 0.75
    around = ((start.x, start.bottom), (start.x, floor), (end.x, floor), (end.x, end.bottom))
    return (*straight, around)
