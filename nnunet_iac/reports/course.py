"""The course of a search: active operations, losses, seconds and, where it was measured, Dice of each epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.reports.canvas import INK, MUTED, style_axes, title_axes
from nnunet_iac.reports.names import colour_of, duration
from nnunet_iac.reports.trace import SearchTrace

WEIGHT_COLOUR, ARCH_COLOUR, TIME_COLOUR, DICE_COLOUR = "#28348f", "#e09f00", "#117733", "#9c2f55"


@dataclass(frozen=True, eq=False)
class Losses:
    """Mean loss of each epoch: of weights on their part of the data, of architecture parameters on theirs.

    Attributes:
        epochs: ``(T,)``.
        weight: ``(T,)``.
        arch: ``(T,)``, NaN where architecture parameters were not trained.
    """

    epochs: NDArray[np.int64]
    weight: NDArray[np.float64]
    arch: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EpochSeconds:
    """Wall-clock of each epoch, ``(T,)`` each."""

    epochs: NDArray[np.int64]
    seconds: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ActiveOperations:
    """Active operations of all cells over epochs.

    Attributes:
        epochs: ``(T,)``.
        by_operation: ``(T, 8)``, on how many edges an operation is active.
        total: ``(T,)``, as the search counted them.
        edges: edges of all cells: the least number of active operations.
    """

    epochs: NDArray[np.int64]
    by_operation: NDArray[np.int64]
    total: NDArray[np.int64]
    edges: int


@dataclass(frozen=True, eq=False)
class SearchDice:
    """Mean Dice of the network on validation cases after each epoch.

    Attributes:
        epochs: ``(T,)``.
        dice: ``(T,)``, NaN where it was not measured.
    """

    epochs: NDArray[np.int64]
    dice: NDArray[np.float64]

    @property
    def is_known(self) -> bool:
        """Whether it was measured at all."""
        return bool(np.isfinite(self.dice).any())


def losses_data(trace: SearchTrace) -> Losses:
    """Return what :func:`draw_losses` draws."""
    return Losses(trace.epochs, trace.weight_loss, trace.arch_loss)


def search_dice_data(trace: SearchTrace) -> SearchDice:
    """Return what :func:`draw_search_dice` draws."""
    return SearchDice(trace.epochs, trace.dice)


def epoch_seconds_data(trace: SearchTrace) -> EpochSeconds:
    """Return what :func:`draw_epoch_seconds` draws."""
    return EpochSeconds(trace.epochs, trace.seconds)


def active_operations_data(trace: SearchTrace) -> ActiveOperations:
    """Return what :func:`draw_active_operations` draws."""
    return ActiveOperations(
        epochs=trace.epochs,
        by_operation=trace.mask.sum(axis=(1, 2)),
        total=trace.active_operations,
        edges=trace.groups * len(trace.edges),
    )


def draw_losses(record: Losses, ax: Axes) -> None:
    """Draw both losses over epochs."""
    _prepare(record.epochs, ax)
    marker = "." if len(record.epochs) < 3 else None
    ax.plot(record.epochs, record.weight, color=WEIGHT_COLOUR, linewidth=1.5, marker=marker, label="weights")
    if np.isfinite(record.arch).any():
        ax.plot(record.epochs, record.arch, color=ARCH_COLOUR, linewidth=1.5, marker=marker, label="architecture")
    ax.legend(fontsize=8, frameon=False, labelcolor="linecolor")
    title_axes(ax, "loss")


def draw_search_dice(record: SearchDice, ax: Axes) -> None:
    """Draw the Dice over epochs, with the last one in the title."""
    _prepare(record.epochs, ax)
    known = np.isfinite(record.dice)
    ax.plot(record.epochs[known], record.dice[known], color=DICE_COLOUR, linewidth=1.5, marker=".", markersize=3)
    title_axes(ax, "Dice, validation cases", f"{record.dice[known][-1]:.3f}" if record.is_known else "not measured")


def draw_epoch_seconds(record: EpochSeconds, ax: Axes) -> None:
    """Draw the seconds of each epoch: pruned operations are not executed, so they fall."""
    _prepare(record.epochs, ax)
    edges = np.append(record.epochs, record.epochs[-1] + 1) - 0.5
    ax.stairs(record.seconds, edges, fill=True, color=TIME_COLOUR, alpha=0.25)
    ax.stairs(record.seconds, edges, baseline=None, color=TIME_COLOUR, linewidth=1.4)
    highest = np.nan_to_num(record.seconds).max()
    ax.set_ylim(0, 1.08 * highest if highest > 0 else 1)
    title_axes(ax, "seconds per epoch", f"{duration(float(record.seconds.sum()))} in all")


def draw_active_operations(record: ActiveOperations, ax: Axes) -> None:
    """Draw the number of active operations as steps, stacked by operation, with the total above."""
    _prepare(record.epochs, ax)
    edges = np.append(record.epochs, record.epochs[-1] + 1) - 0.5
    below = np.zeros(len(record.epochs))
    for index in range(len(OPERATIONS)):
        above = below + record.by_operation[:, index]
        ax.stairs(above, edges, baseline=below, fill=True, color=colour_of(index), alpha=0.9, linewidth=0)
        below = above
    ax.stairs(record.total, edges, baseline=None, color=INK, linewidth=1.4)
    ax.axhline(record.edges, color=INK, linewidth=0.9, linestyle=":")
    ax.set_ylim(0, max(1.0, 1.06 * float(record.total.max())))
    title_axes(ax, "active operations", f"{record.total[0]} → {record.total[-1]}")


def _prepare(epochs: NDArray[np.int64], ax: Axes) -> None:
    style_axes(ax)
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel("epoch", fontsize=8, color=MUTED)
