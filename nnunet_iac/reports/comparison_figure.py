"""The picture of a comparison: every patient's difference to the control, their mean and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nnunet_iac.reports.canvas import INK, MUTED, new_figure, png_bytes, style_axes, title_axes
from nnunet_iac.reports.comparison import Comparison, metric_title
from nnunet_iac.statistics.paired import Interval
from nnunet_iac.statistics.patients import METRICS, Metric

BETTER, WORSE = "#28348f", "#d1495b"


@dataclass(frozen=True, eq=False)
class Differences:
    """What one panel shows; one entry for each arm but the control.

    Attributes:
        title: the metric with its unit.
        control: name of the control.
        arms: names.
        patients: differences ``(p,)`` of the patients to the control.
        means: mean of each.
        intervals: their 95 % intervals.
        of_runs: the same over patients and runs, or None.
        loss: where the margin lies: the difference that would be too bad.
        sign: +1 where higher is better, -1 where lower is.
    """

    title: str
    control: str
    arms: tuple[str, ...]
    patients: tuple[NDArray[np.float64], ...]
    means: tuple[float, ...]
    intervals: tuple[Interval, ...]
    of_runs: tuple[Interval | None, ...]
    loss: float
    sign: int


def differences_data(comparison: Comparison, metric: Metric) -> Differences:
    """Return the differences of the mean over classes."""
    control, *others = comparison.main_rows(metric)
    tested = [(row, row.result) for row in others if row.result is not None]
    sign = 1 if metric == "dice" else -1
    return Differences(
        title=metric_title(comparison, metric),
        control=control.arm,
        arms=tuple(row.arm for row, _ in tested),
        patients=tuple(row.differences for row, _ in tested),
        means=tuple(result.difference for _, result in tested),
        intervals=tuple(result.interval for _, result in tested),
        of_runs=tuple(row.of_runs for row, _ in tested),
        loss=-sign * tested[0][1].margin,
        sign=sign,
    )


def draw_differences(record: Differences, ax: Axes) -> None:
    """Draw a dot for each patient, a bar for the mean's interval (thin: with runs), the margin as a broken line."""
    style_axes(ax)
    ax.grid(True, axis="x", color="#e6e9ee", linewidth=0.6)
    ax.grid(False, axis="y")
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.axvline(record.loss, color=WORSE, linewidth=1, linestyle=(0, (4, 3)))
    for row, (values, mean, interval) in enumerate(zip(record.patients, record.means, record.intervals, strict=True)):
        colours = np.select([record.sign * values > 0, record.sign * values < 0], [BETTER, WORSE], MUTED)
        # Heights only keep dots apart; the same differences give the same picture.
        heights = row + 0.16 + np.random.default_rng(row).uniform(0, 0.24, len(values))
        ax.scatter(values, heights, s=14, c=colours, alpha=0.55, linewidth=0)
        ax.plot([interval.low, interval.high], [row, row], color=INK, linewidth=2.2, solid_capstyle="butt")
        if (wide := record.of_runs[row]) is not None:
            ax.plot([wide.low, wide.high], [row, row], color=INK, linewidth=0.8)
        ax.plot([mean], [row], marker="D", color=INK, markersize=6)
        ax.annotate(f"{mean:+.2f}", (mean, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    ax.set_yticks(range(len(record.arms)), labels=list(record.arms), fontsize=9, color=INK, parse_math=False)
    ax.set_ylim(len(record.arms) - 0.35, -0.45)
    ax.tick_params(axis="y", length=0)
    side = "higher" if record.sign > 0 else "lower"
    ax.set_xlabel(f"difference to {record.control}, {side} is better", fontsize=8, color=MUTED, parse_math=False)
    title_axes(ax, record.title, f"margin {record.loss:+g}", WORSE)


def comparison_png(comparison: Comparison) -> bytes:
    """Return the panels of both metrics side by side as a PNG file."""
    records = [differences_data(comparison, metric) for metric in METRICS]
    figure = new_figure(11, 1.3 + 0.85 * len(records[0].arms))
    for index, (record, ax) in enumerate(zip(records, figure.subplots(1, len(records)), strict=True)):
        draw_differences(record, ax)
        if index:
            ax.tick_params(labelleft=False)
    return png_bytes(figure)
