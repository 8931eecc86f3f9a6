"""``-tr nnUNetTrainerIACRandom``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACRandom(IACTrainer):
    """Control: the schedule of nnUNetTrainerIAC with cells drawn at random."""

    recipe = Recipe(host="train", cells="random")
