"""The search itself: epochs of weight and architecture steps, pruning by stability, a file for every epoch.

Knows no nnU-Net: it takes a :class:`~nnunet_iac.cells.network.CellUNet` whose cells are mixed, a loss, and two
endless streams of batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from tqdm import tqdm

from nnunet_iac.cells.discretise import discretise
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search import ranks
from nnunet_iac.search.bilevel import Batch, Loss, Precision
from nnunet_iac.search.drawing import draw
from nnunet_iac.search.epoch import run_epoch
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.removal import Removal
from nnunet_iac.search.removal_losses import measure_removals
from nnunet_iac.search.run import Run, start_run
from nnunet_iac.search.state import load_state, save_state
from nnunet_iac.search.trace import EpochRecord, append_record, truncate_records
from nnunet_iac.search.words import (
    auxiliary_skip_left,
    ending,
    epoch_lines,
    selected_by_lot,
    selected_by_removal,
    summary,
)

TRACE = "search.jsonl"
STATE = "search_state.pt"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        genotype: two edges for each node; where ``status`` is ``undecided`` it is no finding, but the argmax or what
            ``search.select`` says.
        status: ``decided`` if every edge was decided, by weights or by removal, else ``undecided``.
        message: the same in words.
        epochs: epochs that were run.
        seconds: their wall-clock, all sessions of a resumed search together, and that of the selection by removal.
        decided_edges: how many edges were decided.
        edges: of how many.
        removal: what removals said, None if the plan selects by weights.
    """

    genotype: Genotype
    status: Literal["decided", "undecided"]
    message: str
    epochs: int
    seconds: float
    decided_edges: int
    edges: int
    removal: Removal | None = None


BatchSource = Callable[[int], Iterator[Batch]]
"""Given how many batches were drawn already, the stream that goes on from there."""


def run_search(
    network: CellUNet,
    loss: Loss,
    weight_batches: BatchSource,
    architecture_batches: BatchSource,
    plan: SearchPlan,
    folder: Path,
    *,
    device: torch.device,
    identity: dict[str, Any] | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
    variation: torch.Tensor | None = None,
    dice: Callable[[], float] | None = None,
) -> SearchResult:
    """Search for a genotype.

    The network must carry :class:`~nnunet_iac.cells.mixed.MixedCells` and lie on ``device``; in mode ``frozen``
    its host must not require gradients. After every epoch one line goes to ``search.jsonl`` and the whole state to
    ``search_state.pt`` in ``folder``. A resumed search gives the genotype of an uninterrupted one, bit for bit,
    where the batches do (CPU, same machine). Several processes under ``torch.distributed`` search together, each with
    its part of every batch: see :mod:`nnunet_iac.search.ranks`.

    Args:
        network: host with mixed cells.
        loss: ``loss(output, target)``.
        weight_batches: batches for the weights.
        architecture_batches: batches for the architecture, from other patients.
        plan: how to search.
        folder: existing folder for the two files.
        device: where to compute.
        identity: what else the search depends on (host, data ...); a resumed search must agree.
        resume: go on from ``search_state.pt`` if it exists.
        log: receives lines for people.
        variation: squared steps that the logits took before this search, ``(G, E, O)``: where they start from another
            search their leads are as much chance as they were there. None for none.
        dice: measures the network after every epoch, for the trace alone, and leaves it and all random states as they
            are; NaN where it says nothing. An epoch's seconds are without it. None measures nothing.

    Raises:
        ValueError: if the state to resume is damaged or belongs to another search.
        FloatingPointError: if a loss or a logit is NaN or Inf, and again after the last good epoch was restored; the
            message names the source, see :mod:`nnunet_iac.cells.health`.
    """
    run = start_run(network, _mixed_cells(network, plan), plan)
    if variation is not None:
        run.variation += variation
    precision = Precision.of(device)
    files = _Files(folder, {**(identity or {}), **_plan_identity(plan)}, plan)
    if resume and (folder / STATE).is_file():
        files.restore(run)
        log(f"search: resumed after epoch {run.epoch} of {plan.epochs}")
    files.start(run)
    streams = (weight_batches(run.batches), architecture_batches(run.batches))

    def run_one() -> EpochRecord:
        return _with_dice(run_epoch(run, loss, streams, plan, precision), dice)

    _run_epochs(run, run_one, files, log)
    if left := auxiliary_skip_left(run, plan):
        log(f"search: WARNING: {left}")
    if plan.select != "removal":
        return _result(run, plan, None)
    log(f"search: selects by removal on {plan.select_batches} batches")
    removal = measure_removals(
        network,
        run.cells,
        lambda batch: precision.loss_of(network, loss, batch),
        streams[1],
        plan.select_batches,
        run.decision.decided,
    )
    return _result(run, plan, removal)


def _mixed_cells(network: CellUNet, plan: SearchPlan) -> MixedCells:
    """Return the cells of a network that fits the plan."""
    if not isinstance(network.cells, MixedCells):
        raise ValueError(f"network: expected mixed cells, got {type(network.cells).__name__}; implant MixedCells first")
    if plan.mode == "frozen" and any(p.requires_grad for p in network.host_parameters()):
        raise ValueError(
            "network: expected a frozen host in mode 'frozen', got one that trains; call freeze_host(True)"
        )
    return network.cells


def _with_dice(record: EpochRecord, dice: Callable[[], float] | None) -> EpochRecord:
    value = math.nan if dice is None else dice()
    return record if math.isnan(value) else replace(record, dice=value)


def _plan_identity(plan: SearchPlan) -> dict[str, Any]:
    """Return what a resumed search must agree on; what is off by default is left out, so that older states fit.

    No epoch depends on how the genotype is selected afterwards: a finished search may be selected from again.
    """
    known = asdict(plan)
    del known["select"], known["select_batches"]
    if plan.easing == 1:
        del known["easing"], known["easing_epochs"]
    return known


@dataclass(frozen=True)
class _Files:
    """The two files of a search: the first rank writes, all read."""

    folder: Path
    identity: dict[str, Any]
    plan: SearchPlan

    def start(self, run: Run) -> None:
        """Make the files agree with where the search starts."""
        ranks.wait()  # whoever still reads the old state
        if ranks.is_first():
            truncate_records(self.folder / TRACE, run.epoch)
        self.save(run)

    def append(self, record: EpochRecord) -> None:
        """Write the line of an epoch."""
        if ranks.is_first():
            append_record(self.folder / TRACE, record)

    def save(self, run: Run) -> None:
        """Write the state."""
        if ranks.is_first():
            save_state(self.folder / STATE, run.content(self.identity, self.plan))
        ranks.wait()

    def restore(self, run: Run) -> None:
        """Go back to the state on the disk."""
        run.restore(load_state(self.folder / STATE, self.identity), self.plan)


def _run_epochs(run: Run, run_one: Callable[[], EpochRecord], files: _Files, log: Callable[[str], None]) -> None:
    """Run epochs until all is decided or the budget is used, with both files whole after each."""
    epochs = files.plan.epochs
    with tqdm(total=epochs, initial=run.epoch, desc="search", unit="epoch", disable=not ranks.is_first()) as progress:
        while run.epoch < epochs and not run.decision.stop:
            try:
                record = run_one()
            except FloatingPointError as error:
                _restore_once(run, error, files, log)
                progress.n = run.epoch
                continue
            files.append(record)
            files.save(run)
            for line in epoch_lines(run, record, epochs):
                log(line)
            progress.update()
            progress.set_postfix_str(summary(run))


def _restore_once(run: Run, error: FloatingPointError, files: _Files, log: Callable[[str], None]) -> None:
    if run.restored:
        raise FloatingPointError(
            f"{error}. The last good epoch was restored once already. Look for NaN in the images, or search with a "
            "frozen host (search.host=frozen)"
        ) from error
    drawn = run.batches
    files.restore(run)
    # The batches that led here are not drawn again.
    run.batches, run.restored = drawn, True
    files.save(run)
    log(f"search: {error}; restored the state after epoch {run.epoch} and go on with other batches")


def _result(run: Run, plan: SearchPlan, removal: Removal | None) -> SearchResult:
    selected = _selected(run, plan, removal)
    decided = int(run.decision.decided.sum()) + selected.origin.get("decided_by_removal", 0)
    edges = run.decision.decided.numel()
    status: Literal["decided", "undecided"] = "decided" if decided == edges else "undecided"
    genotype = discretise(
        selected.operations,
        selected.edges,
        run.cells.shape,
        max_skips=plan.max_skips,
        origin={
            "seed": plan.seed,
            "status": status,
            "decided_edges": decided,
            "edges": edges,
            "epochs": run.epoch,
            "budget": plan.epochs,
            "pruned": plan.prune,
            **selected.origin,
        },
    )
    said = [ending(run, plan, edges - decided, selected.origin.get("drawn_edges"))]
    said += [auxiliary_skip_left(run, plan), selected.words]
    seconds = run.seconds + (0.0 if removal is None else removal.seconds)
    return SearchResult(genotype, status, " ".join(filter(None, said)), run.epoch, seconds, decided, edges, removal)


class _Selected(NamedTuple):
    """What the genotype is derived from, ``(G, E, O)`` and ``(G, E)``, and what is to be said of it."""

    operations: torch.Tensor
    edges: torch.Tensor
    origin: dict[str, Any]
    words: str


def _selected(run: Run, plan: SearchPlan, removal: Removal | None) -> _Selected:
    architecture = run.cells.architecture
    # The first rank's, as for the decision to prune: no rounding error may make ranks train different cells.
    probabilities, edges = (ranks.same(t.detach()) for t in (architecture.probabilities(), architecture.edge_weights()))
    if removal is not None:
        origin = {"select": "removal", "decided_by_removal": int(removal.decided.sum())}
        return _Selected(*removal.weights(probabilities), origin, selected_by_removal(removal))
    if plan.select == "weights":
        return _Selected(probabilities, edges, {}, "")
    variation, decided = ranks.gather(run.variation)[0], run.decision.decided
    drawing = draw(probabilities, architecture.mask, variation, decided, seed=plan.seed)
    origin = {"select": "draw", "drawn_edges": drawing.drawn}
    return _Selected(drawing.weights, edges.double().cpu(), origin, selected_by_lot(drawing))
