"""A search, finished or running, as an entry of the zoo: logits, cells and host, and what they were searched with.

Everything but a frozen host stands in ``search_state.pt``, which a search leaves behind; for that one see
:mod:`nnunet_iac.nnunet.training.searched_host`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from nnunet_iac.cells.discretise import discretise
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.warm_start import VARIATION
from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.model_folder import PLANS
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans, with_genotype
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.weight_source import sha256_of
from nnunet_iac.nnunet.files.weights import WeightTarget, weight_target
from nnunet_iac.nnunet.retrieval.lineage import ancestors_of_fold
from nnunet_iac.nnunet.training.cell_search import RESULT, mixed_cells
from nnunet_iac.nnunet.training.searched_host import CELLS, joint_host, searched_host
from nnunet_iac.nnunet.zoo_entries.zoo_network import SEARCH, empty_network
from nnunet_iac.search.search import STATE
from nnunet_iac.search.state import read_content
from nnunet_iac.zoo.entry import Description

KIND = SEARCH
"""Kind of such entries."""

PLAN = (
    *("iterations", "warmup_epochs", "seed", "drift", "tau", "patience", "prune", "weight_lr", "weight_decay"),
    *("mode", "augment", "beta_decay", "auxiliary_skip", "max_skips"),
)
"""What an entry keeps of how the search was run, besides its length and its smoothing."""


def has_search(fold: Path) -> bool:
    """Return whether a search ran, or runs, in a fold's folder."""
    return (fold / STATE).is_file()


def searches_in(folder: Path) -> list[Path]:
    """Return the folds with a search in a folder: itself, or a model folder's ``fold_*``.

    Raises:
        FileNotFoundError: if there is none.
    """
    places = (folder, *sorted(folder.glob("fold_*")))
    if found := [place for place in places if has_search(place)]:
        return found
    raise FileNotFoundError(
        f"FOLDER: expected the folder of a fold or of a model in which cells were searched, found no "
        f"{STATE} in {folder}"
    )


def read_search(
    fold: Path, *, name: str | None = None, licence: str | None = None
) -> tuple[Description, dict[str, torch.Tensor]]:
    """Read the search in the folder of a fold.

    Args:
        fold: the folder, in its model's folder with ``plans.json`` and ``dataset.json``.
        name: of the entry (default: as the fold's folder is named).
        licence: of the weights.

    Returns:
        the description, and the tensors of the network with mixed cells, each once: ``cells.architecture.alpha``,
        ``beta``, ``mask`` and ``variation`` (each logit's squared steps, summed), ``cells.levels.*``, and the host's
        under their stock names.

    Raises:
        FileNotFoundError: if there was no search, or its host is nowhere.
        ValueError: if a file is damaged, or state and plans do not belong together.
    """
    state = read_search_state(fold / STATE)
    identity = state["identity"]
    target, trainer = _target(fold)
    network = cast(CellUNet, empty_network(target.architecture, target.inputs, target.outputs))
    cells = searched_cells(fold / STATE, state, network)
    joint = identity["mode"] == "joint"
    host = joint_host(state["network"], network, STATE) if joint else searched_host(fold, identity["host"], network)
    plan, interface = configuration_of(target.plans, target.configuration), target.interface
    number = fold.name.removeprefix("fold_")
    about = Description(
        kind=KIND,
        name=name or f"{target.plans.get('dataset_name')}/{fold.parent.name}/{fold.name}/search",
        dataset=str(target.plans.get("dataset_name", "")),
        plans=target.plans,
        configuration=target.configuration,
        trainer=trainer,
        labels=interface.labels,
        regions=interface.regions,
        channels=interface.channels,
        spacing=tuple(plan["spacing"]),
        patch_size=tuple(plan["patch_size"]),
        dataset_json=target.dataset,
        provenance={
            "source": {"file": STATE, "sha256": sha256_of(fold / STATE)},
            "fold": number,
            "epochs": state["epoch"],
            "imported_with": {package: version(package) for package in ("nnunet-iac", "nnunetv2", "torch")},
        },
        licence=licence,
        facts={
            **search_facts(state, cells, fold),
            "ancestors": ancestors_of_fold(fold),
            "host": {"mode": identity["mode"], "file": host.file, "is": host.words},
        },
    )
    tensors = {CELLS + key: value for key, value in cells.state_dict().items()}
    tensors[CELLS + VARIATION] = state["variation"]
    return about, {**tensors, **host.tensors}


def read_search_state(path: Path) -> dict[str, Any]:
    """Read the state of a search with all that an entry says of it.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"search: expected {STATE} in {path.parent}, found none; give the folder of the fold that searched (the "
            "other folds of a model take its genotype)"
        )
    state = read_content(path)
    identity = state.get("identity")
    known = set(identity) if isinstance(identity, dict) else set()
    missing = sorted({*PLAN, "cell", "partial_channels", "host", "epochs", "perturbation"} - known)
    if missing:
        raise ValueError(
            f"search: expected a state with its whole identity, got one without {missing} in {path}; it was written by "
            "another version of nnunet-iac: search again"
        )
    return state


def _target(fold: Path) -> tuple[WeightTarget, str]:
    """Return what the fold's network is for, without cells whatever the plans carry by now, and its trainer."""
    parts = fold.parent.name.split("__")
    if len(parts) != 3:
        raise ValueError(
            f"search: expected a fold in a folder <trainer>__<plans>__<configuration>, got {fold.parent.name!r}; give "
            "the folder as nnU-Net made it"
        )
    dataset = fold.parent / "dataset.json"
    if not dataset.is_file():
        raise FileNotFoundError(f"dataset.json: expected it in {fold.parent}, found none; restore the model's folder")
    plans = with_genotype(read_plans(fold.parent / PLANS), parts[2], Genotype.identity())
    return weight_target(plans, parts[2], read_object(dataset)), parts[0]


def searched_cells(path: Path, state: Mapping[str, Any], network: CellUNet) -> MixedCells:
    """Return the cells of a search with their weights and logits, on the CPU.

    Args:
        path: of the state, for the message.
        state: see :func:`read_search_state`.
        network: the host without cells; on the ``meta`` device it costs nothing.

    Raises:
        ValueError: if they are of another network.
    """
    identity, joint = state["identity"], state["identity"]["mode"] == "joint"
    search = {"partial_channels": identity["partial_channels"], "seed": identity["seed"]}
    cells = mixed_cells(network, Settings.from_block({"cell": identity["cell"], "search": search}), torch.device("cpu"))
    prefix = CELLS if joint else ""
    found = {key.removeprefix(prefix): value for key, value in state["network"].items() if key.startswith(prefix)}
    try:
        cells.load_state_dict(found)
    except RuntimeError as error:  # torch's answer to other keys and shapes, a line for each
        different = str(error).splitlines()[1:]
        raise ValueError(
            f"search: expected cells for the plans of its model in {path}, {len(different)} tensor(s) differ "
            f"({different[0].strip()}); state and plans.json are of different runs"
        ) from error
    return cells


def search_facts(state: Mapping[str, Any], cells: MixedCells, folder: Path) -> dict[str, Any]:
    """Return what an entry says of a search and its cells: shape, budget, smoothing, genotype.

    Args:
        state: see :func:`read_search_state`.
        cells: with its weights and logits.
        folder: of the state; the genotype is that of the finished search, chosen as its settings said
            (``search.select``), or the argmax of the weights if it still runs.
    """
    identity, decided = state["identity"], state["decided"]
    genotype = _finished_genotype(state, folder) or _genotype(state, cells)
    smoothing = {"perturbation": identity["perturbation"], "perturbation_size": identity["perturbation_size"]}
    return {
        "cell": dict(identity["cell"]),
        "partial_channels": identity["partial_channels"],
        "operations": list(OPERATIONS),
        "levels": len(cells.levels),
        "search": {
            "status": genotype.origin["status"],
            "epochs": state["epoch"],
            "budget": identity["epochs"],
            "seconds": round(float(state["seconds"]), 2),
            "decided_edges": int(decided.sum()),
            "edges": decided.numel(),
            **{name: identity[name] for name in PLAN},
        },
        # Perturbed are the weights' steps only; logits and weights mean the same as without.
        "smoothing": None if identity["perturbation"] == "none" else {"name": "SmoothDARTS", **smoothing},
        "mask": cells.architecture.mask.int().tolist(),
        "start": identity.get("start"),
        "cases": {side: len(identity[f"{side}_cases"]) for side in ("weight", "architecture")},
        "genotype": genotype.to_dict(),
    }


def _finished_genotype(state: Mapping[str, Any], folder: Path) -> Genotype | None:
    path = folder / RESULT
    record = read_object(path) if path.is_file() else {}
    if record.get("epochs") != state["epoch"]:
        return None
    try:
        return Genotype.from_dict(record.get("genotype", {}))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; restore the file, or search again") from error


def _genotype(state: Mapping[str, Any], cells: MixedCells) -> Genotype:
    """Return the genotype as the weights would have it now."""
    identity, decided = state["identity"], state["decided"]
    over = bool(state["stop"]) or state["epoch"] >= identity["epochs"]
    return discretise(
        cells.architecture.probabilities(),
        cells.architecture.edge_weights(),
        cells.shape,
        max_skips=identity["max_skips"],
        origin={
            "seed": identity["seed"],
            "status": ("decided" if bool(decided.all()) else "undecided") if over else "running",
            "epochs": state["epoch"],
        },
    )
