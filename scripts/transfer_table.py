"""The table and the picture of ``bench_transfer.py``, from the Dice of each epoch of each search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transfer_study import SCRATCH, Study

from nnunet_iac.markdown import table_text

COLOURS = ("#22272e", "#28348f", "#e09f00", "#117733", "#9c2f55", "#3a8fb7", "#7a5195")
"""Of the arms in the picture, in their order; the scratch search is black."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """What a search did.

    Attributes:
        dice: of its network after each epoch, on validation cases; NaN where it was not measured.
        seconds: wall-clock, without that of the Dice.
        decided: edges.
        edges: of how many.
    """

    dice: Sequence[float]
    seconds: float
    decided: int
    edges: int


@dataclass(frozen=True)
class Curves:
    """Dice over epochs of one arm; epochs are counted from 1.

    Attributes:
        arm: its name.
        seeds: of each seed, in as many epochs as it had.
        mean: over the seeds, as long as all of them went on.
    """

    arm: str
    seeds: Sequence[Sequence[float]]
    mean: Sequence[float]


def smoothed(dice: Sequence[float], window: int) -> NDArray[np.float64]:
    """Return for each epoch the mean of the last ``window`` values there were up to it; NaN before the first.

    Example:
        >>> smoothed([float("nan"), 0.25, 0.5, 1.0], window=2).tolist()
        [nan, 0.25, 0.375, 0.75]
    """
    values = np.asarray(dice, dtype=float)
    return np.array([_mean(values[: t + 1], window) for t in range(len(values))])


def epochs_to(dice: Sequence[float], final: float, window: int) -> int | None:
    """Return how many epochs a search needed to get up to ``final``, warm-up counted; None if it never did.

    Example:
        >>> epochs_to([0.25, 0.5, 1.0], 0.75, window=2), epochs_to([0.5], 0.75, window=2)
        (3, None)
    """
    reached = np.flatnonzero(smoothed(dice, window) >= final)
    return int(reached[0]) + 1 if len(reached) else None


def rows_of(study: Study, searches: Mapping[tuple[str, int], Search], window: int) -> list[Row]:
    """Return one record for each arm and seed."""
    rows = []
    for seed in study.seeds:
        scratch = searches[SCRATCH, seed]
        final = float(smoothed(scratch.dice, window)[-1])
        own, total = epochs_to(scratch.dice, final, window), len(scratch.dice)
        for arm in study.arms:
            found = searches[arm, seed]
            values, needed = smoothed(found.dice, window), epochs_to(found.dice, final, window)
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "epochs": len(found.dice),
                    "decided_edges": found.decided,
                    "edges": found.edges,
                    "seconds": found.seconds,
                    "first_dice": float(values[np.isfinite(values)][0]),
                    "last_dice": float(values[-1]),
                    "epochs_to_scratch": needed,
                    "ratio_own": own / needed if own and needed else None,
                    "ratio_total": total / needed if needed else None,
                    "dice": [float(value) if np.isfinite(value) else None for value in found.dice],
                }
            )
    return rows


def markdown(rows: Sequence[Row], study: Study, window: int) -> str:
    """Return the table and a sentence for each arm."""
    about = (
        f"{study.dataset} {study.configuration}, fold {study.fold}. nnU-Net's pseudo Dice of the searched network on "
        f"the fold's validation cases, mean of {window} epochs. N: epochs to scratch's last Dice of the seed; S: those "
        "of scratch itself.\n"
    )
    head = ["arm", "seed", "epochs (decided)", "seconds", "Dice at first", "at last", "N", "S / N"]
    body = []
    for row in rows:
        needed = row["epochs_to_scratch"]
        cells = [row["arm"], str(row["seed"]), f"{row['epochs']} ({row['decided_edges']}/{row['edges']})"]
        cells += [f"{row['seconds']:.0f}", f"{row['first_dice']:.4f}", f"{row['last_dice']:.4f}"]
        cells += ["-" if needed is None else str(needed), _number(row["ratio_own"]), _number(row["ratio_total"])]
        body.append(cells)
    table = table_text([*head, "scratch's all epochs / N"], body)
    return "\n".join([about, table, "", *(_sentence(rows, arm) for arm in study.sources)])


def curves_of(rows: Sequence[Row]) -> list[Curves]:
    """Return what :func:`draw` draws, the arms in the order of the rows."""
    curves = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        seeds = [[np.nan if d is None else d for d in row["dice"]] for row in rows if row["arm"] == arm]
        common = min(map(len, seeds))
        curves.append(Curves(arm, seeds, np.mean([dice[:common] for dice in seeds], axis=0).tolist()))
    return curves


def draw(curves: Sequence[Curves], study: Study, path: Path) -> None:
    """Draw Dice over epochs into a PNG file: each seed thin, the mean over seeds thick."""
    from matplotlib.ticker import MaxNLocator

    from nnunet_iac.atomic import write_bytes
    from nnunet_iac.reports.canvas import MUTED, new_figure, png_bytes, style_axes, title_axes

    figure = new_figure(7, 4)
    ax = figure.subplots()
    style_axes(ax)
    for index, arm in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        for dice in arm.seeds:
            ax.plot(range(1, len(dice) + 1), dice, color=colour, linewidth=0.7, alpha=0.4)
        ax.plot(range(1, len(arm.mean) + 1), arm.mean, color=colour, linewidth=2, label=arm.arm)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch of the search", fontsize=8, color=MUTED)
    title_axes(ax, "Dice of the searched network, validation cases", f"{study.dataset} {study.configuration}")
    ax.legend(fontsize=8, frameon=False, labelcolor="linecolor")
    write_bytes(path, png_bytes(figure))


def _sentence(rows: Sequence[Row], arm: str) -> str:
    own = [row for row in rows if row["arm"] == arm]
    reached = [row for row in own if row["epochs_to_scratch"] is not None]
    words = "never as good"
    if reached:
        ratios = (float(np.median([row[key] for row in reached])) for key in ("ratio_own", "ratio_total"))
        words = "{:.1f} times fewer epochs than scratch needed itself, {:.1f} than it ran (medians)".format(*ratios)
    return f"\n{arm}: in {len(reached)} of {len(own)} seeds as good as scratch's end, {words}."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _mean(dice: NDArray[np.float64], window: int) -> float:
    known = dice[np.isfinite(dice)][-window:]
    return float(known.mean()) if len(known) else float("nan")
