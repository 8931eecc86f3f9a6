"""``-tr nnUNetTrainerIACRandom``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.recipe import Recipe
from nnunet_iac.nnunet.trainers import IACTrainer


class nnUNetTrainerIACRandom(IACTrainer):
    """Control: the schedule of nnUNetTrainerIAC with cells drawn at random."""

    recipe = Recipe(host="train", cells="random")
