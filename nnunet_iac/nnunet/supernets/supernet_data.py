"""What a supernet learns from: cases of a fold in nnU-Net's batches, and other cases to measure on.

The fold's training cases are split by patient: the supernet part trains the weights, the selection part tells which
sub-network is good. A supernet that starts from a trained host is another matter: the host has seen all training cases,
and the largest sub-network *is* the host, while narrow ones keep little of it; on training cases the large would look
too good against the narrow. So all training cases train it, and it is measured on the fold's validation cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.nnunet.cases.image_samples import PreparedData, prepared_data, validation_data
from nnunet_iac.nnunet.cases.loaders import open_stream
from nnunet_iac.nnunet.files.plans import derive, preprocessed_folder
from nnunet_iac.nnunet.files.splits import find_grouping, split_patients
from nnunet_iac.nnunet.files.weights import WeightTarget, read_weight_target
from nnunet_iac.zoo.candidates_dice import Labels
from nnunet_iac.zoo.distillation import Activation

SPLIT_SEED = 0
"""Of the draw of the selection part: the same for all builds and audits of a fold."""

TRAINING_STREAM = 100
"""Number of the batch stream; trainings, searches and pretrainings use lower ones."""

Loss = Callable[[Any, Any], torch.Tensor]


@dataclass(frozen=True, eq=False)
class SupernetData:
    """The cases of a build, and how nnU-Net looks at them.

    Attributes:
        training: the supernet part.
        selection: cases of other patients, to measure on.
        target: the plan's network.
        batch_size: patches of a step.
        share: of the patients that are in the selection part; None if that is the fold's validation cases.
        patients: where patients are known from, None if every case counts as one.
    """

    training: PreparedData
    selection: PreparedData
    target: WeightTarget
    batch_size: int
    share: float | None
    patients: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """What two builds must agree on to be compared, as JSON has it; without names of cases."""
        data = self.training
        return {
            "dataset": data.dataset,
            "plans": data.plans["plans_name"],
            "configuration": data.configuration,
            "fold": data.fold,
            "patch_size": list(data.patch_size),
            "batch_size": self.batch_size,
            "share": self.share,
            "supernet_cases": _fingerprint(self.training.cases),
            "selection_cases": _fingerprint(self.selection.cases),
        }

    @property
    def activation(self) -> Activation:
        """What logits mean: ``sigmoid`` for regions."""
        return "sigmoid" if self._manager.has_regions else "softmax"

    @property
    def foreground(self) -> Labels:
        """The label of each foreground class, or the labels of each region, in the order of the outputs."""
        manager = self._manager
        return [
            tuple(int(v) for v in label) if isinstance(label, (tuple, list)) else int(label)
            for label in (manager.foreground_regions if manager.has_regions else manager.foreground_labels)
        ]

    @property
    def ignored(self) -> int | None:
        """Label of voxels that nobody annotated."""
        label = self._manager.ignore_label
        return None if label is None else int(label)

    def loss(self, *, deep_supervision: bool) -> Loss:
        """Return nnU-Net's loss: Dice and cross-entropy (binary for regions), weighted over the outputs."""
        loss: Loss = StandIn(self, torch.device("cpu"), deep_supervision=deep_supervision)._build_loss()
        return loss

    def batches(self, *, seed: int, start: int, device: torch.device) -> Any:
        """Return an endless iterator over augmented batches of the supernet part from number ``start`` on.

        Batches are a pure function of seed and number; nnU-Net's ``nnUNet_n_proc_DA`` says how many processes draw
        them. Call its ``_finish``, if it has one, when done.
        """
        task = StandIn(self, device, deep_supervision=True)
        return open_stream(task, self.training.cases, augment=True, seed=seed, stream=TRAINING_STREAM, start=start)

    @property
    def _manager(self) -> Any:
        return PlansManager(self.training.plans).get_label_manager(dict(self.training.content))


class StandIn(nnUNetTrainer):
    """nnU-Net's loss, sampling and augmentation without the rest of its trainer: no folder, no log, no network."""

    def __init__(self, data: SupernetData, device: torch.device, *, deep_supervision: bool) -> None:
        cases = data.training
        plans = derive(
            cases.plans, cases.configuration, cases.plans["plans_name"], {}, data.batch_size, cases.patch_size
        )
        self.is_ddp, self.local_rank, self.device = False, 0, device
        self.plans_manager = PlansManager(plans)
        self.configuration_manager = self.plans_manager.get_configuration(cases.configuration)
        self.label_manager = self.plans_manager.get_label_manager(dict(cases.content))
        self.is_cascaded, self.folder_with_segs_from_previous_stage = False, None
        self.preprocessed_dataset_folder = str(cases.folder)
        self.dataset_class = infer_dataset_class(str(cases.folder))
        self.batch_size = data.batch_size
        self.oversample_foreground_percent, self.probabilistic_oversampling = 0.33, False
        self.enable_deep_supervision = deep_supervision

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """Say nothing."""

    def _do_i_compile(self) -> bool:
        return False


def supernet_data(
    dataset: str,
    configuration: str,
    plans_name: str = "nnUNetPlans",
    *,
    fold: int | str = 0,
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    share: float | None = 0.2,
) -> SupernetData:
    """Find the data of a build; nothing is trained or written.

    Args:
        dataset: number or name.
        configuration: of the plans.
        plans_name: of the plans.
        fold: whose training cases are taken, or ``all``.
        patch_size: None for the plan's.
        batch_size: None for the plan's.
        share: of the fold's training patients that go to the selection part; None to measure on the validation cases.

    Raises:
        FileNotFoundError: if plans, ``dataset.json`` or preprocessed cases are missing.
        ValueError: if an argument is out of range or does not fit the plan, or there is only one patient.
        NotImplementedError: for the second stage of a cascade.
    """
    cases = prepared_data(dataset, configuration, plans_name, fold=fold, patch_size=patch_size)
    size = int(cases.planned["batch_size"] if batch_size is None else batch_size)
    if size < 1 or not (share is None or 0 < share < 1):
        raise ValueError(
            f"--batch-size, --share: expected at least 1 and a number between 0 and 1, got {size} and {share}"
        )
    everything = prepared_data(dataset, configuration, plans_name)
    grouping = find_grouping(everything.cases, preprocessed_folder(dataset))
    if share is None:
        parts = cases, validation_data(cases)
    else:
        split = split_patients(cases.cases, grouping, fraction=share, seed=SPLIT_SEED)
        parts = replace(cases, cases=tuple(split[0])), replace(cases, cases=tuple(split[1]))
    data = SupernetData(
        training=parts[0],
        selection=parts[1],
        target=read_weight_target(dataset, configuration, plans_name),
        batch_size=size,
        share=share,
        patients=grouping.source,
    )
    data.loss(deep_supervision=True)  # refuses a patch that the network cannot take
    return data


def _fingerprint(cases: Sequence[str]) -> dict[str, Any]:
    return {"count": len(cases), "sha256_of_names": hashlib.sha256("\n".join(sorted(cases)).encode()).hexdigest()}
