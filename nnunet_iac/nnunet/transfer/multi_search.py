"""One search supernet from several data sets: host, mixed cells and logits are shared, each data set has a head.

A joint bilevel search: step ``b`` takes a batch of data set ``b mod N`` for the weights, and one of other patients of
the same data set for the architecture. In expectation, for weights ``w`` of host and cells and heads ``h_d``::

    w, h_d       descend   1/N sum_d loss_d(w, h_d, alpha, beta; weight patients of d)
    alpha, beta  descend   1/N sum_d loss_d(w, h_d, alpha, beta; architecture patients of d)

Source: arXiv 2407.20279 trains a supernet on several data sets and starts searches on others from it; how it treats
heads and sampling it does not say. Our choices: see :mod:`nnunet_iac.search.heads` and :mod:`nnunet_iac.search.turns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.files.plans import configuration_of, plans_path, preprocessed_folder, read_plans
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.weights import build_network
from nnunet_iac.nnunet.training.cell_search import RESULT, search_cells
from nnunet_iac.nnunet.transfer.multi_data import MultiData
from nnunet_iac.search.search import STATE, TRACE

FILES = (STATE, TRACE, RESULT)
"""Files of such a search."""

GIVEN = {
    "search.epochs": "--epochs",
    "search.iterations": "--iterations",
    "search.seed": "--seed",
}
"""Settings that have an option of their own."""


def multi_settings(
    dataset: str,
    configuration: str,
    plans_name: str,
    block: Mapping[str, Any],
    *,
    epochs: int | None,
    iterations: int,
    seed: int,
) -> Settings:
    """Return the settings of a search on several data sets: those of the first one's plan, then what was given.

    Args:
        dataset: the first, number or name.
        configuration: of its plans.
        plans_name: of its plans.
        block: settings that replace those of the plan, by section.
        epochs: None for ``search.epochs`` of the plan, or its default.
        iterations: steps of an epoch.
        seed: of weights, logits and batches.

    Raises:
        FileNotFoundError: if the plans are missing.
        ValueError: for bad settings (all named together), settings that have an option of their own, or a frozen host.
    """
    search = dict(block.get("search", {}))
    options = [f"{name} with {option}" for name, option in GIVEN.items() if name.removeprefix("search.") in search]
    if options:
        raise ValueError(f"--set: give {', '.join(options)}")
    if search.get("host", "joint") != "joint":
        raise ValueError(
            "--set: expected search.host=joint, the only way with --multi, where no trained host suits all data sets; "
            f"got {search['host']!r}"
        )
    plans = read_plans(plans_path(preprocessed_folder(dataset), plans_name))
    planned = configuration_of(plans, configuration).get("iac", {})
    merged = {name: {**planned.get(name, {}), **block.get(name, {})} for name in {**planned, **block}}
    given = {"host": "joint", "iterations": iterations, "seed": seed, **({} if epochs is None else {"epochs": epochs})}
    return Settings.from_block({**merged, "search": {**merged.get("search", {}), **given}})


def multi_network(data: MultiData, seed: int) -> CellUNet:
    """Return the shared network without cells, with all heads side by side, initialised from a seed, on the CPU."""
    network = cast(CellUNet, build_network(data.target, seed))
    network.decoder.deep_supervision = True
    return network


def search_together(
    data: MultiData,
    settings: Settings,
    folder: Path,
    *,
    device: torch.device,
    resume: bool,
    log: Callable[[str], None],
) -> Genotype:
    """Search; what was learnt stands in ``search_state.pt`` of the folder.

    After every epoch the state is whole: a search that was killed and is resumed ends as if it had not been, bit for
    bit on a CPU.

    Args:
        data: see :func:`~nnunet_iac.nnunet.transfer.multi_data.multi_data`.
        settings: see :func:`multi_settings`.
        folder: existing.
        device: where to compute.
        resume: go on with the search that is in ``folder``.
        log: receives lines for people.

    Raises:
        ValueError: if the state to resume is damaged, or of another search.
        FloatingPointError: if the search diverges, see :func:`~nnunet_iac.search.search.run_search`.
    """
    seed = settings.search.seed
    if settings.search.validation_iterations:
        log("WARNING: search.validation_iterations: a search on several data sets does not measure its Dice.")
    # SmoothDARTS' perturbations are drawn from the global generator; the state of a search keeps it.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return search_cells(
            multi_network(data, seed).to(device),
            data.loss(),
            data.search_data(seed, device),
            settings,
            folder,
            device=device,
            host_checkpoint=None,
            prune=None,
            resume=resume,
            log=log,
        )
