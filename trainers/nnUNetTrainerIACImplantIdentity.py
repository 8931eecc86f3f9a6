"""``-tr nnUNetTrainerIACImplantIdentity``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACImplantIdentity(IACTrainer):
    """Control: the trained host is trained on like that of nnUNetTrainerIACImplant, without any cell."""

    recipe = Recipe(host="trained", cells="identity")
