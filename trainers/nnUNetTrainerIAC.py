"""``-tr nnUNetTrainerIAC``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIAC(IACTrainer):
    """Train a host, search cells for it, train both: the whole story in one flag."""

    recipe = Recipe(host="train", cells="search")
