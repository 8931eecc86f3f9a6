"""Plans files: the genotype lives in them, and derived plans carry the settings."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.atomic import write_text
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import host_class
from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.files.plans_check import configuration_problems
from nnunet_iac.nnunet.files.settings import Settings

NETWORK = "nnunet_iac.cells.network.CellUNet"
"""``network_class_name`` of a configuration with cells."""

DERIVED_FROM = "derived_from"
"""Key of a derived plans file that names the plans it came from (a trained host may lie under that name)."""

Plans = dict[str, Any]


def read_plans(path: Path) -> Plans:
    """Read a plans file.

    Raises:
        FileNotFoundError: if it is missing; the message lists the plans there are.
        ValueError: if it is not JSON or not a plans file.
    """
    if not path.is_file():
        present = sorted(p.stem for p in path.parent.glob("*.json") if "lans" in p.stem) if path.parent.is_dir() else []
        raise FileNotFoundError(
            f"plans: expected the file {path}, found none; plans in that folder: {present}. "
            "Run nnUNetv2_plan_and_preprocess first, or check -p"
        )
    try:
        plans = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"plans: expected JSON in {path}, got a damaged file ({error}); plan the data set again"
        ) from error
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        raise ValueError(f'plans: expected a plans file with "configurations" in {path}, got something else')
    for key in ("plans_name", "dataset_name"):
        if not isinstance(plans.get(key, ""), str):
            raise ValueError(f"plans: expected {key} to be text in {path}, got {plans[key]!r}; plan the data set again")
    return plans


def write_plans(path: Path, plans: Mapping[str, Any]) -> None:
    """Write a plans file whole or not at all."""
    write_text(path, plans_text(plans))


def plans_text(plans: Mapping[str, Any]) -> str:
    """Return the text of a plans file."""
    return json.dumps(plans, indent=4) + "\n"


def names_of(plans: Mapping[str, Any]) -> list[str]:
    """Return the name of the plans, and of those that they were derived from: what was made for either serves.

    Example:
        >>> names_of({"plans_name": "short", "derived_from": "nnUNetPlans"}), names_of({"plans_name": "nnUNetPlans"})
        (['short', 'nnUNetPlans'], ['nnUNetPlans'])
    """
    return [plans["plans_name"], *([plans[DERIVED_FROM]] if DERIVED_FROM in plans else [])]


def configuration_of(plans: Plans, configuration: str) -> dict[str, Any]:
    """Return a configuration with its inheritance resolved, as a copy.

    Raises:
        ValueError: if there is no such configuration, or it is not what nnU-Net writes; all faults are named.
    """
    known = plans.get("configurations")
    if not isinstance(known, dict) or configuration not in known:
        raise ValueError(
            f"configuration: expected one of {sorted(known) if isinstance(known, dict) else []}, got "
            f"{configuration!r}; check -c"
        )
    try:
        resolved = deepcopy(PlansManager(deepcopy(plans)).get_configuration(configuration).configuration)
        problems = configuration_problems(resolved)
    except Exception as error:  # nnU-Net's answers to plans that it did not write
        problems = [f"nnU-Net cannot read it ({type(error).__name__}: {error})"]
    if problems:
        raise ValueError(
            f"plans: expected the configuration {configuration} as nnU-Net writes it, in {plans.get('plans_name')!r}: "
            f"{'; '.join(problems)}; restore the plans, or plan the data set again"
        )
    return resolved


def genotype_of(plans: Plans, configuration: str) -> Genotype | None:
    """Return the genotype that a configuration carries, or None for a stock architecture.

    Raises:
        ValueError: if the genotype is malformed, of an unknown schema version, or does not fit the plan.
    """
    architecture = configuration_of(plans, configuration)["architecture"]
    if architecture["network_class_name"] != NETWORK:
        return None
    genotype = Genotype.from_dict(architecture["arch_kwargs"].get("genotype", {}))
    genotype.check_levels(int(architecture["arch_kwargs"]["n_stages"]) - 1)
    return genotype


def with_genotype(plans: Plans, configuration: str, genotype: Genotype) -> Plans:
    """Return a copy of the plans whose configuration is the same host with these cells.

    A genotype that the configuration already carries is replaced.

    Raises:
        ValueError: if the host is unknown or the genotype does not fit it.
    """
    result = with_network(plans, configuration, NETWORK, genotype=genotype.to_dict())
    genotype.check_levels(int(configuration_of(result, configuration)["architecture"]["arch_kwargs"]["n_stages"]) - 1)
    return result


def with_network(plans: Plans, configuration: str, network: str, **more: Any) -> Plans:
    """Return a copy of the plans whose configuration names another network around the same host.

    Args:
        plans: with a stock host, or with this very network (whose arguments ``more`` replaces).
        configuration: the configuration that gets the network.
        network: dotted name of a class that takes the host's arguments and the host's class as ``backbone``.
        **more: its other arguments, as JSON has them.

    Raises:
        ValueError: if the host is unknown, or in the plans inside a network that is not this one.
    """
    architecture = configuration_of(plans, configuration)["architecture"]
    arguments, planned = architecture["arch_kwargs"], architecture["network_class_name"]
    if planned != network and "backbone" in arguments:
        raise ValueError(
            f"plans: expected a stock host in {configuration}, got {planned}; "
            "give the plans that these were derived from with -p"
        )
    backbone = arguments.pop("backbone", planned)
    host_class(backbone)
    arguments.update(backbone=backbone, **more)
    architecture["network_class_name"] = network
    result = deepcopy(plans)
    # The whole architecture, because nnU-Net merges inherited configurations one level deep.
    result["configurations"][configuration]["architecture"] = architecture
    return result


def derive(
    plans: Plans,
    configuration: str,
    name: str,
    block: Mapping[str, Any],
    batch_size: int | None = None,
    patch_size: Sequence[int] | None = None,
) -> Plans:
    """Return derived plans named ``name`` whose configuration holds an ``"iac"`` block; data stay the same.

    Args:
        plans: what to derive from.
        configuration: the configuration that gets the block.
        name: ``plans_name`` of the result; must become the file's name.
        block: settings, merged over those the configuration already has.
        batch_size: replaces the planned batch size if given.
        patch_size: replaces the planned patch size if given, for machines that the planned one is too large for; the
            network stays the same.

    Raises:
        ValueError: if there is no such configuration, the settings that it already has are bad, or the network cannot
            take the patch.
    """
    current = configuration_of(plans, configuration).get("iac", {})
    Settings.from_block(current)
    merged = {k: {**current.get(k, {}), **block.get(k, {})} for k in {**current, **block}}
    result = deepcopy(plans)
    target = result["configurations"][configuration]
    target["iac"] = merged
    if batch_size is not None:
        target["batch_size"] = batch_size
    if patch_size is not None:
        _check_patch_size(patch_size, configuration_of(plans, configuration))
        target["patch_size"] = list(patch_size)
    result[DERIVED_FROM] = plans["plans_name"]
    result["plans_name"] = name
    return result


def settings_of(plans: Plans, configuration: str) -> Settings:
    """Return the settings of a configuration, checked against its network too.

    Raises:
        ValueError: if they are bad, or ask for cells at levels that the network does not have.
    """
    found = configuration_of(plans, configuration)
    settings = Settings.from_block(found.get("iac", {}))
    settings.cell.shape.levels_with_cells(int(found["architecture"]["arch_kwargs"]["n_stages"]) - 1)
    return settings


def with_seed(plans: Plans, configuration: str, seed: int) -> Plans:
    """Return a copy of the plans whose configuration says ``search.seed`` in its ``"iac"`` block, default or not."""
    current = configuration_of(plans, configuration).get("iac", {})
    result = deepcopy(plans)
    result["configurations"][configuration]["iac"] = {**current, "search": {**current.get("search", {}), "seed": seed}}
    return result


def _check_patch_size(patch_size: Sequence[int], configuration: Mapping[str, Any]) -> None:
    """Refuse a patch that the strides do not divide, or whose deepest features are one voxel."""
    axes = len(configuration["patch_size"])
    strides = configuration["architecture"]["arch_kwargs"]["strides"]
    steps = [math.prod(axis) for axis in zip(*([s] * axes if isinstance(s, int) else s for s in strides), strict=True)]
    if len(patch_size) != axes or any(p < 1 or p % s for p, s in zip(patch_size, steps, strict=True)):
        raise ValueError(
            f"patch size: expected {axes} numbers, multiples of {steps} (what the network's strides divide), got "
            f"{list(patch_size)}"
        )
    if math.prod(patch_size) == math.prod(steps):
        raise ValueError(
            f"patch size: expected more than one voxel at the network's deepest stage, got {list(patch_size)}, which "
            "leaves one; instance normalisation needs two"
        )


def plans_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Return the path of a plans file in a preprocessed data set's folder.

    Raises:
        ValueError: if the name could not be a file of that folder.
    """
    if not name or name != Path(name).name or name.startswith(".") or not name.isprintable() or len(name) > 200:
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        raise ValueError(f"plans name: expected a plain file name without folder and ending, got {shown!r}")
    return Path(folder) / f"{name}.json"


def new_plans_path(folder: str | os.PathLike[str], name: str, *, argument: str = "-o") -> Path:
    """Return the path of a plans file that is to be made.

    nnU-Net joins the name with others by two underscores to the name of a folder and takes it apart again, and people
    paste it into shells: so letters, digits and single ``_ . + -`` only (our choice).

    Raises:
        ValueError: if the name has others, or more than 100 characters.
    """
    if not re.fullmatch(r"[A-Za-z0-9](?:_?[A-Za-z0-9.+-])*_?", name) or len(name) > 100:
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        raise ValueError(
            f"{argument}: expected a plain file name of at most 100 letters, digits, dots, pluses, dashes and single "
            f"underscores, such as nnUNetPlans_iac, got {shown!r}"
        )
    return plans_path(folder, name)


def preprocessed_folder(dataset: str) -> Path:
    """Return the preprocessed folder of a data set given by its number or name.

    Raises:
        FileNotFoundError: if ``nnUNet_preprocessed`` is not set.
        ValueError: if no data set, or several, have that number.
    """
    try:
        name = str(maybe_convert_to_dataset_name(dataset))
    except (RuntimeError, ValueError) as error:  # nnU-Net's answers to no number, and to none or several data sets
        raise ValueError(f"-d: {str(error).splitlines()[0]}") from error
    if name != Path(name).name or not name.isprintable() or len(name) > 200:
        raise ValueError(f"-d: expected the number or the plain name of a data set, got {name[:80]!r}")
    folder = os.environ.get("nnUNet_preprocessed")
    if not folder:
        raise FileNotFoundError(
            "nnUNet_preprocessed: expected the environment variable to name a folder, it is not set; "
            "see nnunet-iac doctor"
        )
    return Path(folder) / name
