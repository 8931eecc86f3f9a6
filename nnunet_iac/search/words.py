"""What a search says: the line of an epoch, how it ended, what its selection by removal and its auxiliary skip left."""

from __future__ import annotations

from collections.abc import Mapping

from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.search.drawing import Drawing
from nnunet_iac.search.plan import SearchPlan, Selection
from nnunet_iac.search.removal import Removal
from nnunet_iac.search.run import Run
from nnunet_iac.search.trace import EpochRecord

CHOSEN: Mapping[Selection, str] = {
    "weights": "the argmax of the weights",
    "removal": "the best by removal",
    "draw": "drawn by lot",
}
"""What the genotype of an undecided search is."""

ARGMAX = " Such an argmax may lean to some operations; search.select=draw lets chance choose instead."
"""What is said of it where the weights chose."""


def epoch_lines(run: Run, record: EpochRecord, epochs: int) -> list[str]:
    """Return what is said of an epoch: where the search stands, then every operation that was pruned."""
    dice = "" if record.dice is None else f", Dice {record.dice:.4f}"
    lines = [f"search: epoch {run.epoch} of {epochs}, {summary(run)}{dice}"]
    for group, edge, operation in run.decision.pruned:
        node, source = edges_of(run.cells.shape.nodes)[edge]
        lines.append(f"search: pruned {OPERATIONS[operation]} from edge {source} -> node {node} of cell {group}")
    return lines


def summary(run: Run) -> str:
    """Return how many operations are active and edges decided."""
    decided = run.decision.decided
    return f"{int(run.decision.mask.sum())} operations active, {int(decided.sum())} of {decided.numel()} edges decided"


def ending(run: Run, plan: SearchPlan, undecided: int, drawn: int | None = None) -> str:
    """Return how the search ended.

    Args:
        run: that ended.
        plan: how it searched.
        undecided: how many edges are.
        drawn: how many operations the lot chose, None where it was not asked.
    """
    edges = run.decision.decided.numel()
    if undecided == 0:
        return f"All {edges} edges were decided after {run.epoch} of {plan.epochs} epochs."
    why = f" (no progress in the last {plan.rule.plateau})" if run.decision.stop else ""
    best = CHOSEN[plan.select if drawn is None or drawn else "weights"]
    return (
        f"The search ended undecided: {undecided} of {edges} edges had no operation clearly ahead after "
        f"{run.epoch} of {plan.epochs} epochs{why}. The genotype is {best}, not a finding: "
        "compare it with random cells before you rely on it, or search with more search.iterations."
        + (ARGMAX if plan.select == "weights" else "")
    )


def auxiliary_skip_left(run: Run, plan: SearchPlan) -> str:
    """Return in words that the search ended before its auxiliary skip was gone; nothing if it is, or there is none."""
    left = plan.auxiliary_skip_at(run.epoch)
    if left == 0:
        return ""
    return (
        f"The auxiliary skip (search.auxiliary_skip) did not fade out: {left:.2f} of it was left when the search ended "
        f"after {run.epoch} of {plan.epochs} epochs. The operations were weighed beside a connection that the found "
        "cells do not have; with search.prune=false the search goes on until it is gone."
    )


def selected_by_removal(removal: Removal) -> str:
    """Return in words how operations and inputs were selected by removal."""
    nodes = int((~removal.input_p.isnan()).sum())
    return (
        f"Selected by removal on {removal.batches} held-out batches: the operations of the {removal.asked} edges that "
        f"their weights had not decided ({int(removal.decided.sum())} decided by removal) and the inputs of {nodes} "
        f"nodes ({int(removal.decided_inputs.sum())} decided). Without one operation the loss of {removal.loss:.4f} "
        f"rose by {removal.largest:.1e} at most."
    )


def selected_by_lot(drawing: Drawing) -> str:
    """Return in words among how many operations edges were drawn; nothing if no edge was."""
    among = drawing.candidates[drawing.candidates > 1]
    if not drawing.drawn:
        return ""
    fewest, most = int(among.min()), int(among.max())
    return (
        f"The operations of {drawing.drawn} candidate edges were drawn, each among the {fewest} to {most} whose "
        "distance to the first is within what chance gives; nodes keep the inputs that they have without the draw."
    )
