"""nnU-Net's own trainer with the length of the other arms of ``bench_dice.py``; nothing else of it is changed."""

from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_iac.nnunet.files.plans import configuration_of
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.training.threads import respect_thread_limit


class nnUNetTrainerStockBudget(nnUNetTrainer):
    """nnU-Net's trainer; only the lengths that it fixes in code come from the plan's ``iac`` block.

    It takes as many steps as a host and its cells together: ``host.epochs * host.iterations + training.epochs *
    training.iterations``. Our choice: nnU-Net has classes for other numbers of epochs (``nnUNetTrainer_100epochs``),
    each of 250 steps. Its draws cannot be seeded.

    Raises:
        ValueError: if these steps are no whole number of epochs of ``training.iterations``, or the other arms are not
            augmented, which nnU-Net's trainer always does.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net demands this very signature
    ) -> None:
        respect_thread_limit(device)  # as the other arms do
        settings = Settings.from_block(configuration_of(plans, configuration).get("iac", {}))
        host, training = settings.host, settings.training
        steps = host.epochs * host.iterations + training.epochs * training.iterations
        if steps % training.iterations:
            raise ValueError(
                f"training.iterations: expected a divisor of the {steps} steps of host and cells, got "
                f"{training.iterations}; give host.iterations and training.iterations the same value"
            )
        if not training.augment:
            raise ValueError("training.augment: expected true with a stock arm, got false; leave the stock arm out")
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = steps // training.iterations
        self.num_iterations_per_epoch = training.iterations
        self.num_val_iterations_per_epoch = training.validation_iterations
