"""What ``bench_dice.py`` runs: the arms, their trainers and the plans that they are trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, derive, plans_path, read_plans
from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.studies.training_processes import Training

HOST, STOCK, CONTROL, RANDOM, FULL, PRUNED, SHORT, ATTENTION, DENSE = (
    *("host", "stock", "identity", "random"),
    *("full search", "pruned search", "short search"),
    *("attention", "dense"),
)
ONLY_FROM_SCRATCH = {
    STOCK: "nnUNetTrainerStockBudget",
    ATTENTION: "nnUNetTrainerAttentionSkips",
    DENSE: "nnUNetTrainerDenseSkips",
}
"""Trainers of arms that no trained host is implanted into."""

TRAINERS = {
    HOST: "Host",
    CONTROL: "Identity",
    RANDOM: "Random",
    FULL: "FullSearch",
    PRUNED: "",
    SHORT: "",
}
"""What follows ``nnUNetTrainerIAC`` or ``nnUNetTrainerIACImplant``."""
PAIRS = ((FULL, RANDOM), (PRUNED, RANDOM), (SHORT, RANDOM), (PRUNED, FULL), (SHORT, FULL))
BUDGET = (
    "host.epochs=15 host.iterations=20 search.epochs=200 search.warmup_epochs=10 search.iterations=6 "
    "training.epochs=20 training.iterations=20 training.validation_iterations=2"
).split()
SHORT_BUDGET = "search.epochs=10 search.warmup_epochs=2 search.drift=0.5".split()


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        dataset: full name, ``Dataset004_Hippocampus``.
        configuration: nnU-Net's.
        folds: nnU-Net's; a seed is trained on each, and its run is all of them.
        plans: that all plans are derived from.
        trained_host: whether a host is trained once for all arms of a seed.
        seeds: ``search.seed``.
        arms: keys of :data:`TRAINERS` and :data:`ONLY_FROM_SCRATCH`.
        budget: settings of all arms, later ones win.
        short: further settings of the short search.
        batch_size: replaces the planned one.
        patch_size: replaces the planned one.
        tag: part of the plans' names, one for each budget.
        hosts: tag of an earlier study whose hosts are taken.
    """

    dataset: str
    configuration: str
    folds: Sequence[int]
    plans: str
    trained_host: bool
    seeds: Sequence[int]
    arms: Sequence[str]
    budget: Sequence[str]
    short: Sequence[str]
    batch_size: int | None
    patch_size: Sequence[int] | None
    tag: str
    hosts: str | None

    def plans_name(self, arm: str, seed: int) -> str:
        """Return the name of an arm's plans."""
        tag = self.hosts or self.tag if arm == HOST else f"{self.tag}_short" if arm == SHORT else self.tag
        return f"{self.plans}_{tag}_seed{seed}"

    def trainer(self, arm: str) -> str:
        """Return the name of the class."""
        if arm in ONLY_FROM_SCRATCH:
            return ONLY_FROM_SCRATCH[arm]
        implants = self.trained_host and arm != HOST
        return f"nnUNetTrainerIAC{'Implant' if implants else ''}{TRAINERS[arm]}"

    def derived_plans(self, preprocessed: Path) -> list[Plans]:
        """Return what the plans of all arms and seeds are to hold, each once.

        Raises:
            FileNotFoundError: if the plans to derive from are missing.
            ValueError: for bad settings or patches.
        """
        found: dict[str, Plans] = {}
        trained_here = [HOST] if self.trained_host and self.hosts is None else []
        for seed, arm in product(self.seeds, (*trained_here, *self.arms)):
            name = self.plans_name(arm, seed)
            # A trained host is looked for under the name of the plans that an arm's plans derive from.
            source = self.plans if arm == HOST or not self.trained_host else self.plans_name(HOST, seed)
            if name not in found:
                plans = found.get(source) or read_plans(plans_path(preprocessed, source))
                block = parse_assignments(self.settings(arm, seed))
                found[name] = derive(plans, self.configuration, name, block, self.batch_size, self.patch_size)
        return list(found.values())

    def settings(self, arm: str, seed: int) -> list[str]:
        """Return an arm's settings."""
        return [*self.budget, *(self.short if arm == SHORT else []), f"search.seed={seed}"]

    def whole_budget(self, preprocessed: Path) -> list[str]:
        """Return the settings of all arms, each once, with those of the plans that they derive from.

        Hosts of an earlier study were trained as their plans say, whatever this study's say.

        Raises:
            FileNotFoundError: if those plans are missing.
            ValueError: if the hosts were not all trained equally long.
        """
        sources = {self.plans} if self.hosts is None else {self.plans_name(HOST, seed) for seed in self.seeds}
        plans = [read_plans(plans_path(preprocessed, name)) for name in sorted(sources)]
        blocks = [configuration_of(one, self.configuration).get("iac", {}) for one in plans]
        trained = {Settings.from_block(block).host for block in blocks}
        if len(trained) > 1:
            raise ValueError(
                f"--hosts: expected hosts of one budget, got {sorted(map(str, trained))} for the seeds "
                f"{list(self.seeds)} of {self.hosts}; give the seeds of one budget, or train hosts under another --tag"
            )
        mine = parse_assignments(self.budget)
        merged = {name: {**blocks[0].get(name, {}), **mine.get(name, {})} for name in {**blocks[0], **mine}}
        if self.hosts is not None:
            merged["host"] = asdict(trained.pop())
        merged.get("search", {}).pop("seed", None)
        return [f"{name}.{key}={_word(value)}" for name, section in merged.items() for key, value in section.items()]

    def taken_from_hosts(self, budget: Sequence[str]) -> list[str]:
        """Return which settings of a whole budget are an earlier study's, because this one says nothing of them.

        Above all ``training.freeze_host``: hosts of a study with frozen ones hand it on.
        """
        own = {word.split("=")[0] for word in self.budget}
        return [] if self.hosts is None else [w for w in budget if w.split("=")[0] not in own and w[:5] != "host."]

    def model_folder(self, arm: str, seed: int, results: Path) -> Path:
        """Return nnU-Net's folder of an arm's models, one for each fold."""
        name = f"{self.trainer(arm)}__{self.plans_name(arm, seed)}__{self.configuration}"
        return results / self.dataset / name

    def training(self, arm: str, seed: int, fold: int, results: Path, device: str) -> Training:
        """Return an arm's process."""
        folder = self.model_folder(arm, seed, results) / f"fold_{fold}"
        what = ["nnUNetv2_train", str(dataset_number(self.dataset)), self.configuration, str(fold)]
        what += ["-tr", self.trainer(arm), "-p", self.plans_name(arm, seed), "--c", "-device", device]
        return Training(f"{arm}, seed {seed}{f', fold {fold}' if len(self.folds) > 1 else ''}", what, folder)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
