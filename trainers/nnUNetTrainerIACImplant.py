"""``-tr nnUNetTrainerIACImplant``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACImplant(IACTrainer):
    """Upgrade a trained host: search cells with the host frozen, implant them, train both."""

    recipe = Recipe(host="trained", cells="search")
