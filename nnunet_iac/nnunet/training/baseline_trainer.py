"""The trainer behind the baselines: another network around the host, the schedule of the control without cells."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from nnunet_iac.nnunet.files.plans import Plans, with_network
from nnunet_iac.nnunet.training.plain_errors import show_plain_errors
from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class BaselineTrainer(IACTrainer):
    """Train a host with other skip connections exactly as ``nnUNetTrainerIACIdentity`` trains it without any.

    ``host.epochs`` and then ``training.epochs``, one polynomial decay over both, the same batches, and with one seed
    the same first weights of the host. All weights are trained all the time (``training.freeze_host`` is not read).

    The plans that checkpoints and the model folder carry name the network, so nnU-Net rebuilds it as it is.

    Attributes:
        network_class: dotted name of a :class:`~nnunet_iac.cells.network.CellUNet` with cells of its own; set by the
            classes in ``trainers/``.
    """

    recipe = Recipe(host="train", cells="none")
    network_class: ClassVar[str]

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net demands this very signature
    ) -> None:
        show_plain_errors()
        plans = with_network(plans, configuration, self.network_class)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._skips: Any = None

    def _set_epochs(self) -> None:
        super()._set_epochs()
        self.num_epochs = self.host_epochs + self.settings.training.epochs

    def _plans_at_start(self) -> Plans:
        return self.plans_manager.plans

    def initialize(self) -> None:
        """Build the network; its skip connections stay aside until ``-pretrained_weights`` are in the host.

        nnU-Net refuses such weights for a network with keys that they do not have.
        """
        super().initialize()
        self._skips = self.cell_network.cells
        self.cell_network.cells = None

    def _settle_host(self) -> None:
        super()._settle_host()
        self._implant()
        count = sum(p.numel() for p in self._skips.parameters())
        self.print_to_log_file(f"Network: {self.network_class}, {count} parameters besides the host's.")
        if self.settings.training.freeze_host:
            self.print_to_log_file("WARNING: training.freeze_host is for cells: a baseline trains all its weights.")

    def _implant(self) -> None:
        """Put the skip connections back, with an optimiser that knows them."""
        if self.cell_network.cells is None:
            self.cell_network.implant(self._skips)
            self.optimizer, self.lr_scheduler = self.configure_optimizers()

    def _freeze(self) -> None:
        self.cell_network.freeze_host(False)

    def _run_phases(self) -> None:
        """Train; there is nothing to search for on the way."""
        self.on_train_start()
        self._run_epochs(self.num_epochs)
        self.on_train_end()
