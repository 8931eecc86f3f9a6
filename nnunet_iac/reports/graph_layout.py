"""Places for the boxes, arrows and labels of a small directed graph that is read from left to right.

Nodes fan out (earlier ones inside, later ones outside), so that each has a straight way to the output at the right.
Each arrow may bend; bends and label positions are improved one arrow at a time, until boxes, labels and arrows keep
clear of each other as far as possible. Nothing here is random: equal graphs have equal layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Points = NDArray[np.float64]

COLUMN, ROW = 2.35, 0.95
"""Distance of columns, and half the distance of rows, in the units of the layout."""

_BENDS = (0.0, 0.16, -0.16, 0.32, -0.32, 0.5, -0.5, 0.7, -0.7)
_PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)
_ROUNDS = 4
_SAMPLES = 161
_SPARSE = 4


@dataclass(frozen=True)
class Box:
    """A rectangle with its centre."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Smallest x."""
        return self.x - self.width / 2

    @property
    def bottom(self) -> float:
        """Smallest y."""
        return self.y - self.height / 2

    def holds(self, points: Points, margin: float = 0.0) -> NDArray[np.bool_]:
        """Return which of ``(N, 2)`` points lie inside, with a margin around."""
        apart_x = np.abs(points[:, 0] - self.x) <= self.width / 2 + margin
        return apart_x & (np.abs(points[:, 1] - self.y) <= self.height / 2 + margin)

    def meets(self, other: Box, margin: float = 0.0) -> bool:
        """Return whether two boxes overlap or come nearer than the margin."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2 + margin
            and abs(self.y - other.y) < (self.height + other.height) / 2 + margin
        )


@dataclass(frozen=True)
class Curve:
    """An arrow from the rim of its source to the rim of its target, with the box of its label."""

    points: tuple[Point, ...]
    label: Box


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
    curves = _settled([(boxes[s], boxes[t], label) for s, t, label in arrows], boxes, rails)
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


def _settled(
    arrows: list[tuple[Box, Box, str]], boxes: dict[str, Box], rails: tuple[tuple[Point, ...], ...]
) -> tuple[Curve, ...]:
    walls = list(boxes.values())
    ways = [_dense(rail) for rail in rails]
    options = [_options(source, target, label) for source, target, label in arrows]
    own = [_own_costs(choices, walls, ways) for choices in options]
    chosen = [int(np.argmin(costs)) for costs in own]
    for _ in range(_ROUNDS):
        before = list(chosen)
        for index in range(len(arrows)):
            others = [options[i][chosen[i]] for i in range(len(arrows)) if i != index]
            costs = [cost + _between(option, others) for cost, option in zip(own[index], options[index], strict=True)]
            chosen[index] = int(np.argmin(costs))
        if chosen == before:
            break
    picked = [choices[index] for choices, index in zip(options, chosen, strict=True)]
    return tuple(Curve(tuple((float(x), float(y)) for x, y in option.way), option.label) for option in picked)


@dataclass(frozen=True, eq=False)
class _Option:
    """One way to draw an arrow: its points, its label's box and how far it bends."""

    way: Points
    label: Box
    bend: float
    place: float


def _options(source: Box, target: Box, label: str) -> list[_Option]:
    options = []
    size = (0.105 * len(label) + 0.16, 0.3)
    for bend in _BENDS:
        way = _bezier(source, target, bend)
        outside = way[~source.holds(way) & ~target.holds(way, 0.02)]
        for place in _PLACES:
            x, y = outside[int(place * (len(outside) - 1))]
            options.append(_Option(outside, Box(float(x), float(y), *size), bend, place))
    return options


def _bezier(source: Box, target: Box, bend: float) -> Points:
    start, end = np.array([source.x, source.y]), np.array([target.x, target.y])
    across = np.array([-(end - start)[1], (end - start)[0]])
    control = (start + end) / 2 + bend * across
    t = np.linspace(0, 1, _SAMPLES)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _dense(way: tuple[Point, ...]) -> Points:
    parts = [np.linspace(a, b, _SAMPLES // _SPARSE) for a, b in zip(way[:-1], way[1:], strict=True)]
    return np.concatenate(parts)


def _own_costs(options: list[_Option], walls: list[Box], ways: list[Points]) -> list[float]:
    return [_own_cost(option, walls, ways) for option in options]


def _own_cost(option: _Option, walls: list[Box], ways: list[Points]) -> float:
    cost = 1.5 * abs(option.bend) + 0.8 * abs(option.place - 0.5)
    # The ends of the way touch the rims of its own two boxes, so only its inner part must keep clear.
    inner = option.way[12:-12:_SPARSE]
    cost += sum(3.0 * float(wall.holds(inner, 0.1).sum()) for wall in walls)
    cost += sum(40.0 for wall in walls if option.label.meets(wall, 0.08))
    cost += sum(1.5 * float(option.label.holds(way, 0.04).any()) for way in ways)
    return cost


def _between(option: _Option, others: list[_Option]) -> float:
    cost = 0.0
    for other in others:
        cost += 60.0 * option.label.meets(other.label, 0.07)
        cost += 1.2 * float(option.label.holds(other.way[::_SPARSE], 0.03).sum())
        cost += 1.2 * float(other.label.holds(option.way[::_SPARSE], 0.03).sum())
        apart = np.abs(option.way[::16, None] - other.way[None, ::16]).max(axis=2)
        cost += 0.25 * float((apart < 0.12).sum())
    return cost
