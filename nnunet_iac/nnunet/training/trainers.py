"""The trainer behind all trainers of this package: host, search, training, as its recipe says.

nnU-Net finds the thin classes in ``trainers/``; what they share is here.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.hosts import read_host
from nnunet_iac.nnunet.files.model_folder import locked, store_genotype, store_plans
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.files.search_plans import output_plans_path, write_search_plans
from nnunet_iac.nnunet.training.cell_search import RESULT, control_genotype, search_cells, set_aside
from nnunet_iac.nnunet.training.cell_start import CellStart
from nnunet_iac.nnunet.training.determinism import deterministic
from nnunet_iac.nnunet.training.epoch_trainer import EpochTrainer
from nnunet_iac.nnunet.training.host_source import find_host_source, save_host_source
from nnunet_iac.nnunet.training.training_data import search_data
from nnunet_iac.search import ranks
from nnunet_iac.search.turns import finish


class IACTrainer(EpochTrainer):
    """nnU-Net's trainer with implantable adaptive cells: its phases.

    Epochs: ``host.epochs`` of stock training where the recipe trains a host, then (after the search, which does not
    count as epochs of nnU-Net) ``training.epochs``. Learning rate: nnU-Net's polynomial decay over all of them, so
    with identity cells the whole is one stock training of that length.
    """

    _restoring = False

    def initialize(self) -> None:
        """Build the host, and load what it starts from; see :meth:`CellTrainer.initialize` and :meth:`load_start`."""
        # nnU-Net writes plans.json in place; the lock keeps this from reading half of another fold's.
        with self._locked("plans.lock", "Waiting for another fold that writes the plans"):
            self._adopt_shared_genotype()
        super().initialize()
        if not self._restoring:
            self.load_start()

    def load_start(self) -> None:
        """Load weights to start from, for trainers that have some; not called where a checkpoint is loaded anyway."""

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Load a checkpoint of this training (``--c``, ``--val``); it has trained weights."""
        self._restoring = True
        super().load_checkpoint(filename_or_checkpoint)

    def run_training(self) -> None:
        """Run all phases, alone in the fold's folder: two trainings there would overwrite each other's checkpoints.

        With ``training.deterministic`` by deterministic algorithms.

        Raises:
            TimeoutError: if another process trains this fold.
        """
        wanted = self.settings.training.deterministic
        with self._alone(), deterministic(wanted, self.device, self.print_to_log_file):
            self._run_phases()

    def _run_phases(self) -> None:
        """Host, search, training: each phase is skipped where it is finished or not in the recipe."""
        self.on_train_start()
        self._run_epochs(self.host_epochs)
        if self.recipe.cells != "none":
            self._settle_genotype()
            if not self.recipe.train:
                self._finish_search_only()
                return
            self._implant()
            self._run_epochs(self.num_epochs)
        self.on_train_end()

    def on_train_start(self) -> None:
        """Check what would fail later, then start as nnU-Net does."""
        if not self.was_initialized:
            self.initialize()
        if not self.recipe.train:
            known = self.genotype if self.resume else None
            output_plans_path(
                self.preprocessed_dataset_folder_base, self.plans_manager.plans, self.configuration_name, known
            )
        if self.recipe.cells == "search" and self.genotype is None:
            search_data(self, self.settings)
            if not self.resume and self.local_rank == 0:
                # Now, not when the search starts: killed before that and continued, this run must not take it up.
                set_aside(self._fold_folder, self.print_to_log_file)
        self._settle_host()
        with self._locked("plans.lock", "Waiting for another fold that writes the plans"):
            # Another fold may have found the genotype since this one was initialised; it must not lose it again.
            self._adopt_shared_genotype()
            super().on_train_start()
            self._store_plans()

    def _settle_host(self) -> None:
        # Without a checkpoint nothing was trained yet, and -pretrained_weights that were given then are gone.
        untrained = self.current_epoch == 0 and self.host_source is not None and self.host_source.trains
        if self.host_source is not None and not untrained:
            if not self.host_source.trains and self.current_epoch == 0:
                self._load_host()
            return
        self.host_source = find_host_source(
            self.recipe.host,
            pretrained=self.cell_network.host_digest() != self._fresh_host,
            plans=self.plans_manager.plans,
            configuration=self.configuration_name,
            fold=self.fold,
            epochs=self.settings.host.epochs,
        )
        self.print_to_log_file(f"Host: {self.host_source.message}")
        if not self.host_source.trains:
            self._load_host()
        self._set_epochs()
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        if self.local_rank == 0:
            save_host_source(self._fold_folder, self.host_source)

    def _load_host(self) -> None:
        network = self.cell_network
        path = Path(str(self.host_source.checkpoint)) if self.host_source else Path()
        expected = {k: v for k, v in network.state_dict().items() if not k.startswith("cells.")}
        network.load_state_dict(dict(read_host(path, expected, self.device).weights), strict=network.cells is None)

    def _settle_genotype(self) -> None:
        if self.genotype is not None and not self._shared_genotype:
            self.print_to_log_file(
                f"Using the {self.genotype.kind} genotype that the plans carry; nothing is searched."
            )
            return
        with self._locked("search.lock", "Waiting for the fold that searches for this model's genotype"):
            self._adopt_shared_genotype()
            if self._shared_genotype:
                self.print_to_log_file(self._reuse_message())
            # Adopted again where it is known: a checkpoint from before the search brought plans without it.
            self._adopt(self.genotype or self._make_genotype())
            if self.local_rank == 0:
                store_genotype(self._model_folder, self.configuration_name, self.genotype)
            with self._locked("plans.lock", "Waiting for another fold that writes the plans"):
                self._store_plans()

    def _store_plans(self) -> None:
        """Write the model's plans, whole, after all ranks have done so in nnU-Net's way."""
        ranks.wait()
        if self.local_rank == 0:
            store_plans(self._model_folder, self.plans_manager.plans)

    def _reuse_message(self) -> str:
        if self.recipe.cells != "search" or (self._fold_folder / RESULT).is_file():
            return (
                "Using the genotype that this model has already, whatever the settings say now. To get another one, "
                "train under another plans name (nnunet-iac configure -o)."
            )
        return (
            "Reusing the genotype that another fold of this model found (all folds of a model share one). "
            "The Dice that nnU-Net reports for this fold is therefore not nested in the search."
        )

    def _make_genotype(self) -> Genotype:
        if self.recipe.cells != "search":
            return control_genotype(self.recipe.cells, self.settings, levels=len(self.cell_network.stages))
        source = self.host_source
        # The ranks of a search average its gradients themselves; see nnunet_iac.search.ranks.
        self.network = self.cell_network if self.is_ddp else self.network
        return search_cells(
            self.cell_network,
            self.loss,
            search_data(self, self.settings),
            self.settings,
            self._fold_folder,
            device=self.device,
            host_checkpoint=source.checkpoint if source is not None else None,
            prune=self.recipe.prune,
            resume=self.resume,
            log=self.print_to_log_file,
            start=self._cell_start(),
        )

    def _cell_start(self) -> CellStart | None:
        """Return how the cells of the search start, None for a fresh draw."""
        return None

    def _finish_search_only(self) -> None:
        if self.local_rank == 0:
            path = write_search_plans(
                self.preprocessed_dataset_folder_base, self.plans_manager.plans, self.configuration_name, self.genotype
            )
            self.print_to_log_file(f"Wrote {path}. Train it with nnUNetv2_train … -p {path.stem}, with any trainer.")
        finish(self.dataloader_train, self.dataloader_val)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does; a trainer that only searches has nothing to validate."""
        if self.recipe.train:
            with deterministic(self.settings.training.deterministic, self.device, lambda _: None):
                super().perform_actual_validation(save_probabilities)
        else:
            self.print_to_log_file("Search only: no training, no validation.")

    def _alone(self) -> Any:
        if self.local_rank != 0:
            return nullcontext()
        remedy = "wait for it, or train under another plans name (nnunet-iac configure -o)"
        return alone_in(self._fold_folder, name="fold", remedy=remedy)

    def _locked(self, name: str, message: str) -> Any:
        # The first rank holds the lock across nnU-Net's barrier: a second one that waited for it would wait for ever.
        if self.local_rank != 0:
            return nullcontext()
        return locked(self._model_folder, name, self.print_to_log_file, message)
