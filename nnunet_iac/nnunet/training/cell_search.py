"""The search inside a trainer: data by patient, batches from nnU-Net's loaders, the result on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from nnunet_iac.atomic import write_bytes, write_json
from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.inheritance import inherit
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.training.cell_start import CellStart
from nnunet_iac.search import ranks
from nnunet_iac.search.bilevel import Loss
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import STATE, TRACE, SearchResult, run_search
from nnunet_iac.search.state import read_content
from nnunet_iac.search.turns import finish
from nnunet_iac.zoo.weights_files import to_bytes

RESULT = "search_result.json"
HOST = "search_host.safetensors"
"""The host as a frozen search saw it, where ``search.keep_host`` asks for it: the training after it moves the host."""

StreamOpener = Callable[[list[str], int, int, bool], Any]
"""``open(cases, stream, start, augment)`` returns an endless iterator of batches with an optional ``_finish``."""


@dataclass(frozen=True)
class SearchData:
    """Where the batches of a search come from.

    Attributes:
        weights: cases that train the weights.
        architecture: cases that train the architecture, of other patients.
        open_stream: see :data:`StreamOpener`.
        source: how patients are known, in words, or None if every case counts as one.
        identity: what the batches depend on besides, as JSON has it; a search that is continued must agree.
        dice: of the network as it stands, on cases that the search never sees, see
            :class:`~nnunet_iac.nnunet.training.search_dice.SearchDice`; None for none. It changes no epoch: a search
            that is continued need not agree.
    """

    weights: list[str]
    architecture: list[str]
    open_stream: StreamOpener
    source: str | None
    identity: Mapping[str, Any] = field(default_factory=dict)
    dice: Callable[[CellUNet], float] | None = None


def plan_of(settings: Settings, prune: bool | None) -> SearchPlan:
    """Return the search's plan from the settings; ``prune`` overrides them if it is not None."""
    search = settings.search
    return SearchPlan(
        epochs=search.epochs,
        iterations=search.iterations,
        warmup_epochs=search.warmup_epochs,
        prune=search.prune if prune is None else prune,
        seed=search.seed,
        drift=search.drift,
        tau=search.tau,
        patience=search.patience,
        mode=search.host,
        perturbation=search.perturbation,
        perturbation_size=search.perturbation_size,
        beta_decay=search.beta_decay,
        auxiliary_skip=search.auxiliary_skip,
        max_skips=search.max_skips,
        select=search.select,
        select_batches=search.select_batches,
    )


def search_cells(
    network: CellUNet,
    loss: Loss,
    data: SearchData,
    settings: Settings,
    folder: Path,
    *,
    device: torch.device,
    host_checkpoint: str | None,
    prune: bool | None,
    resume: bool,
    log: Callable[[str], None],
    start: CellStart | None = None,
) -> Genotype:
    """Search for a genotype with a host as it is; the host's weights are the same afterwards.

    Writes ``search.jsonl``, ``search_state.pt`` and ``search_result.json`` into ``folder``. The network is left
    without cells.

    Args:
        network: the host, a :class:`CellUNet` without cells, on ``device``.
        loss: nnU-Net's loss.
        data: see :class:`SearchData`.
        settings: all settings.
        folder: the fold's folder.
        device: where to compute.
        host_checkpoint: where the host came from, for the record.
        prune: overrides the setting if not None.
        resume: go on with the search that is in ``folder``.
        log: nnU-Net's log.
        start: of the cells; None for a fresh draw.
    """
    plan = plan_of(settings, prune)
    if start is not None:
        plan = replace(plan, easing=start.rate, easing_epochs=start.rate_epochs)
    before = {key: value.detach().clone() for key, value in network.state_dict().items()}
    identity = _identity(network, settings, data, start)
    if settings.search.keep_host and plan.mode == "frozen" and ranks.is_first():
        write_bytes(folder / HOST, to_bytes(unique_tensors(network)))
    network.freeze_host(plan.mode == "frozen")
    cells = mixed_cells(network, settings, device)
    network.implant(cells)
    begins = not (resume and (folder / STATE).is_file())
    variation = start.fill(cells) if start is not None and begins else None
    streams = _Streams(data, settings.search.augment)
    try:
        result = run_search(
            network,
            loss,
            streams.source(data.weights, 2),
            streams.source(data.architecture, 3),
            plan,
            folder,
            device=device,
            identity=identity,
            resume=resume,
            log=log,
            variation=variation,
            dice=None if data.dice is None else partial(data.dice, network),
        )
    finally:
        streams.close()
        network.cells = None
        network.freeze_host(False)
        network.load_state_dict(before)
    log(f"search: {result.message}")
    if ranks.is_first():
        write_json(folder / RESULT, _record(result, settings, plan, host_checkpoint, data, start))
    return result.genotype


class _Streams:
    """Opens the streams of a search and closes them together: their worker processes must not outlive it."""

    def __init__(self, data: SearchData, augment: bool) -> None:
        self._data = data
        self._augment = augment
        self._opened: list[Any] = []

    def source(self, cases: list[str], stream: int) -> Callable[[int], Iterator[Any]]:
        """Return what opens a stream at a batch."""

        def open_at(start: int) -> Iterator[Any]:
            self._opened.append(self._data.open_stream(cases, stream, start, self._augment))
            return self._opened[-1]

        return open_at

    def close(self) -> None:
        """Stop the workers."""
        finish(*self._opened)


def _identity(network: CellUNet, settings: Settings, data: SearchData, start: CellStart | None) -> dict[str, Any]:
    cell = asdict(settings.cell)
    for name, default in (("first_level", 0), ("projection", "zero")):
        if cell[name] == default:
            del cell[name]  # so that older states fit
    return {
        **({} if start is None else {"start": dict(start.identity)}),
        **({"batches": dict(data.identity)} if data.identity else {}),
        "host": network.host_digest(),
        "cell": cell,
        "partial_channels": settings.search.partial_channels,
        "augment": settings.search.augment,
        "weight_cases": data.weights,
        "architecture_cases": data.architecture,
    }


def control_genotype(kind: Literal["random", "identity", "none"], settings: Settings, *, levels: int) -> Genotype:
    """Return the genotype of a control: random cells of the settings' shape, or none."""
    if kind != "random":
        return Genotype.identity()
    with_cells = settings.cell.shape.levels_with_cells(levels)
    count = 1 if settings.cell.shared else with_cells
    return Genotype.random(seed=settings.search.seed, shape=settings.cell.shape, count=count)


def seeded_cells(network: CellUNet, genotype: Genotype, seed: int) -> DiscreteCells:
    """Return the cells of a genotype with weights that depend on the seed only; the global generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        cells = DiscreteCells(genotype, network.stages)
        cells.apply(network.initialize)
    return cells


def inherit_weights(
    cells: DiscreteCells, network: CellUNet, settings: Settings, folder: Path, log: Callable[[str], None]
) -> None:
    """Let found cells start from the weights of the search in ``folder``; say so if there was none.

    Raises:
        ValueError: if the search there had cells of another shape.
    """
    if not (folder / STATE).is_file():
        log("WARNING: search.inherit: there was no search in this fold; its cells start from fresh weights.")
        return
    state = read_content(folder / STATE)["network"]
    weights = {key.removeprefix("cells."): value for key, value in state.items()}
    # The projection is not inherited, so it may differ from that of the settings; the genotype has the search's.
    shape = replace(settings.cell, projection=cells.genotype.projection)
    searched = mixed_cells(network, replace(settings, cell=shape), torch.device("cpu"))
    try:
        searched.load_state_dict({key: weights[key] for key in searched.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"search.inherit: expected cells of the settings' shape in {folder / STATE}, got others ({error}); "
            "restore the settings of the search, or set search.inherit=false"
        ) from error
    inherit(cells, searched)
    log("The cells start from the weights that the search trained.")


def mixed_cells(network: CellUNet, settings: Settings, device: torch.device) -> MixedCells:
    """Return the fresh cells of a search, a function of the settings and the network's stages."""
    generator = torch.Generator().manual_seed(settings.search.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.search.seed)
        cells = MixedCells(
            network.stages,
            settings.cell.shape,
            partial=settings.search.partial_channels,
            shared=settings.cell.shared,
            generator=generator,
        )
        cells.apply(network.initialize)
    return cells.to(device)


def set_aside(folder: Path, log: Callable[[str], None]) -> None:
    """Rename what an earlier search left in a fold's folder, so that no later run continues it."""
    for name in (TRACE, STATE, RESULT):
        path = folder / name
        if path.exists():
            os.replace(path, path.with_name(f"previous_{name}"))
            log(f"search: kept the earlier {name} as previous_{name}")


def _record(
    result: SearchResult,
    settings: Settings,
    plan: SearchPlan,
    host_checkpoint: str | None,
    data: SearchData,
    start: CellStart | None,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "status": result.status,
        "message": result.message,
        "epochs": result.epochs,
        "seconds": round(result.seconds, 2),
        "seed": plan.seed,
        "decided_edges": result.decided_edges,
        "edges": result.edges,
        "genotype": result.genotype.to_dict(),
        "host": {"checkpoint": host_checkpoint, "mode": plan.mode},
        "start": None if start is None else dict(start.identity),
        "patients": data.source,
        "weight_cases": data.weights,
        "architecture_cases": data.architecture,
        "tau": plan.rule.tau,
        "ranks": ranks.count(),
        "settings": settings.to_block(),
        **({} if result.removal is None else {"removal": result.removal.to_dict()}),
    }
