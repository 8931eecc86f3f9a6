"""Dice of the searched model against its host, drawn: bars for each class, pairs of cases."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from nnunet_iac.reports.canvas import INK, MUTED, style_axes, title_axes
from nnunet_iac.reports.scores import DiceByCase, DiceByClass

OURS_COLOUR, HOST_COLOUR = "#28348f", "#b9c2cf"
CLASS_COLOURS = ("#28348f", "#e09f00", "#117733", "#e0607e", "#3d9be0", "#8a1c4f", "#52b788", "#7b5ea7")
"""Colours of series, at least :data:`nnunet_iac.reports.scores.SERIES`."""


def draw_dice_by_class(record: DiceByClass, ax: Axes) -> None:
    """Draw horizontal bars: this model above the host, the value and the difference at their ends."""
    style_axes(ax)
    ax.grid(False)
    rows = np.arange(len(record.rows))
    paired = record.host is not None
    height = 0.38 if paired else 0.6
    ax.barh(rows - (0.2 if paired else 0), record.ours, height, color=OURS_COLOUR, label="with cells")
    if record.host is not None:
        ax.barh(rows + 0.2, record.host, height, color=HOST_COLOUR, label="host")
        for row, value in enumerate(record.host):
            ax.text(_end(value), row + 0.2, f"{value:.3f}", va="center", fontsize=8, color=MUTED)
    for row, value in enumerate(record.ours):
        change = "" if record.host is None else f"  ({value - record.host[row]:+.3f})"
        ax.text(_end(value), row - (0.2 if paired else 0), f"{value:.3f}{change}", va="center", fontsize=8, color=INK)
    ax.set_yticks(rows, labels=list(record.rows), fontsize=9, color=INK, parse_math=False)
    ax.axhline(len(rows) - 1.5, color=MUTED, linewidth=0.8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.3)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.spines["bottom"].set_bounds(0, 1)
    ax.tick_params(axis="y", length=0)
    title_axes(ax, "mean Dice of each class")
    if paired:
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=2, fontsize=8, frameon=False)


def draw_dice_by_case(record: DiceByCase, ax: Axes) -> None:
    """Draw host against this model: a dot above the diagonal is a case that the cells improve."""
    style_axes(ax)
    ax.grid(True, color="#e6e9ee", linewidth=0.6)
    values = np.concatenate([column for _, host, ours in record.series for column in (host, ours)])
    low = float(np.floor(values.min() * 20) / 20) if len(values) else 0.0
    low = min(max(low, 0.0), 0.95)
    margin = 0.03 * (1 - low)
    ax.fill_between([low - margin, 1 + margin], [low - margin, 1 + margin], 1 + margin, color="#28348f", alpha=0.05)
    ax.plot([low - margin, 1 + margin], [low - margin, 1 + margin], color=MUTED, linewidth=1)
    for (name, host, ours), colour in zip(record.series, CLASS_COLOURS, strict=False):
        ax.scatter(host, ours, s=26, color=colour, alpha=0.8, edgecolor="white", linewidth=0.6, label=_plain(name))
    ax.set_xlim(low - margin, 1 + margin)
    ax.set_ylim(low - margin, 1 + margin)
    ax.set_aspect("equal")
    ax.text(0.03, 0.97, "better with cells", transform=ax.transAxes, va="top", fontsize=8, color="#28348f")
    ax.text(0.97, 0.03, "better without", transform=ax.transAxes, ha="right", fontsize=8, color=MUTED)
    ax.set_xlabel("Dice of the host", fontsize=8, color=MUTED)
    ax.set_ylabel("Dice with cells", fontsize=8, color=MUTED)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    title_axes(ax, "Dice of each case")


def _end(value: float) -> float:
    return (value if np.isfinite(value) else 0.0) + 0.012


def _plain(name: str) -> str:
    # Legends parse mathematics and hide labels that start with an underscore.
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
