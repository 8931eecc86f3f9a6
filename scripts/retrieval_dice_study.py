"""What ``bench_retrieval_dice.py`` runs: names of plans, folders and trainings, and each target's own zoo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval_dice_tables import SCRATCH

from nnunet_iac.atomic import write_json
from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.nnunet.studies.training_processes import Training

Run = tuple[str, str, int]
"""Target, arm and seed."""


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        targets: full names, ``Dataset508_DSB18nuclei``.
        together: full names of data sets that are left out together.
        arms: the control first.
        seeds: of batches, of weights that no source has, of candidates' trainings and of the random choice.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        plans: that all plans are derived from.
        zoo: of all data sets.
        budget: settings of all arms, later ones win.
        batch_size: replaces the planned one.
        patch_sizes: by target; replace the planned ones.
        retrieve_iterations: steps of a candidate's epoch.
        patches: of the target that are looked at.
        device: nnU-Net's.
        tag: part of the names of plans and zoos, one for each budget.
    """

    targets: Sequence[str]
    together: Sequence[str]
    arms: Sequence[str]
    seeds: Sequence[int]
    configuration: str
    fold: int
    plans: str
    zoo: str
    budget: Sequence[str]
    batch_size: int | None
    patch_sizes: Mapping[str, Sequence[int]]
    retrieve_iterations: int
    patches: int
    device: str
    tag: str

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [(target, arm, seed) for target in self.targets for arm in self.arms for seed in self.seeds]

    def left_out(self, target: str) -> set[str]:
        """Return the data sets that a target's zoo is without."""
        return {target, *(self.together if target in self.together else ())}

    def plans_name(self, run: Run) -> str:
        """Return the name of an arm's plans."""
        _, arm, seed = run
        return f"{self.plans}_{self.tag}_seed{seed}{'' if arm == SCRATCH else f'_{arm}'}"

    def zoo_folder(self, target: str, results: Path) -> Path:
        """Return where a target's zoo lies."""
        return results / target / f"zoo_without__{self.tag}"

    def retrieval_folder(self, run: Run, results: Path) -> Path:
        """Return where ``nnunet-iac retrieve`` keeps what it found for an arm."""
        from nnunet_iac.nnunet.retrieval.retrieved_trainer import retrieval_folder

        return retrieval_folder(results, run[0], self.plans_name(run), self.configuration)

    def training(self, run: Run, results: Path) -> Training:
        """Return an arm's fine-tuning."""
        target, arm, seed = run
        plans, trainer = self.plans_name(run), "nnUNetTrainerIACHost" if arm == SCRATCH else "nnUNetTrainerMedNNS"
        folder = results / target / f"{trainer}__{plans}__{self.configuration}" / f"fold_{self.fold}"
        what = ("nnUNetv2_train", str(dataset_number(target)), self.configuration, str(self.fold))
        command = [*what, "-tr", trainer, "-p", plans, "--c", "-device", self.device]
        return Training(f"{target} {arm}, seed {seed}", command, folder)


def patch_sizes(words: Sequence[str], targets: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the patch size of each target that has one: ``64 64`` or ``64x64`` for all, ``ID=64x64`` for one.

    Raises:
        ValueError: if a word is none of these, or names no target.

    Example:
        >>> patch_sizes(["96x96", "4=56x40"], ["Dataset004_A", "Dataset501_B"])
        {'Dataset004_A': (56, 40), 'Dataset501_B': (96, 96)}
    """
    own = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    common = "x".join(word for word in words if "=" not in word)
    by_number = {str(dataset_number(target)): target for target in targets}
    if strange := sorted(set(own) - set(by_number)):
        raise ValueError(f"--patch-size: expected numbers of targets before =, got {strange}; targets: {[*by_number]}")
    sizes = {target: own.get(key, common) for key, target in by_number.items()}
    try:
        return {target: tuple(int(axis) for axis in size.split("x")) for target, size in sizes.items() if size}
    except ValueError as error:
        raise ValueError(f"--patch-size: expected such as 96x96 or 4=56x40, got {' '.join(words)}") from error


def leave_out(study: Study, target: str, results: Path) -> None:
    """Copy the zoo without what it has of a target, unless that is there, and say what is in it.

    Raises:
        SystemExit: if there is nothing else, or the zoo is not that of the first call.
    """
    from nnunet_iac.zoo.candidates_entries import FEATURES, SUBNETWORKS, SUPERNET
    from nnunet_iac.zoo.exchange import copy_entries
    from nnunet_iac.zoo.store import Zoo

    whole, folder = Zoo(study.zoo), study.zoo_folder(target, results)
    kinds, without = (SUPERNET, SUBNETWORKS, FEATURES), study.left_out(target)
    fitting = [e for e in whole.entries() if e.kind in kinds and e.configuration == study.configuration]
    wanted = sorted(entry.id for entry in fitting if entry.dataset not in without)
    if not wanted:
        raise SystemExit(f"--zoo: expected data sets other than {sorted(without)}, got none; nnunet-iac zoo build")
    own = Zoo.create(folder)
    if not (listing := folder.with_name(f"{folder.name}.json")).is_file():
        copy_entries(whole, own, wanted)
        write_json(listing, wanted)
    there = own.entries()
    if not json.loads(listing.read_text(encoding="utf-8")) == wanted == sorted(entry.id for entry in there):
        raise SystemExit(f"--tag: expected {study.zoo} without {sorted(without)} in {folder}, got others; give another")
    sources = sorted({entry.dataset for entry in there})
    dropped = sorted({entry.dataset for entry in fitting} & without)
    print(
        f"{target}: sources {', '.join(sources)}; left out of {folder.name}: {', '.join(dropped) or 'none'}", flush=True
    )


def write_plans(study: Study, target: str, seed: int) -> None:
    """Derive the plans of scratch, which those of all other arms derive from, unless they are there already.

    Raises:
        SystemExit: if settings are refused, or there are plans of that name with others.
    """
    from nnunet_iac.nnunet.studies.study_plans import ensure_derived

    name, settings = study.plans_name((target, SCRATCH, seed)), [*study.budget, f"search.seed={seed}"]
    patch_size = study.patch_sizes.get(target)
    try:
        ensure_derived(
            target, study.plans, name, study.configuration, settings, batch_size=study.batch_size, patch_size=patch_size
        )
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error
