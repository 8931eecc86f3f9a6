"""The papers' matrix as plain records: which trainings there are, under which plans, where they lie.

A training (:class:`Job`) has a host, an arm, a fold and a seed, and is augmented or not, as in the paper from its first
step to its last: host, search and training with cells. Prediction follows (see
:class:`~nnunet_iac.nnunet.files.settings.TrainingSettings`). So every arm is there twice, the controls too.

Every training has plans of its own, for each fold too (our choice): no job waits for another one, in whatever order a
cluster runs them, and a fold's validation cases are never seen by the search whose cells they measure. The folds of
one plans file would share the genotype that the first of them found. Preprocessed data are shared by all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.nnunet.files.plans import derive, plans_path, read_plans
from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.studies.study_plans import ensure_plans

OWN = ("search.seed", "search.augment", "training.augment", "search.prune")
"""Settings that the matrix gives each job itself."""


@dataclass(frozen=True)
class PaperHost:
    """A network of nnU-Net: who plans it, and the plans it gets."""

    planner: str
    plans: str


@dataclass(frozen=True)
class PaperArm:
    """What becomes of the skip connections.

    Attributes:
        trainer: name of the class.
        one_phase: whether ``host.epochs`` are its whole length; they are set so that all arms train equally long.
    """

    trainer: str
    one_phase: bool = False


HOSTS: Mapping[str, PaperHost] = MappingProxyType(
    {
        "plain": PaperHost("ExperimentPlanner", "nnUNetPlans"),
        "residual-M": PaperHost("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans"),
        "residual-L": PaperHost("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans"),
        "residual-XL": PaperHost("nnUNetPlannerResEncXL", "nnUNetResEncUNetXLPlans"),
    }
)
"""The hosts that nnU-Net 2.8.1 plans; it has no planner for a residual host of size S."""

CONTROL, RANDOM, FULL, PRUNED = "identity", "random", "full-search", "pruned-search"

ARMS: Mapping[str, PaperArm] = MappingProxyType(
    {
        CONTROL: PaperArm("nnUNetTrainerIACIdentity"),
        "stock": PaperArm("nnUNetTrainerIACHost", one_phase=True),
        "attention": PaperArm("nnUNetTrainerAttentionSkips"),
        "dense": PaperArm("nnUNetTrainerDenseSkips"),
        RANDOM: PaperArm("nnUNetTrainerIACRandom"),
        FULL: PaperArm("nnUNetTrainerIACFullSearch"),
        PRUNED: PaperArm("nnUNetTrainerIAC"),
    }
)
"""The arms, the control first.

``stock`` trains the host as nnU-Net does, with the steps and the seed of the others. On a CPU it equals the control
bit for bit; on a GPU their difference shows what the machine's own randomness gives.
"""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        host: key of :data:`HOSTS`.
        arm: key of :data:`ARMS`.
        augmented: whether host, search and training see nnU-Net's augmentation.
        fold: nnU-Net's fold.
        seed: ``search.seed``, of weights, batches and the search.
    """

    host: str
    arm: str
    augmented: bool
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """In words.

        Example:
            >>> Job("plain", "full-search", False, 0, 2).name
            'plain, full-search, not augmented, fold 0, seed 2'
        """
        augmented = "augmented" if self.augmented else "not augmented"
        return f"{self.host}, {self.arm}, {augmented}, fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Matrix:
    """All trainings of one data set and configuration.

    Attributes:
        dataset: full name, ``Dataset027_ACDC``.
        configuration: nnU-Net's.
        hosts: keys of :data:`HOSTS`.
        arms: keys of :data:`ARMS`.
        augmentation: of all that is trained; True, False or both.
        folds: nnU-Net's folds.
        seeds: one run of each arm for each of them.
        tag: part of the plans' names, so that two budgets do not meet.
        budget: assignments for all jobs, as ``nnunet-iac configure --set`` takes them.

    Raises:
        ValueError: if the budget sets what the matrix sets, or has bad settings.
    """

    dataset: str
    configuration: str
    hosts: Sequence[str]
    arms: Sequence[str]
    augmentation: Sequence[bool]
    folds: Sequence[int]
    seeds: Sequence[int]
    tag: str = "paper"
    budget: Sequence[str] = ()

    def __post_init__(self) -> None:
        taken = [text for text in self.budget if text.partition("=")[0] in OWN]
        if taken:
            raise ValueError(f"--budget: expected settings other than {list(OWN)}, which differ by job, got {taken}")
        Settings.from_block(parse_assignments(self.budget))

    def jobs(self) -> tuple[Job, ...]:
        """Return the trainings, none twice; seed by seed and fold by fold, so that whole tables come early.

        Example:
            >>> arms, augmentation = ["identity", "full-search"], [True, False]
            >>> matrix = Matrix("Dataset027_ACDC", "2d", ["plain"], arms, augmentation, [0], [0])
            >>> [(job.arm, job.augmented) for job in matrix.jobs()]
            [('identity', True), ('full-search', True), ('identity', False), ('full-search', False)]
        """
        combinations = product(self.seeds, self.folds, self.augmentation, self.hosts, self.arms)
        found = (Job(host, arm, augmented, fold, seed) for seed, fold, augmented, host, arm in combinations)
        return tuple(dict.fromkeys(found))

    def plans_name(self, job: Job) -> str:
        """Return the name of the job's plans.

        Example:
            >>> matrix = Matrix("Dataset027_ACDC", "2d", ["plain"], ["stock"], [True, False], [0], [3])
            >>> [matrix.plans_name(job) for job in matrix.jobs()]
            ['nnUNetPlans_paper_seed3_fold0_stock', 'nnUNetPlans_paper_seed3_fold0_not_augmented_stock']
        """
        ending = ("" if job.augmented else "_not_augmented") + ("_stock" if ARMS[job.arm].one_phase else "")
        return f"{HOSTS[job.host].plans}_{self.tag}_seed{job.seed}_fold{job.fold}{ending}"

    def settings(self, job: Job) -> Settings:
        """Return the job's settings: the budget, the seed, the augmentation, and for one phase as many steps."""
        block = parse_assignments(self.budget)
        block.setdefault("search", {}).update(seed=job.seed, augment=job.augmented)
        block.setdefault("training", {}).update(augment=job.augmented)
        settings = Settings.from_block(block)
        if not ARMS[job.arm].one_phase:
            return settings
        host, training = settings.host, settings.training
        steps = host.epochs * host.iterations + training.epochs * training.iterations
        block["host"] = {"epochs": round(steps / training.iterations), "iterations": training.iterations}
        return Settings.from_block(block)

    def folder(self, job: Job, results: Path) -> Path:
        """Return the fold's folder, below ``nnUNet_results``."""
        model = f"{ARMS[job.arm].trainer}__{self.plans_name(job)}__{self.configuration}"
        return results / self.dataset / model / f"fold_{job.fold}"

    def command(self, job: Job, device: str) -> list[str]:
        """Return nnU-Net's command; with ``--c`` it goes on where it was, and starts where there is nothing yet.

        Example:
            >>> matrix = Matrix("Dataset027_ACDC", "2d", ["plain"], ["identity"], [True], [1], [0])
            >>> " ".join(matrix.command(matrix.jobs()[0], "cuda"))
            'nnUNetv2_train 27 2d 1 -tr nnUNetTrainerIACIdentity -p nnUNetPlans_paper_seed0_fold1 --c -device cuda'
        """
        what = (str(dataset_number(self.dataset)), self.configuration, str(job.fold))
        how = ("-tr", ARMS[job.arm].trainer, "-p", self.plans_name(job))
        return ["nnUNetv2_train", *what, *how, "--c", "-device", device]

    def ensure_plans(self, job: Job, preprocessed: Path) -> None:
        """Derive the job's plans in the folder of the preprocessed data set, if they are not there yet.

        Raises:
            FileNotFoundError: if the host's plans are missing.
            ValueError: if there are plans of that name with another meaning; the file is not touched.
        """
        host = read_plans(plans_path(preprocessed, HOSTS[job.host].plans))
        derived = derive(host, self.configuration, self.plans_name(job), self.settings(job).to_block())
        ensure_plans(preprocessed, [derived], self.configuration)
