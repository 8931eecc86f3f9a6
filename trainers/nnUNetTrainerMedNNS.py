"""``-tr nnUNetTrainerMedNNS``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.recipe import Recipe
from nnunet_iac.nnunet.retrieved_trainer import RetrievedTrainer


class nnUNetTrainerMedNNS(RetrievedTrainer):
    """Trains the network that ``nnunet-iac retrieve`` chose, from its weights, for ``host.epochs``."""

    recipe = Recipe(host="train", cells="none")
