"""``<plans>_iac.json``: the plans file that a search without training leaves next to the plans."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.plans import Plans, derive, genotype_of, plans_path, read_plans, with_genotype, write_plans

SUFFIX = "_iac"


def output_plans_path(folder: str | Path, plans: Plans, configuration: str, genotype: Genotype | None = None) -> Path:
    """Return where the found genotype will be written.

    Args:
        folder: of the preprocessed data set.
        plans: that were searched with.
        configuration: such as ``2d``.
        genotype: what is to be written, if it is known; the same in the file already is fine (a run that was killed
            after it had written it goes on).

    Raises:
        ValueError: if that file already holds another genotype for this configuration.
    """
    path = plans_path(folder, plans["plans_name"] + SUFFIX)
    found = genotype_of(read_plans(path), configuration) if path.is_file() else None
    if found is not None and found != genotype:
        raise ValueError(
            f"plans: expected no genotype for {configuration} in {path}, found one; train it with -p {path.stem}, or "
            "move the file away to search again"
        )
    return path


def write_search_plans(folder: str | Path, plans: Plans, configuration: str, genotype: Genotype | None) -> Path:
    """Write the plans with the genotype; other configurations that the file already has keep theirs.

    Raises:
        ValueError: if the file already holds another genotype for this configuration, or there is none to write.
    """
    if genotype is None:
        raise ValueError("genotype: expected one to write, got none")
    path = output_plans_path(folder, plans, configuration, genotype)
    derived = derive(plans, configuration, path.stem, {})
    if path.is_file():
        existing = read_plans(path)
        existing["configurations"][configuration] = deepcopy(derived["configurations"][configuration])
        derived = existing
    write_plans(path, with_genotype(derived, configuration, genotype))
    return path
