"""Figures without pyplot: no global state, no window system, the same look for every plot."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#22272e"
MUTED = "#6b7480"
RULE = "#d5dae1"

DOTS_PER_INCH = 130


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches with an Agg canvas of its own."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as a PNG file; equal figures give equal bytes with one version of matplotlib."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def style_axes(ax: Axes) -> None:
    """Give axes the look of the report: light frame, faint horizontal rules, small ticks."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(RULE)
    ax.tick_params(labelsize=8, colors=MUTED, length=3, color=RULE)
    ax.grid(True, axis="y", color=RULE, linewidth=0.6, alpha=0.7)
    ax.set_axisbelow(True)


def title_axes(ax: Axes, text: str, note: str = "", note_colour: str = MUTED) -> None:
    """Put a title at the left of the axes and a short note at the right, both above them."""
    ax.set_title(text, loc="left", fontsize=9, fontweight="bold", color=INK, pad=4, parse_math=False)
    if note:
        ax.set_title(note, loc="right", fontsize=8, color=note_colour, pad=4, parse_math=False)


def text_colour_on(red: float, green: float, blue: float) -> str:
    """Return white or ink, whichever is legible on a colour with components in [0, 1].

    Example:
        >>> text_colour_on(0.1, 0.1, 0.3), text_colour_on(0.9, 0.9, 0.5)
        ('white', '#22272e')
    """
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
