"""``-tr nnUNetTrainerIACSearch``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.training.trainers import IACTrainer


class nnUNetTrainerIACSearch(IACTrainer):
    """Search only: write ``<plans>_iac.json`` next to the plans; no training with cells follows.

    Takes a finished host, or trains one for ``host.epochs`` first.
    """

    recipe = Recipe(host="either", cells="search", train=False)
