"""``-tr nnUNetTrainerIACImplantFullSearch``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACImplantFullSearch(IACTrainer):
    """nnUNetTrainerIACImplant with a search of full length in which nothing is pruned."""

    recipe = Recipe(host="trained", cells="search", prune=False)
