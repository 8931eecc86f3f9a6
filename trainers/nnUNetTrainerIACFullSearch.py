"""``-tr nnUNetTrainerIACFullSearch``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACFullSearch(IACTrainer):
    """The original IAC: a search of full length in which nothing is pruned."""

    recipe = Recipe(host="train", cells="search", prune=False)
