"""Variants of a planned data set for studies: fewer training cases, a thinner network; the original stays as it is."""

from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.label_set import read_dataset_json
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, plans_path, read_plans, write_plans
from nnunet_iac.nnunet.files.splits import GROUPS, SPLITS, find_grouping, planned_folds, read_splits

FEWEST_CHANNELS = 8
"""Of a stage of a thinned network: cells work on a half of a quarter of a skip's channels."""

LINKED = ("dataset.json", "dataset_fingerprint.json")
"""Files that a variant shares with its original; folders are all shared."""

VARIANT = 400
"""A variant's number is the original's plus this, modulo 1000."""

CASES_SEED = 0
"""Of the draw of the patients that stay: the same ones for every arm and seed."""


def few_cases(folder: Path, fold: int, patients: int) -> str:
    """Make a data set of the same images whose only fold trains on fewer patients; return its name.

    The new folder, beside ``folder``, holds links to the preprocessed images and masks, and files of its own for plans,
    splits and patients. Its fold 0 has the validation cases of the original's ``fold``. A folder that is there already
    is kept if it has the same split.

    Args:
        folder: the preprocessed data set's folder.
        fold: of the original.
        patients: that stay for training, drawn once, at least two.

    Raises:
        ValueError: if the fold has no more patients than that, the number of the variant is taken by another
            data set, or the variant was made for another fold or number of patients.
    """
    cases = sorted(_cases(folder))
    grouping, splits = find_grouping(cases, folder), planned_folds(folder, cases)
    groups = list(grouping.patients(splits[fold]["train"]).values())
    if not 2 <= patients < len(groups):
        raise ValueError(
            f"few cases: expected from 2 to {len(groups) - 1} patients, fewer than the fold has, got {patients}"
        )
    random.Random(CASES_SEED).shuffle(groups)
    split = {"train": sorted(case for group in groups[:patients] for case in group), "val": splits[fold]["val"]}
    number, _, name = folder.name.removeprefix("Dataset").partition("_")
    target = folder.with_name(f"Dataset{(int(number) + VARIANT) % 1000:03d}_{name}Few{patients}")
    _check_free(target, split)
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        link = target / path.name
        if (path.is_dir() or path.name in LINKED) and not link.exists():
            link.symlink_to(path.resolve(), target_is_directory=path.is_dir())
    write_json(target / GROUPS, {patient: list(members) for patient, members in grouping.patients(cases).items()})
    write_json(target / SPLITS, [split])
    return target.name


def copy_plans(source: Path, target: Path, name: str) -> None:
    """Write plans of one data set for its variant, unless they are there.

    Args:
        source: the preprocessed data set's folder.
        target: the variant's.
        name: of the plans.
    """
    if not plans_path(target, name).is_file():
        write_plans(plans_path(target, name), {**read_plans(plans_path(source, name)), "dataset_name": target.name})


def thinned(plans: Plans, configuration: str, factor: int) -> Plans:
    """Return plans whose network has ``1 / factor`` of the planned channels in every stage, at least 8.

    Their name gets ``_thinN``; data, patches and all else stay the same.

    Raises:
        ValueError: if there is no such configuration.
    """
    result = deepcopy(plans)
    architecture = configuration_of(plans, configuration)["architecture"]
    arguments = architecture["arch_kwargs"]
    arguments["features_per_stage"] = [max(FEWEST_CHANNELS, n // factor) for n in arguments["features_per_stage"]]
    # The whole architecture, because nnU-Net merges inherited configurations one level deep.
    result["configurations"][configuration]["architecture"] = architecture
    result["plans_name"] = f"{plans['plans_name']}_thin{factor}"
    return result


def _cases(folder: Path) -> set[str]:
    """Return the names of the cases that have a mask; TIFF masks may have a ``.json`` of their spacing beside them."""
    ending = read_dataset_json(folder / "dataset.json")["file_ending"]
    return {path.name.removesuffix(ending) for path in (folder / "gt_segmentations").glob(f"*{ending}")}


def _check_free(target: Path, split: dict[str, list[str]]) -> None:
    number = target.name[:10]
    others = [path.name for path in target.parent.glob(f"{number}_*") if path.name != target.name]
    if others:
        raise ValueError(f"few cases: expected the number {number} to be free for {target.name}, got {others}")
    if (target / SPLITS).is_file() and read_splits(target / SPLITS) != [split]:
        raise ValueError(f"few cases: expected the same fold and patients as in {target}, got others; remove it first")
