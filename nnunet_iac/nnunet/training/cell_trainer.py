"""nnU-Net's trainer for a network that is a stock host first and gets cells later.

The epochs are in epoch_trainer.py, the phases in trainers.py. One network object lives through all phases: a
:class:`~nnunet_iac.cells.network.CellUNet` without cells is the stock host (same keys, same numbers), the search puts
mixed cells into it and takes them out again, and the implantation puts the found cells in.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.distributed as distributed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_iac.atomic import replacing
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.model_folder import stored_genotype
from nnunet_iac.nnunet.files.plans import Plans, genotype_of, settings_of, with_genotype
from nnunet_iac.nnunet.files.splits import ensure_splits
from nnunet_iac.nnunet.training.cell_search import inherit_weights, seeded_cells
from nnunet_iac.nnunet.training.host_source import HostSource, load_host_source
from nnunet_iac.nnunet.training.plain_errors import show_plain_errors
from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.schedule import carry_momentum, make_optimizer
from nnunet_iac.nnunet.training.threads import respect_thread_limit
from nnunet_iac.nnunet.training.training_data import patients_of


class CellTrainer(nnUNetTrainer):
    """nnU-Net's trainer for a network that is a stock host first and gets cells later.

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
        show_plain_errors()
        threads = respect_thread_limit(device)
        # Bad settings and genotypes are refused before nnU-Net makes a results folder.
        self.settings = settings_of(plans, configuration)
        self.genotype: Genotype | None = genotype_of(plans, configuration)
        self.resume = bool(plans.get("continue_training", False))
        super().__init__(plans, configuration, fold, dataset_json, device)
        if threads is not None:
            self.print_to_log_file(threads)
        self.host_source: HostSource | None = load_host_source(self._fold_folder) if self.resume else None
        self.num_val_iterations_per_epoch = self.settings.training.validation_iterations
        self.save_every = 1  # a kill costs at most the running epoch
        self._fresh_host = ""
        self._shared_genotype = False
        self._patient_ranks: Any = None
        self._trained_by_ddp: frozenset[int] = frozenset()
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
        """Build the host from a seeded draw; cells come later.

        Raises:
            ValueError: if the plans carry cells that this trainer is not for.
        """
        if self.genotype is not None and self.recipe.cells not in ("search", self.genotype.kind):
            raise ValueError(
                f"plans: expected plans without cells for {type(self).__name__}, got {self.genotype.kind} cells in "
                f"{self.plans_manager.plans_name}; give the plans that these were derived from with -p"
            )
        torch.manual_seed(self.settings.search.seed)
        self.configuration_manager = PlansManager(self._plans_at_start()).get_configuration(self.configuration_name)
        super().initialize()
        self.remember_start()
        self._trained_by_ddp = _trained(self.network)

    def remember_start(self) -> None:
        """Remember the untrained start: weights that differ later were given (``-pretrained_weights``)."""
        self._fresh_host = self.cell_network.host_digest()

    def _plans_at_start(self) -> Plans:
        """Return the plans of the network that is built first."""
        return with_genotype(self.plans_manager.plans, self.configuration_name, Genotype.identity())

    @property
    def cell_network(self) -> CellUNet:
        """The network without the wrappers of DDP and torch.compile."""
        network: Any = self.network
        if isinstance(network, DistributedDataParallel):
            network = network.module
        return cast(CellUNet, network._orig_mod if isinstance(network, OptimizedModule) else network)

    def configure_optimizers(self) -> tuple[Any, Any]:
        """Return nnU-Net's SGD and polynomial decay; cells and host are two groups, frozen or not."""
        network = self.cell_network
        fine_tuning = self.recipe.host == "trained" and self._host_is_done
        return make_optimizer(
            network,
            initial_lr=self.initial_lr,
            weight_decay=self.weight_decay,
            epochs=self.num_epochs,
            host_scale=self.settings.training.host_rate if fine_tuning else 1.0,
        )

    def _freeze(self) -> None:
        """Let gradients reach what this epoch trains (not before: DDP refuses a network that trains nothing)."""
        network = self.cell_network
        if self._host_is_done:
            network.freeze_host(self._host_is_frozen())
        elif self.host_source is not None and self.host_source.heads_only:
            network.freeze_host(True)
            network.decoder.seg_layers.requires_grad_(True)
        else:
            network.freeze_host(False)

    @property
    def _host_is_done(self) -> bool:
        """Whether this is the training after the search, be it of a control without cells."""
        after_host = self.recipe.cells != "none" and self.current_epoch >= self.host_epochs
        return after_host or self.cell_network.cells is not None

    def _host_is_frozen(self) -> bool:
        if self.settings.training.freeze_host:
            return True
        implanting = self.recipe.host == "trained"
        # A control without cells trains from the first epoch on: one that waits for cells is no continued training.
        training, cells = self.settings.training, self.cell_network.cells
        alone = self.current_epoch - self.host_epochs < training.cells_first * training.epochs
        return implanting and cells is not None and alone

    def _adopt_shared_genotype(self) -> None:
        """Take the genotype that another fold of this model, or this run before it was killed, has stored."""
        if self.genotype is None and self.recipe.cells != "none":
            self._adopt(self._of_first_rank(lambda: stored_genotype(self._model_folder, self.configuration_name)))
            self._shared_genotype = self.genotype is not None

    def _of_first_rank(self, read: Callable[[], Any]) -> Any:
        """Return what the first rank reads, so that all ranks go the same way."""
        if not self.is_ddp:
            return read()
        if self._patient_ranks is None:
            # NCCL gives up after ten minutes; the first rank may wait much longer for another fold's search.
            self._patient_ranks = distributed.new_group(backend="gloo", timeout=timedelta(days=30))
        found = [read() if self.local_rank == 0 else None]
        distributed.broadcast_object_list(found, src=0, group=self._patient_ranks)
        return found[0]

    def _adopt(self, genotype: Genotype | None) -> None:
        """Put a genotype into the plans that checkpoints and the model folder carry."""
        if genotype is None:
            return
        self.genotype = genotype
        plans = with_genotype(self.plans_manager.plans, self.configuration_name, genotype)
        self.plans_manager = PlansManager(plans)
        self.my_init_kwargs["plans"] = plans

    def _implant(self) -> None:
        """Put the cells into the network; a new optimiser keeps the momentum of a host trained here."""
        network = self.cell_network
        if self.genotype is None or self.genotype.is_identity or network.cells is not None:
            return
        cells = seeded_cells(network, self.genotype, self.settings.search.seed)
        if self.settings.search.inherit and self.genotype.kind == "searched":
            inherit_weights(cells, network, self.settings, self._fold_folder, self.print_to_log_file)
        network.implant(cells.to(self.device))
        network.genotype = self.genotype
        self.configuration_manager = self.plans_manager.get_configuration(self.configuration_name)
        before = self.optimizer
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        self.network = self._wrapped(network)
        if self.recipe.host == "train":
            carry_momentum(before, self.optimizer)
        count = sum(p.numel() for p in cells.parameters())
        self.print_to_log_file(f"Implanted {self.genotype.kind} cells, {count} parameters; the logits are unchanged.")

    def _wrapped(self, network: Any) -> Any:
        """Return the network compiled and under DDP, as nnU-Net's ``initialize`` does."""
        if self._do_i_compile():
            network = torch.compile(network)
        if self.is_ddp:
            devices = [self.local_rank] if self.device.type == "cuda" else None
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
            network = DistributedDataParallel(network, device_ids=devices)
            self._trained_by_ddp = _trained(network)
        return network

    def _agree_on_what_is_trained(self) -> None:
        """Make DDP anew where other parameters are trained now; it asks for them only when it is made."""
        trained = _trained(self.network)
        if self.is_ddp and trained and trained != self._trained_by_ddp:
            self.network = self._wrapped(self.cell_network)

    # --- data ---------------------------------------------------------------------------------------------------

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return nnU-Net's split; where there is none yet and patients are known, it is made by patient."""
        ensure_splits(Path(self.preprocessed_dataset_folder_base), patients_of(self), self.fold, self.print_to_log_file)
        return super().do_split()

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


def _trained(network: torch.nn.Module) -> frozenset[int]:
    return frozenset(id(p) for p in network.parameters() if p.requires_grad)
