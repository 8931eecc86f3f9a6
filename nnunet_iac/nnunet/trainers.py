"""The trainer behind all trainers of this package: host, search, training, as its recipe says.

nnU-Net finds the thin classes in ``trainers/``; what they share is here. One network object lives through all phases:
a :class:`~nnunet_iac.cells.network.CellUNet` without cells is the stock host (same keys, same numbers), the search
puts mixed cells into it and takes them out again, and the implantation puts the found cells in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_iac.atomic import replacing
from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.cell_search import SearchData, search_cells
from nnunet_iac.nnunet.host_source import HostSource, find_host_source, load_host_source, save_host_source
from nnunet_iac.nnunet.hosts import read_checkpoint, read_host
from nnunet_iac.nnunet.loaders import open_stream
from nnunet_iac.nnunet.model_folder import locked, store_genotype, store_plans, stored_genotype
from nnunet_iac.nnunet.plans import genotype_of, with_genotype
from nnunet_iac.nnunet.recipe import Recipe
from nnunet_iac.nnunet.schedule import FINE_TUNING, carry_momentum, make_optimizer
from nnunet_iac.nnunet.search_plans import output_plans_path, write_search_plans
from nnunet_iac.nnunet.settings import Settings
from nnunet_iac.nnunet.splits import Grouping, ensure_splits, find_grouping, split_patients

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
"""Numbers of the batch streams; the search uses 2 and 3."""


class IACTrainer(nnUNetTrainer):
    """nnU-Net's trainer with implantable adaptive cells.

    Epochs: ``host.epochs`` of stock training where the recipe trains a host, then (after the search, which does not
    count as epochs of nnU-Net) ``training.epochs``. Learning rate: nnU-Net's polynomial decay over all of them, so
    with identity cells the whole is one stock training of that length.

    Attributes:
        recipe: what this trainer does; set by the classes in ``trainers/``.
        settings: from the plan.
        host_source: where the host's weights come from, None before that is settled.
        genotype: of the cells, None while it is unknown.
    """

    recipe: ClassVar[Recipe] = Recipe()
    # nnU-Net does not annotate its attributes.
    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    optimizer: Any
    network: Any

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net demands this very signature
    ) -> None:
        self.resume = bool(plans.get("continue_training", False))
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.settings = Settings.from_block(self.configuration_manager.configuration.get("iac", {}))
        self.genotype: Genotype | None = genotype_of(self.plans_manager.plans, configuration)
        self.host_source: HostSource | None = load_host_source(self._fold_folder) if self.resume else None
        self.num_val_iterations_per_epoch = self.settings.training.validation_iterations
        self.save_every = 1  # a kill costs at most the running epoch
        self._fresh_host = ""
        self._set_epochs()

    @property
    def _fold_folder(self) -> Path:
        return Path(self.output_folder)

    @property
    def _model_folder(self) -> Path:
        return Path(self.output_folder_base)

    def _set_epochs(self) -> None:
        source = self.host_source
        self.host_epochs = source.epochs if source is not None else self.settings.host.epochs
        self.num_epochs = self.host_epochs + (0 if self.recipe.cells == "none" else self.settings.training.epochs)

    # --- the network --------------------------------------------------------------------------------------------

    def initialize(self) -> None:
        """Build the host from a seeded draw; cells come later, except under DDP, where they are known."""
        if self.genotype is None and (self._model_folder / "plans.json").is_file():
            self._adopt(stored_genotype(self._model_folder, self.configuration_name))
        if self.is_ddp and self.genotype is None and self.recipe.cells == "search":
            raise NotImplementedError(
                "-num_gpus: expected 1 for the search, got more; search on one GPU (nnUNetTrainerIACSearch), "
                "then train the found plans on all of them with -p <plans>_iac"
            )
        torch.manual_seed(self.settings.search.seed)
        genotype = self.genotype if self.is_ddp and self.genotype is not None else Genotype.identity()
        plans = with_genotype(self.plans_manager.plans, self.configuration_name, genotype)
        self.configuration_manager = PlansManager(plans).get_configuration(self.configuration_name)
        super().initialize()
        self._fresh_host = self.cell_network.host_digest()

    @property
    def cell_network(self) -> CellUNet:
        """The network without the wrappers of DDP and torch.compile."""
        network: Any = self.network
        if isinstance(network, DistributedDataParallel):
            network = network.module
        return cast(CellUNet, network._orig_mod if isinstance(network, OptimizedModule) else network)

    def _do_i_compile(self) -> bool:
        # The network changes until its cells are in; after that it is compiled as nnU-Net does.
        settled = self.network is not None and (self.is_ddp or self.cell_network.cells is not None)
        return settled and super()._do_i_compile()

    def configure_optimizers(self) -> tuple[Any, Any]:
        """Return nnU-Net's SGD and polynomial decay; cells and host are two groups."""
        network = self.cell_network
        self._freeze()
        fine_tuning = self.recipe.host == "trained" and network.cells is not None
        return make_optimizer(
            network,
            initial_lr=self.initial_lr,
            weight_decay=self.weight_decay,
            epochs=self.num_epochs,
            host_scale=FINE_TUNING if fine_tuning else 1.0,
        )

    def _freeze(self) -> None:
        """Let gradients reach what this epoch trains."""
        network = self.cell_network
        if network.cells is not None:
            network.freeze_host(self._host_is_frozen())
        elif self.host_source is not None and self.host_source.heads_only:
            network.freeze_host(True)
            network.decoder.seg_layers.requires_grad_(True)
        else:
            network.freeze_host(False)

    def _host_is_frozen(self) -> bool:
        implanting = self.recipe.host == "trained"
        wanted = self.settings.training.freeze_host
        if wanted or (wanted is None and implanting):
            return True
        # Cells first, then everything at a low rate; DDP cannot change what is trained on the way.
        return (
            implanting
            and not self.is_ddp
            and 2 * (self.current_epoch - self.host_epochs) < self.settings.training.epochs
        )

    def _adopt(self, genotype: Genotype | None) -> None:
        """Put a genotype into the plans that checkpoints and the model folder carry."""
        if genotype is None:
            return
        self.genotype = genotype
        plans = with_genotype(self.plans_manager.plans, self.configuration_name, genotype)
        self.plans_manager = PlansManager(plans)
        self.my_init_kwargs["plans"] = plans

    def _implant(self) -> None:
        """Put the cells into the network; a new optimiser keeps the host's momentum."""
        if self.genotype is None or self.genotype.is_identity or self.cell_network.cells is not None:
            return
        network = self.cell_network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.search.seed + 1)
            cells = DiscreteCells(self.genotype, network.stages)
            cells.apply(network.initialize)
        network.implant(cells.to(self.device))
        network.genotype = self.genotype
        self.configuration_manager = self.plans_manager.get_configuration(self.configuration_name)
        self.network = torch.compile(network) if self._do_i_compile() else network
        before = self.optimizer
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        if before is not None and self.recipe.host == "train":
            carry_momentum(before, self.optimizer)
        count = sum(p.numel() for p in cells.parameters())
        self.print_to_log_file(
            f"Implanted {self.genotype.kind} cells with {count} parameters; the logits are unchanged."
        )

    # --- the run ------------------------------------------------------------------------------------------------

    def run_training(self) -> None:
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
        if not self.recipe.train and self.genotype is None:
            output_plans_path(self.preprocessed_dataset_folder_base, self.plans_manager.plans, self.configuration_name)
        if self.recipe.cells == "search" and self.genotype is None:
            self._search_split()
        self._settle_host()
        with self._locked("plans.lock", "Waiting for another fold that writes the plans"):
            super().on_train_start()
            store_plans(self._model_folder, self.plans_manager.plans)

    def _settle_host(self) -> None:
        if self.host_source is not None:
            if not self.host_source.trains and self.current_epoch == 0 and self.cell_network.cells is None:
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

    def _run_epochs(self, end: int) -> None:
        """nnU-Net's loop, up to epoch ``end``."""
        while self.current_epoch < end:
            self.on_epoch_start()
            self.on_train_epoch_start()
            outputs = [self.train_step(next(self.dataloader_train)) for _ in range(self.num_iterations_per_epoch)]
            self.on_train_epoch_end(outputs)
            with torch.no_grad():
                self.on_validation_epoch_start()
                losses = [
                    self.validation_step(next(self.dataloader_val)) for _ in range(self.num_val_iterations_per_epoch)
                ]
                self.on_validation_epoch_end(losses)
            self.on_epoch_end()

    def on_epoch_start(self) -> None:
        """Set the epoch's iterations and what it trains."""
        host = self.current_epoch < self.host_epochs
        self.num_iterations_per_epoch = self.settings.host.iterations if host else self.settings.training.iterations
        super().on_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Start the epoch as nnU-Net does, then freeze what it does not train."""
        super().on_train_epoch_start()
        self._freeze()

    def _settle_genotype(self) -> None:
        if self.genotype is not None:
            self.print_to_log_file(
                f"Using the {self.genotype.kind} genotype that the plans carry; nothing is searched."
            )
            return
        with self._locked("search.lock", "Waiting for the fold that searches for this model's genotype"):
            found = stored_genotype(self._model_folder, self.configuration_name)
            if found is not None:
                self.print_to_log_file(
                    "Reusing the genotype that another fold of this model found (all folds of a model share one). "
                    "The Dice that nnU-Net reports for this fold is therefore not nested in the search."
                )
            self._adopt(found or self._make_genotype())
            store_genotype(self._model_folder, self.configuration_name, self.genotype)
            with self._locked("plans.lock", "Waiting for another fold that writes the plans"):
                store_plans(self._model_folder, self.plans_manager.plans)

    def _make_genotype(self) -> Genotype:
        settings = self.settings
        if self.recipe.cells == "identity":
            return Genotype.identity()
        if self.recipe.cells == "random":
            return Genotype.random(
                seed=settings.search.seed,
                nodes=settings.cell.nodes,
                second_input=settings.cell.second_input,
                width=settings.cell.width,
                count=1 if settings.cell.shared else len(self.cell_network.stages),
            )
        data = self._search_split()
        source = self.host_source
        return search_cells(
            self.cell_network,
            self.loss,
            data,
            settings,
            self._fold_folder,
            device=self.device,
            host_checkpoint=str(source.checkpoint) if source is not None and source.checkpoint else None,
            prune=self.recipe.prune,
            resume=self.resume,
            log=self.print_to_log_file,
        )

    def _finish_search_only(self) -> None:
        path = write_search_plans(
            self.preprocessed_dataset_folder_base, self.plans_manager.plans, self.configuration_name, self.genotype
        )
        self.print_to_log_file(f"Wrote {path}. Train it with nnUNetv2_train … -p {path.stem}, with any trainer.")
        for stream in (self.dataloader_train, self.dataloader_val):
            if hasattr(stream, "_finish"):
                stream._finish()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does; a trainer that only searches has nothing to validate."""
        if self.recipe.train:
            super().perform_actual_validation(save_probabilities)
        else:
            self.print_to_log_file("Search only: no training, no validation.")

    # --- data ---------------------------------------------------------------------------------------------------

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return nnU-Net's split; where there is none yet and patients are known, it is made by patient."""
        ensure_splits(Path(self.preprocessed_dataset_folder_base), self._patients(), self.fold, self.print_to_log_file)
        return super().do_split()

    def _patients(self) -> Grouping:
        cases = sorted(self.dataset_class.get_identifiers(self.preprocessed_dataset_folder))
        return find_grouping(cases, Path(self.preprocessed_dataset_folder_base))

    def _search_split(self) -> SearchData:
        grouping = self._patients()
        if grouping.source is None:
            self.print_to_log_file(
                "WARNING: patients are unknown (no patient_groups.json): the data of the search are split by case. "
                "If a patient has several cases, the architecture is fitted to data that trained the weights."
            )
        search = self.settings.search
        weights, architecture = split_patients(self.do_split()[0], grouping, fraction=search.fraction, seed=search.seed)
        return SearchData(weights, architecture, self._open_search_stream, grouping.source)

    def _open_search_stream(self, cases: list[str], stream: int, start: int, augment: bool) -> Any:
        return open_stream(
            self, cases, augment=augment, seed=self.settings.search.seed, stream=stream, start=start, share=2
        )

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Return seeded streams of nnU-Net's batches, from the current epoch on."""
        training, validation = self.do_split()
        seed = self.settings.search.seed
        done_host = min(self.current_epoch, self.host_epochs)
        drawn = done_host * self.settings.host.iterations
        drawn += (self.current_epoch - done_host) * self.settings.training.iterations
        seen = self.current_epoch * self.num_val_iterations_per_epoch
        return (
            open_stream(self, training, augment=True, seed=seed, stream=TRAINING_STREAM, start=drawn),
            open_stream(self, validation, augment=False, seed=seed, stream=VALIDATION_STREAM, start=seen, share=2),
        )

    # --- checkpoints --------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        """Save as nnU-Net does, but whole or not at all."""
        if self.disable_checkpointing or self.local_rank != 0:
            super().save_checkpoint(filename)
            return
        with replacing(filename) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Load as nnU-Net does; if the checkpoint has cells, they are implanted first."""
        if not self.was_initialized:
            self.initialize()
        if isinstance(filename_or_checkpoint, str):
            checkpoint = read_checkpoint(Path(filename_or_checkpoint))
            if any(key.startswith("cells.") for key in checkpoint["network_weights"]):
                self._adopt(genotype_of(checkpoint["init_args"]["plans"], self.configuration_name))
                self.current_epoch = checkpoint["current_epoch"]
                self._implant()
        super().load_checkpoint(filename_or_checkpoint)

    def _locked(self, name: str, message: str) -> Any:
        return locked(self._model_folder, name, self.print_to_log_file, message)
