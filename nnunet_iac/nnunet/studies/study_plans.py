"""Plans of a study: derived once and never changed, so that trainings under one plans name share one budget.

Trainings that are finished are not repeated, however they were started; a study whose plans could change between two
calls would put trainings of several budgets into one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_iac.nnunet.files.plans import (
    DERIVED_FROM,
    Plans,
    configuration_of,
    derive,
    new_plans_path,
    plans_path,
    preprocessed_folder,
    read_plans,
    write_plans,
)
from nnunet_iac.nnunet.files.run_state import differences
from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
from nnunet_iac.nnunet.files.settings import Settings


def ensure_plans(folder: Path, wanted: Sequence[Plans], configuration: str, options: str = "--budget") -> None:
    """Write what is not there yet; everything is checked before the first file is written.

    Args:
        folder: of the preprocessed data set.
        wanted: derived plans, each to lie under its own ``plans_name``.
        configuration: that is trained.
        options: of the command that made them what they are, for the message.

    Raises:
        ValueError: for bad settings or names, or if there are plans of that name with another meaning.
    """
    paths = [new_plans_path(folder, plans["plans_name"], argument="--tag") for plans in wanted]
    for path, plans in zip(paths, wanted, strict=True):
        here = _meaning(plans, configuration)
        changes = list(differences(_meaning(read_plans(path), configuration), here)) if path.is_file() else []
        if changes:
            raise ValueError(
                f"{options}: expected the settings and the host of the plans that are there already, {path} has "
                f"others ({'; '.join(changes)}); finished and new trainings would be mixed. Give the old ones, or "
                "another --tag"
            )
    for path, plans in zip(paths, wanted, strict=True):
        if not path.is_file():
            write_plans(path, plans)


def ensure_derived(
    dataset: str,
    source: str,
    name: str,
    configuration: str,
    settings: Sequence[str],
    *,
    batch_size: int | None = None,
    patch_size: Sequence[int] | None = None,
) -> None:
    """Derive plans as ``nnunet-iac configure`` does, unless they are there already and mean the same.

    Args:
        dataset: number or name.
        source: name of the plans to derive from.
        name: of the new plans.
        configuration: that is trained.
        settings: ``KEY=VALUE`` each.
        batch_size: replaces the planned one.
        patch_size: replaces the planned one.

    Raises:
        FileNotFoundError: if the plans to derive from are missing.
        ValueError: for bad settings or names, or if there are plans of that name with another meaning.
    """
    folder = preprocessed_folder(dataset)
    plans = read_plans(plans_path(folder, source))
    derived = derive(plans, configuration, name, parse_assignments(settings), batch_size, patch_size)
    ensure_plans(folder, [derived], configuration, "--budget, --batch-size, --patch-size")


def _meaning(plans: Plans, configuration: str) -> dict[str, Any]:
    """Return what is trained and on which host; a setting that later versions added has its default."""
    found = configuration_of(plans, configuration)
    settings = Settings.from_block(found.get("iac", {})).training_block()
    # A trained host is looked for under the name of the plans that these come from.
    return {**found, "iac": settings, DERIVED_FROM: plans.get(DERIVED_FROM)}
