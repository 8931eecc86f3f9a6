"""The warm-started search of ``bench_transfer.py``: that of ``nnUNetTrainerIACTransfer`` with its host, and the end."""

from __future__ import annotations

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.transfer.transfer_trainer import TransferTrainer


class nnUNetTrainerSearchWarm(TransferTrainer):
    """nnUNetTrainerIACTransfer without training and validation; it takes no finished host."""

    recipe = Recipe(host="train", cells="search", train=False)
