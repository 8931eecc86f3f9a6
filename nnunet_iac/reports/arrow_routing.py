"""Ways for labelled arrows between boxes, such that boxes, labels and arrows keep clear of each other.

Each arrow may bend and its label may slide along it; the choices are improved one arrow at a time. Nothing is random:
equal boxes and arrows give equal ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Points = NDArray[np.float64]

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


def route_arrows(
    arrows: list[tuple[Box, Box, str]], boxes: dict[str, Box], rails: tuple[tuple[Point, ...], ...]
) -> tuple[Curve, ...]:
    """Return a curve for each ``(source, target, label)``; ``rails`` are fixed ways that labels should not cover."""
    walls = list(boxes.values())
    ways = [_dense(rail) for rail in rails]
    options = [_options(source, target, label) for source, target, label in arrows]
    own = [_own_costs(choices, walls, ways) for choices in options]
    orders = [list(range(len(arrows))), list(reversed(range(len(arrows))))]
    tries = [_improved(options, own, order) for order in orders]
    chosen = min(tries, key=lambda picks: _total(options, own, picks))
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
    parts = [np.linspace(a, b, _SAMPLES // _SPARSE) for a, b in pairwise(way)]
    return np.concatenate(parts)


def _improved(options: list[list[_Option]], own: list[list[float]], order: list[int]) -> list[int]:
    chosen = [int(np.argmin(costs)) for costs in own]
    for _ in range(_ROUNDS):
        before = list(chosen)
        for index in order:
            others = [options[i][chosen[i]] for i in order if i != index]
            costs = [cost + _between(option, others) for cost, option in zip(own[index], options[index], strict=True)]
            chosen[index] = int(np.argmin(costs))
        if chosen == before:
            break
    return chosen


def _total(options: list[list[_Option]], own: list[list[float]], chosen: list[int]) -> float:
    picked = [choices[index] for choices, index in zip(options, chosen, strict=True)]
    pairs = sum(_between(option, picked[:index]) for index, option in enumerate(picked))
    return pairs + sum(costs[index] for costs, index in zip(own, chosen, strict=True))


def _own_costs(options: list[_Option], walls: list[Box], ways: list[Points]) -> list[float]:
    return [_own_cost(option, walls, ways) for option in options]


def _own_cost(option: _Option, walls: list[Box], ways: list[Points]) -> float:
    cost = 4.0 * abs(option.bend) + 0.8 * abs(option.place - 0.5)
    # The ends of the way touch the rims of its own two boxes, so only its inner part must keep clear.
    inner = option.way[12:-12:_SPARSE]
    cost += sum(3.0 * float(wall.holds(inner, 0.1).sum()) for wall in walls)
    cost += sum(40.0 for wall in walls if option.label.meets(wall, 0.08))
    cost += sum(1.5 * float(option.label.holds(way, 0.04).any()) for way in ways)
    ceiling = max(wall.y + wall.height / 2 for wall in walls)
    floor = min(wall.bottom for wall in walls)
    return cost + 8.0 * max(0.0, float(option.way[:, 1].max()) - ceiling, floor - float(option.way[:, 1].min()))


def _between(option: _Option, others: list[_Option]) -> float:
    cost = 0.0
    for other in others:
        cost += 60.0 * option.label.meets(other.label, 0.07)
        cost += 1.2 * float(option.label.holds(other.way[::_SPARSE], 0.03).sum())
        cost += 1.2 * float(other.label.holds(option.way[::_SPARSE], 0.03).sum())
        apart = np.abs(option.way[::16, None] - other.way[None, ::16]).max(axis=2)
        cost += 0.25 * float((apart < 0.12).sum())
    return cost
