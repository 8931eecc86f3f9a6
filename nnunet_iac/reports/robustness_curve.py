"""The picture of a watched pretraining: robustness loss by epoch, random weights first."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nnunet_iac.reports.canvas import INK, MUTED, new_figure, png_bytes, style_axes, title_axes

CURVE, BEST = "#28348f", "#d1495b"


def draw_robustness(losses: Sequence[float], best: int, ax: Axes) -> None:
    """Draw the losses of epochs 0, 1, ... and mark the epoch whose weights were kept.

    Args:
        losses: of epoch 0 (random weights), 1, ...
        best: the epoch that was kept.
        ax: where to draw.
    """
    style_axes(ax)
    ax.axhline(losses[0], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    ax.annotate(
        "random weights", (len(losses) - 1, losses[0]), (0, 4), textcoords="offset points", ha="right", fontsize=8
    )
    ax.plot(range(len(losses)), losses, color=CURVE, linewidth=1.6, marker=".", markersize=5)
    ax.plot([best], [losses[best]], marker="o", markersize=8, color=BEST, zorder=3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch of pretraining", fontsize=8, color=INK)
    title_axes(ax, "robustness loss on the target (lower is more robust)", f"kept: epoch {best}", BEST)


def robustness_png(losses: Sequence[float], best: int) -> bytes:
    """Return the picture as a PNG file."""
    figure = new_figure(7, 3.2)
    draw_robustness(losses, best, figure.subplots())
    return png_bytes(figure)
