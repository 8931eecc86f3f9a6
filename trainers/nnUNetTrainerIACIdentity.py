"""``-tr nnUNetTrainerIACIdentity``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACIdentity(IACTrainer):
    """Control: the schedule of nnUNetTrainerIAC without any cell."""

    recipe = Recipe(host="train", cells="identity")
