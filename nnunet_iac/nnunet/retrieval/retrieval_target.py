"""The data set that a network is wanted for: what is known of it before anything is retrieved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunet_iac.metaspace.task import DatasetSample, Task
from nnunet_iac.metaspace.zoo_tasks import encoder_identity
from nnunet_iac.nnunet.cases.dataset_features import region_features
from nnunet_iac.nnunet.cases.encoders import RANDOM
from nnunet_iac.nnunet.cases.image_samples import PreparedData
from nnunet_iac.nnunet.files.plans import Plans
from nnunet_iac.nnunet.files.splits import split_patients
from nnunet_iac.nnunet.files.weights import WeightTarget, weight_target
from nnunet_iac.nnunet.probe.probe_trainer import fold_cases
from nnunet_iac.zoo.stock import StockArchitecture

HELD_OUT_SEED = 0
"""Of the draw of the patients that judge candidates: the same for all of them."""


@dataclass(frozen=True, eq=False)
class Target:
    """The data set that a network is wanted for.

    Attributes:
        data: what the training cases look like, with the plans to derive from; running statistics of batch
            normalisation are taken from them.
        fold: whose training cases were looked at.
        network: what the network of the plans reads and answers.
        sample: features of images of the fold's training cases.
        training_cases: for short trainings.
        held_out_cases: to judge these, other patients.
        name: of the derived plans.
        plans_path: where they are written.
        folder: of the retrieval.
    """

    data: PreparedData
    fold: int | str
    network: WeightTarget
    sample: DatasetSample
    training_cases: tuple[str, ...]
    held_out_cases: tuple[str, ...]
    name: str
    plans_path: Path
    folder: Path

    @property
    def plans(self) -> Plans:
        """To derive from."""
        return self.data.plans

    @property
    def configuration(self) -> str:
        """Of these plans."""
        return self.data.configuration


def retrieval_target(
    data: PreparedData,
    fold: int | str,
    *,
    name: str,
    plans_path: Path,
    folder: Path,
    patches: int,
    share: float,
    seed: int,
    device: str,
) -> Target:
    """Look at a fold's training cases and divide them by patient for short trainings.

    Args:
        data: the fold's training cases.
        fold: nnU-Net's.
        name: of the derived plans.
        plans_path: where they are written.
        folder: of the retrieval.
        patches: of the images to look at.
        share: of the patients that judge candidates.
        seed: of the patches.
        device: where to compute.

    Raises:
        ValueError: if the share is out of range, the plans are no stock ones, or no patch has a labelled voxel.
    """
    if not 0 < share < 1:
        raise ValueError(f"--share: expected a number between 0 and 1, got {share}")
    cases, grouping = fold_cases(data.plans, data.configuration, fold, data.content)
    training, held_out = split_patients(cases, grouping, fraction=share, seed=HELD_OUT_SEED)
    side = region_features(data, patches=patches, seed=seed, device=device)
    sample = DatasetSample(data.dataset, side.features, encoder_identity(RANDOM, data.dimensions), side.labels)
    return Target(
        data=replace(data, cases=tuple(map(str, training))),
        fold=fold,
        network=weight_target(data.plans, data.configuration, dict(data.content)),
        sample=sample,
        training_cases=tuple(training),
        held_out_cases=tuple(held_out),
        name=name,
        plans_path=plans_path,
        folder=folder,
    )


def fitting_tasks(tasks: Sequence[Task], target: Target, say: Callable[[str], None]) -> list[Task]:
    """Return the sources whose networks and features can serve the target; the others are named."""
    residual = StockArchitecture(target.network.architecture).residual
    fitting = []
    for task in tasks:
        same_kind = bool(task.candidates.topology[0, -1]) == residual
        if task.dataset == target.sample.name:
            say(f"left out: {task.name} is the target itself")
        elif target.sample.name in task.lineage:
            say(f"left out: the weights of {task.name} have seen the target, from which its host started")
        elif task.sample.encoder != target.sample.encoder or not same_kind:
            say(f"left out: {task.name} has another number of axes, encoder of features or kind of network")
        else:
            fitting.append(task)
    return fitting
