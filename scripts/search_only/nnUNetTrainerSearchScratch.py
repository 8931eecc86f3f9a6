"""The search from scratch of ``bench_transfer.py``: host and search of ``nnUNetTrainerIAC``, and then the end."""

from __future__ import annotations

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerSearchScratch(IACTrainer):
    """nnUNetTrainerIAC without training and validation; unlike nnUNetTrainerIACSearch it takes no finished host."""

    recipe = Recipe(host="train", cells="search", train=False)
