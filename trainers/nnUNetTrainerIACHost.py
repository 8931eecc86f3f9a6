"""``-tr nnUNetTrainerIACHost``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACHost(IACTrainer):
    """Stock nnU-Net whose length (``host.epochs``) and seed come from the settings."""

    recipe = Recipe(host="train", cells="none")
