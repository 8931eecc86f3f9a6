"""A parametric heart in short-axis view: what varies between patients, and where each tissue lies.

The left ventricle is a tapered tube with a muscular wall, the right ventricle the part of a larger ellipse that lies
outside that wall (a crescent). Both become smaller towards the apex and in systole. Lengths are in mm, angles in
radians; ``depth`` runs from 0 (base) to 1 (apex). Everything random is drawn first, into an :class:`Anatomy`;
:func:`tissues` is a pure function of that record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
"""Classes and their values, as in Dataset027_ACDC."""

TISSUES = ("lung", "organ", "fat", "aorta", "free_wall", "rv", "rv_muscle", "myocardium", "lv", "lv_muscle")
"""What the scanner sees; the value of a tissue is its place in this list."""

TISSUE_LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 2, 3, 3], dtype=np.uint8)
"""The class of each tissue. Trabeculae and papillary muscles belong to the cavity, as in ACDC's reference."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Anatomy:
    """One heart in one phase.

    Attributes:
        center: middle of the left ventricle at the base, (y, x) from the middle of the image, mm.
        drift: how far that middle has moved at the apex, (y, x), mm.
        cavity: radius of the left ventricle's cavity at the base, mm.
        wall: thickness of its wall at the base, mm.
        taper: how fast the radius falls, ``sqrt(1 - (taper * depth)^2)``.
        shift: part of the long axis by which the base has moved into the stack (systole).
        wobble: amplitudes of the second and third harmonic of the contour and their angles.
        septum: direction from the left to the right ventricle.
        rv_reach: how far the right ventricle reaches beyond the wall, mm.
        rv_height: half its height as a fraction of the outer radius of the left ventricle.
        rv_end: depth at which the right ventricle ends.
        papillary: angles of the two papillary muscles.
        papillary_radius: their radius as a fraction of the cavity's.
        aorta: middle and radius of the descending aorta, (y, x, radius), mm.
    """

    center: tuple[float, float]
    drift: tuple[float, float]
    cavity: float
    wall: float
    taper: float
    shift: float
    wobble: tuple[float, float, float, float]
    septum: float
    rv_reach: float
    rv_height: float
    rv_end: float
    papillary: tuple[float, float]
    papillary_radius: float
    aorta: tuple[float, float, float]


@dataclass(frozen=True)
class Surroundings:
    """Where things lie that no label describes, each (Y, X) of bool.

    Attributes:
        organs: organs behind the heart: below the diaphragm, along the chest wall, blobs in the lung.
        fat: where the heart would be covered by fat.
        trabeculae: where a cavity near its wall would hold muscle strands.
    """

    organs: NDArray[np.bool_]
    fat: NDArray[np.bool_]
    trabeculae: NDArray[np.bool_]


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a heart at the end of diastole.

    Example:
        >>> draw_anatomy(np.random.default_rng(1)) == draw_anatomy(np.random.default_rng(1))
        True
    """
    septum = np.pi + rng.uniform(-0.55, 0.35)
    return Anatomy(
        center=(rng.uniform(-5, 5), rng.uniform(3, 11)),
        drift=(rng.uniform(-3, 6), rng.uniform(-6, 3)),
        cavity=rng.uniform(16, 21),
        wall=rng.uniform(6.5, 9.5),
        taper=rng.uniform(0.84, 0.96),
        shift=0.0,
        wobble=(rng.uniform(0.0, 0.06), rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.03), rng.uniform(0, 2 * np.pi)),
        septum=septum,
        rv_reach=rng.uniform(14, 20),
        rv_height=rng.uniform(0.85, 1.05),
        rv_end=rng.uniform(0.75, 0.95),
        papillary=(septum + rng.uniform(1.7, 2.3), septum - rng.uniform(1.7, 2.3)),
        papillary_radius=rng.uniform(0.12, 0.2),
        aorta=(rng.uniform(30, 38), rng.uniform(24, 34), rng.uniform(7, 9)),
    )


def contract(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Return the same heart at the end of systole: smaller cavities, thicker wall, the base drawn to the apex."""
    squeeze = rng.uniform(0.62, 0.8)
    return replace(
        anatomy,
        cavity=anatomy.cavity * squeeze,
        wall=anatomy.wall * rng.uniform(1.2, 1.4),
        shift=rng.uniform(0.04, 0.1),
        rv_reach=anatomy.rv_reach * rng.uniform(0.6, 0.8),
        papillary_radius=anatomy.papillary_radius * 1.2,
    )


def tissues(anatomy: Anatomy, around: Surroundings, y: Floats, x: Floats, depth: float) -> NDArray[np.uint8]:
    """Return which tissue lies at each point of one slice.

    Args:
        anatomy: the heart.
        around: what surrounds it, arrays of the shape of ``y``.
        y: row coordinate of each point from the middle of the image, mm.
        x: column coordinate, mm.
        depth: position of the slice, 0 at the base and 1 at the apex.

    Returns:
        Indices into :data:`TISSUES`, shape of ``y``.
    """
    depth = min(depth * (1 - anatomy.shift) + anatomy.shift, 1.0)
    dy = y - anatomy.center[0] - depth * anatomy.drift[0]
    dx = x - anatomy.center[1] - depth * anatomy.drift[1]
    radius, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    cavity = _cavity_radius(anatomy, depth) * _outline(anatomy, angle)
    outer = cavity + anatomy.wall * (1 - 0.35 * depth)
    right = _right_ventricle(anatomy, dy, dx, depth)
    muscle = _papillary(anatomy, dy, dx, depth) | (around.trabeculae & (radius > 0.8 * cavity))
    layers = (
        ("organ", around.organs),
        ("aorta", np.hypot(y - anatomy.aorta[0], x - anatomy.aorta[1]) < anatomy.aorta[2]),
        ("fat", ((radius < outer + 4.0) | (right < 1.3)) & around.fat),
        ("free_wall", right < 1.12),
        ("rv", right < 1.0),
        ("rv_muscle", (right < 1.0) & (right > 0.7) & around.trabeculae),
        ("myocardium", radius < outer),
        ("lv", radius < cavity),
        ("lv_muscle", (radius < cavity) & muscle),
    )
    found = np.zeros(y.shape, dtype=np.uint8)
    for name, inside in layers:
        found[inside] = TISSUES.index(name)
    return found


def draw_surroundings(rng: np.random.Generator, y: Floats, x: Floats) -> Surroundings:
    """Draw what surrounds a heart on points whose rows and columns are ``y`` and ``x``, mm.

    Example:
        >>> y, x = np.mgrid[-48:48, -48:48].astype(float)
        >>> around = draw_surroundings(np.random.default_rng(0), y, x)
        >>> bool(around.organs[90:].mean() > around.organs[:20].mean())
        True
    """
    blobs, patches, strands = (_field(rng, y, width) for width in (6.0, 8.0, 1.6))
    diaphragm = 21 + rng.uniform(-5, 7) + 0.006 * (x - rng.uniform(-10, 10)) ** 2
    chest = -40 + rng.uniform(-3, 7) - 0.2 * y
    organs = (y + 3 * blobs > diaphragm) | (x + 2 * blobs < chest) | (blobs > 1.7)
    return Surroundings(organs, patches > -0.1, strands > 1.0)


def _field(rng: np.random.Generator, y: Floats, width: float) -> Floats:
    """Return a smooth random field of unit variance on the points ``y``; ``width`` of the smoothing in mm."""
    field = gaussian_filter(rng.standard_normal(y.shape), width / abs(float(y[1, 0] - y[0, 0])))
    smooth: Floats = field / field.std()
    return smooth


def _cavity_radius(anatomy: Anatomy, depth: float) -> float:
    return anatomy.cavity * float(np.sqrt(1 - (anatomy.taper * depth) ** 2))


def _outline(anatomy: Anatomy, angle: Floats) -> Floats:
    second, at_second, third, at_third = anatomy.wobble
    return 1 + second * np.cos(2 * (angle - at_second)) + third * np.cos(3 * (angle - at_third))


def _right_ventricle(anatomy: Anatomy, dy: Floats, dx: Floats, depth: float) -> Floats:
    """Return the normalised radius in the right ventricle's ellipse (below 1 inside, infinite where it has ended)."""
    if depth >= anatomy.rv_end:
        return np.full(dy.shape, np.inf)
    size = float(np.sqrt(1 - (depth / anatomy.rv_end) ** 2))
    outer = _cavity_radius(anatomy, depth) + anatomy.wall * (1 - 0.35 * depth)
    middle = 0.5 * outer
    along = dx * np.cos(anatomy.septum) + dy * np.sin(anatomy.septum)
    across = dy * np.cos(anatomy.septum) - dx * np.sin(anatomy.septum)
    return np.hypot(
        (along - middle) / (outer + anatomy.rv_reach * size - middle),
        across / (anatomy.rv_height * outer * (0.5 + 0.5 * size)),
    )


def _papillary(anatomy: Anatomy, dy: Floats, dx: Floats, depth: float) -> NDArray[np.bool_]:
    """Return where the two papillary muscles lie: attached to the wall between a quarter and most of the depth."""
    inside = np.zeros(dy.shape, dtype=bool)
    if not 0.2 < depth < 0.8:
        return inside
    cavity = _cavity_radius(anatomy, depth)
    for angle in anatomy.papillary:
        at_y, at_x = 0.68 * cavity * np.sin(angle), 0.68 * cavity * np.cos(angle)
        inside |= np.hypot(dy - at_y, dx - at_x) < anatomy.papillary_radius * cavity
    return inside
