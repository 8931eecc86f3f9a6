"""Seeded samples of a preprocessed data set: patches as nnU-Net's own loader draws them, without augmentation.

Scores, distances and the watch over a pretraining look at the same patches of a plan that a training would see: same
normalisation, spacing and patch size, every patch with foreground in it where the case has any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.nnunet.cases.batches import make_batch
from nnunet_iac.nnunet.files.label_set import read_dataset_json
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, plans_path, preprocessed_folder, read_plans
from nnunet_iac.nnunet.files.splits import SPLITS, planned_folds

SAMPLE_STREAM = 4
"""Number of the batch stream; trainings and searches use the ones before."""


@dataclass(frozen=True)
class PreparedData:
    """Cases of a preprocessed data set, and how a plan looks at them.

    Attributes:
        dataset: full name.
        folder: with the preprocessed files of the configuration.
        plans: the plans.
        configuration: name, such as ``2d``.
        content: of ``dataset.json``.
        cases: identifiers.
        patch_size: of the samples.
        fold: whose training cases these are, None for all cases.
    """

    dataset: str
    folder: Path
    plans: Plans
    configuration: str
    content: Mapping[str, Any]
    cases: tuple[str, ...]
    patch_size: tuple[int, ...]
    fold: int | str | None = None

    @property
    def planned(self) -> dict[str, Any]:
        """The configuration, with what it inherits."""
        return configuration_of(self.plans, self.configuration)

    @property
    def dimensions(self) -> int:
        """Spatial axes of a sample, 2 or 3."""
        return len(self.patch_size)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the image channels."""
        names = self.content.get("channel_names") or self.content.get("modality") or {}
        return tuple(str(name) for name in (names.values() if isinstance(names, dict) else names))

    @property
    def label_names(self) -> dict[int, str]:
        """Name of each integer of the label maps; the integers of regions are called by number, background is 0."""
        labels = self.content["labels"]
        names: dict[int, str] = {0: "background"}
        for name, values in labels.items():
            if name == "ignore":
                continue
            if isinstance(values, (list, tuple)):
                names.update({int(v): names.get(int(v), f"label {int(v)}") for v in values})
            else:
                names[int(values)] = "background" if int(values) == 0 else str(name)
        return dict(sorted(names.items()))


def prepared_data(
    dataset: str,
    configuration: str,
    plans_name: str = "nnUNetPlans",
    *,
    fold: int | str | None = None,
    patch_size: Sequence[int] | None = None,
) -> PreparedData:
    """Find the preprocessed cases of a data set.

    Args:
        dataset: number or name.
        configuration: of the plans.
        plans_name: of the plans.
        fold: take the training cases of this fold only, as its ``splits_final.json`` says. Where there is none yet,
            as this package's trainers will split: by patient if ``patient_groups.json`` is there, else as nnU-Net does.
            ``"all"`` and None take all cases.
        patch_size: of the samples, None for the plan's.

    Raises:
        FileNotFoundError: if plans, ``dataset.json`` or preprocessed cases are missing.
        ValueError: if there is no such configuration or fold, the fold has no training cases, or the patch has another
            number of axes than the plan's.
        NotImplementedError: for the second stage of a cascade, which also looks at a segmentation.
    """
    base = preprocessed_folder(dataset)
    plans = read_plans(plans_path(base, plans_name))
    planned = _planned(plans, configuration, base.name)
    path = base / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(f"dataset.json: expected it in {base}, found none; preprocess the data set again")
    folder = base / planned["data_identifier"]
    present = _present_cases(folder)
    if not present:
        raise FileNotFoundError(
            f"-d {dataset}: expected preprocessed cases in {folder}, found none; "
            f"run nnUNetv2_preprocess -d {dataset} -plans_name {plans_name} -c {configuration}"
        )
    cases = present if fold is None or fold == "all" else _training_cases(base, present, int(fold))
    size = tuple(planned["patch_size"]) if patch_size is None else tuple(patch_size)
    if len(size) != len(planned["patch_size"]) or min(size) < 1:
        raise ValueError(
            f"patch size: expected {len(planned['patch_size'])} positive numbers for {configuration} of {base.name}, "
            f"got {list(size)}"
        )
    return PreparedData(base.name, folder, plans, configuration, read_dataset_json(path), tuple(cases), size, fold)


def sample_batches(
    data: PreparedData, *, count: int, batch_size: int, seed: int, stream: int = SAMPLE_STREAM
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ``count`` patches in all, each around a voxel of a random foreground class of a random case.

    A patch is a function of the data, the seed, the stream and its place (:mod:`nnunet_iac.nnunet.cases.batches`); how
    patches are put into batches does not change them.

    Args:
        data: see :func:`prepared_data`.
        count: patches.
        batch_size: patches of a batch; the last may have fewer.
        seed: of the draw.
        stream: number of the stream.

    Yields:
        images ``(B, C, *patch)`` in float32 and label maps ``(B, *patch)``, on the CPU; voxels outside of the image
        (nnU-Net's -1) are background.
    """
    loader = _loader(data)
    for start in range(0, count, batch_size):
        drawn = [_draw(data, loader, (seed, stream, place)) for place in range(start, min(start + batch_size, count))]
        images, labels = (torch.cat([torch.as_tensor(one[key]) for one in drawn]) for key in ("data", "target"))
        yield images.float(), labels[:, 0].long().clamp_min(0)


def _draw(data: PreparedData, loader: nnUNetDataLoader, key: tuple[int, ...]) -> dict[str, Any]:
    try:
        return make_batch(loader, key)
    except Exception as error:  # what nnU-Net's formats, pickle and NumPy raise for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{data.folder}: expected preprocessed cases as nnU-Net writes them, got a damaged one ({reason}); "
            "preprocess the data set again"
        ) from error


def _loader(data: PreparedData) -> nnUNetDataLoader:
    """Return nnU-Net's loader of one patch with foreground."""
    labels = PlansManager(data.plans).get_label_manager(dict(data.content))
    dataset = infer_dataset_class(str(data.folder))(str(data.folder), list(data.cases))
    return nnUNetDataLoader(dataset, 1, data.patch_size, data.patch_size, labels, oversample_foreground_percent=1.0)


def _planned(plans: Plans, configuration: str, dataset: str) -> dict[str, Any]:
    try:
        planned = configuration_of(plans, configuration)
    except ValueError as error:
        raise ValueError(f"{dataset}: {error}") from error
    if planned.get("previous_stage") is not None:
        raise NotImplementedError(f"-c: expected a configuration that is no second stage of a cascade: {configuration}")
    return planned


def validation_data(training: PreparedData) -> PreparedData:
    """Return the validation cases of the fold whose training cases these are, looked at in the same way.

    Raises:
        ValueError: if the training cases are those of no fold, or none of the validation cases is preprocessed.
    """
    base = training.folder.parent
    if training.fold is None or training.fold == "all":
        raise ValueError(f"-f: expected a fold, which has validation cases, got {training.fold}")
    present = _present_cases(training.folder)
    found = sorted(set(planned_folds(base, present)[int(training.fold)]["val"]) & set(present))
    if not found:
        raise ValueError(f"fold {training.fold}: expected validation cases in {training.folder}, found none")
    return replace(training, cases=tuple(found))


def _present_cases(folder: Path) -> list[str]:
    if not folder.is_dir() or not any(folder.iterdir()):
        return []
    try:
        kind = infer_dataset_class(str(folder))
    except (AssertionError, KeyError) as error:  # nnU-Net's answer to files of several or unknown kinds
        raise ValueError(
            f"{folder}: expected nnU-Net's preprocessed files of one kind, got others too ({error}); "
            "preprocess the data set again"
        ) from error
    return sorted(kind.get_identifiers(str(folder)))


def _training_cases(base: Path, cases: Sequence[str], fold: int) -> list[str]:
    splits = [split["train"] for split in planned_folds(base, cases)]
    if not 0 <= fold < len(splits):
        raise ValueError(f"-f: expected a fold from 0 to {len(splits) - 1}, got {fold}")
    found = set(splits[fold]) & set(cases)
    if not found:
        raise ValueError(
            f"fold {fold}: expected training cases, found none of the {len(splits[fold])} that {base / SPLITS} names; "
            "preprocess the data set again, or correct the file"
        )
    return sorted(found)
