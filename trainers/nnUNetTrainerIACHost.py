"""``-tr nnUNetTrainerIACHost``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.recipe import Recipe
from nnunet_iac.nnunet.trainers import IACTrainer


class nnUNetTrainerIACHost(IACTrainer):
    """Stock nnU-Net whose length (``host.epochs``) and seed come from the settings."""

    recipe = Recipe(host="train", cells="none")
