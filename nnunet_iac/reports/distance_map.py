"""The picture of distances among data sets: a heat map with the numbers in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from nnunet_iac.reports.canvas import INK, new_figure, png_bytes, text_colour_on, title_axes

COLOURS = "viridis_r"


def draw_distances(values: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str, ax: Axes) -> None:
    """Draw a cell for each pair, light for the nearest, dark for the furthest; what is not finite stays white.

    Args:
        values: ``(rows, columns)``.
        rows: names, sources.
        columns: names, targets.
        title: what is shown.
        ax: where to draw.
    """
    table = np.asarray(values, dtype=float)
    table = np.where(np.isfinite(table), table, np.nan)
    known = table[np.isfinite(table)]
    ends = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)
    image = ax.imshow(table, aspect="auto", cmap=COLOURS, norm=ends)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            colour = text_colour_on(red, green, blue)
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(columns)), list(columns), rotation=30, ha="right", fontsize=8, color=INK, parse_math=False)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=8, color=INK, parse_math=False)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    title_axes(ax, title)


def distances_png(values: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str) -> bytes:
    """Return the heat map as a PNG file."""
    figure = new_figure(max(6.5, 2.6 + 0.9 * len(columns)), 1.6 + 0.5 * len(rows))
    draw_distances(values, rows, columns, title, figure.subplots())
    return png_bytes(figure)
