"""``-tr nnUNetTrainerIACImplantRandom``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACImplantRandom(IACTrainer):
    """Control: nnUNetTrainerIACImplant with cells drawn at random."""

    recipe = Recipe(host="trained", cells="random")
