"""A search on several data sets as an entry of the zoo: logits, cells and host without the heads.

The entry has the kind of all searches and is started from like them. What tells it apart is ``facts.datasets``; its own
``dataset`` is their names, joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.warm_start import VARIATION
from nnunet_iac.nnunet.files.weight_source import sha256_of
from nnunet_iac.nnunet.training.searched_host import CELLS, joint_host
from nnunet_iac.nnunet.transfer.multi_data import MultiData, multi_data
from nnunet_iac.nnunet.zoo_entries.search_import import KIND, read_search_state, search_facts, searched_cells
from nnunet_iac.nnunet.zoo_entries.zoo_network import empty_network
from nnunet_iac.search.search import STATE
from nnunet_iac.zoo.entry import JOINED, Description

TRAINER = "nnunet-iac zoo build --multi"

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch normalisation: of data sets by turns, they are the statistics of none."""


def describe_multi(
    data: MultiData,
    *,
    licence: str | None = None,
    facts: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Description:
    """Return what is said about the entry; also a check, before anything is trained, that it can be said.

    Labels are left out: they belong to heads that the entry does not have.

    Args:
        data: what was searched on.
        licence: of the weights.
        facts: what else is known of the search.
        provenance: where the weights come from.

    Raises:
        ValueError: if the plans or the licence are not what an entry needs.
    """
    first = data.parts[0].training
    plans = data.target.plans
    return Description(
        kind=KIND,
        name=f"{together(data.datasets)}/multi__{plans['plans_name']}__{first.configuration}/fold_{first.fold}/search",
        dataset=together(data.datasets),
        plans=plans,
        configuration=first.configuration,
        trainer=TRAINER,
        channels=data.channels,
        spacing=tuple(first.planned["spacing"]),
        patch_size=first.patch_size,
        provenance={
            "fold": str(first.fold),
            "built_with": {package: version(package) for package in ("nnunet-iac", "nnunetv2", "torch")},
            **(provenance or {}),
        },
        licence=licence,
        facts={"datasets": data.datasets, **(facts or {})},
    )


def read_multi(
    data: MultiData, folder: Path, *, licence: str | None = None
) -> tuple[Description, dict[str, torch.Tensor]]:
    """Read the search in a folder.

    Args:
        data: what was searched on.
        folder: with ``search_state.pt``.
        licence: of the weights.

    Returns:
        the description, and the tensors of a search's entry (see
        :func:`~nnunet_iac.nnunet.zoo_entries.search_import.read_search`) without those of segmentation layers and
        without running statistics.

    Raises:
        FileNotFoundError: if there was no search.
        ValueError: if the state is damaged, or of other data sets or plans.
    """
    path, target = folder / STATE, data.target
    state = read_search_state(path)
    if state["identity"].get("batches") != data.identity:
        raise ValueError(
            f"search: expected the search on {data.datasets} in {path}, got another one; give its arguments"
        )
    network = cast(CellUNet, empty_network(target.architecture, target.inputs, target.outputs))
    cells = searched_cells(path, state, network)
    host = joint_host(state["network"], network, STATE)
    about = describe_multi(
        data,
        licence=licence,
        facts={
            **search_facts(state, cells, folder),
            "heads": dict(zip(data.datasets, data.heads, strict=True)),
            "batch_size": data.parts[0].batch_size,
            "data": data.identity,
            "ancestors": [],
            "host": {"mode": "joint", "file": STATE, "is": f"{host.words}, without its heads"},
        },
        provenance={"source": {"file": STATE, "sha256": sha256_of(path)}, "epochs": state["epoch"]},
    )
    tensors = {CELLS + key: value for key, value in cells.state_dict().items()}
    tensors[CELLS + VARIATION] = state["variation"]
    return about, {**tensors, **{name: value for name, value in host.tensors.items() if _is_shared(name)}}


def is_multi(state: Mapping[str, Any]) -> bool:
    """Return whether the state of a search is of several data sets, see :attr:`MultiData.identity`."""
    batches = state["identity"].get("batches")
    return isinstance(batches, Mapping) and "parts" in batches


def read_multi_again(
    folder: Path, state: Mapping[str, Any], *, licence: str | None = None
) -> tuple[Description, dict[str, torch.Tensor]]:
    """Read the search in a folder, with its data found anew from what its state says of them.

    Args:
        folder: with ``search_state.pt``.
        state: of a search on several data sets, see :func:`is_multi`.
        licence: of the weights.

    Raises:
        FileNotFoundError: if a data set is not here.
        ValueError: if the state is damaged, or the data sets, plans or cases here are others than those it was
            searched on; the message says what to do.
    """
    try:
        parts = state["identity"]["batches"]["parts"]
        names, first = [str(part["dataset"]) for part in parts], parts[0]
        words = f"search: the one in {folder} is of nnunet-iac zoo build --multi, on {', '.join(names)} together"
        known = {name: first[name] for name in ("fold", "patch_size", "batch_size")}
        where, share = (str(first["configuration"]), str(first["plans"])), float(first["share"])
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"search: expected the data of the search in {folder / STATE}, got {error!r}") from error
    remedy = (
        "its data sets must be here as they were searched on, with plans, splits and preprocessed cases; or repeat the "
        "command that searched, with another --zoo and --c, where they are"
    )
    try:
        return read_multi(multi_data(names, *where, **known, fraction=share), folder, licence=licence)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{words}; {remedy} ({error})") from error
    except ValueError as error:
        raise ValueError(f"{words}; {remedy} ({error})") from error


def together(datasets: Sequence[str]) -> str:
    """Return what an entry of several data sets has for its data set.

    Example:
        >>> together(["Dataset004_Hippocampus", "Dataset501_Heart"])
        'Dataset004_Hippocampus + Dataset501_Heart'
    """
    return JOINED.join(datasets)


def multi_folder(results: Path, datasets: Sequence[str], plans_name: str, configuration: str, fold: int | str) -> Path:
    """Return where ``nnunet-iac zoo build --multi`` works unless told otherwise: with the first data set's models.

    Example:
        >>> names = ["Dataset004_Hippocampus", "Dataset501_Heart"]
        >>> multi_folder(Path("results"), names, "nnUNetPlans", "2d", 0).as_posix()
        'results/Dataset004_Hippocampus/multi_004_501__nnUNetPlans__2d/fold_0'
    """
    numbers = "_".join(name.removeprefix("Dataset")[:3] for name in datasets)
    return results / datasets[0] / f"multi_{numbers}__{plans_name}__{configuration}" / f"fold_{fold}"


def _is_shared(name: str) -> bool:
    return ".seg_layers." not in name and name.rpartition(".")[2] not in STATISTICS
