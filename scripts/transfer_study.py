"""What ``bench_transfer.py`` runs: a search from scratch, and searches that start from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.nnunet.studies.training_processes import Training
from nnunet_iac.reports.result import FILE_NAME as RESULT

SCRATCH = "scratch"
TRAINERS = Path(__file__).resolve().parent / "search_only"
"""The folder of the trainers: what comes after a search costs more than a short search, and says nothing here."""

HOST = ":host"
"""End of the name of an arm that takes the source's host alone."""

BUDGET = (
    "host.epochs=15 host.iterations=20 search.epochs=200 search.warmup_epochs=5 search.iterations=6 "
    "search.validation_iterations=4 training.epochs=1 training.validation_iterations=1"
).split()

COLD_CELLS = (
    "transfer.host=true",
    "transfer.weights=false",
    "transfer.temperature=inf",
    "transfer.rate=1",
)
"""Settings of an arm that takes the host alone: cells and logits are those of the search from scratch, bit for bit."""


@dataclass(frozen=True)
class SearchOnly(Training):
    """A run that ends with its search."""

    @property
    def is_done(self) -> bool:
        """Whether the search has its result."""
        return (self.folder / RESULT).is_file()


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        dataset: full name.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        plans: that all plans are derived from.
        zoo: of the sources.
        sources: the warm-started arms: ``transfer.source``, or that and ``:host``.
        seeds: ``search.seed``.
        budget: settings of all arms, later ones win.
        transfer: settings of the warm-started arms.
        batch_size: replaces the planned one.
        patch_size: replaces the planned one.
        tag: part of the plans' names, one for each budget.
    """

    dataset: str
    configuration: str
    fold: int
    plans: str
    zoo: str
    sources: Sequence[str]
    seeds: Sequence[int]
    budget: Sequence[str]
    transfer: Sequence[str]
    batch_size: int | None
    patch_size: Sequence[int] | None
    tag: str

    @property
    def arms(self) -> list[str]:
        """Names of the arms, the scratch search first."""
        return [SCRATCH, *self.sources]

    def plans_name(self, arm: str, seed: int) -> str:
        """Return the name of an arm's plans."""
        return f"{self.plans}_{self.tag}_{arm.replace(':', '_')}_seed{seed}"

    def settings(self, arm: str, seed: int) -> list[str]:
        """Return an arm's settings."""
        of_all = [*self.budget, f"search.seed={seed}"]
        if arm == SCRATCH:
            return of_all
        source = arm.removesuffix(HOST)
        warm = [f"transfer.zoo={self.zoo}", f'transfer.source="{source}"', *self.transfer]
        return [*of_all, *warm, *(COLD_CELLS if arm.endswith(HOST) else ())]

    def write_plans(self, arm: str, seed: int) -> None:
        """Derive an arm's plans, unless they are there already.

        Raises:
            SystemExit: if settings are refused, or there are plans of that name with others.
        """
        from nnunet_iac.nnunet.studies.study_plans import ensure_derived

        name, settings = self.plans_name(arm, seed), self.settings(arm, seed)
        try:
            ensure_derived(
                self.dataset,
                self.plans,
                name,
                self.configuration,
                settings,
                batch_size=self.batch_size,
                patch_size=self.patch_size,
            )
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(str(error)) from error

    def training(self, arm: str, seed: int, results: Path, device: str) -> SearchOnly:
        """Return an arm's process."""
        plans, trainer = self.plans_name(arm, seed), f"nnUNetTrainerSearch{'Scratch' if arm == SCRATCH else 'Warm'}"
        folder = results / self.dataset / f"{trainer}__{plans}__{self.configuration}" / f"fold_{self.fold}"
        what = ("nnUNetv2_train", str(dataset_number(self.dataset)), self.configuration, str(self.fold))
        return SearchOnly(f"{arm}, seed {seed}", [*what, "-tr", trainer, "-p", plans, "--c", "-device", device], folder)
