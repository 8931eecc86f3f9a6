"""``-tr nnUNetTrainerIACAuto``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.transfer.auto_trainer import AutoTrainer


class nnUNetTrainerIACAuto(AutoTrainer):
    """Retrieves network and weights from a zoo, trains the host, searches from the nearest search, implants, trains."""

    recipe = Recipe(host="train", cells="search")
