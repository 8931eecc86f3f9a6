"""``-tr nnUNetTrainerMedNNS``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.retrieval.retrieved_trainer import RetrievedTrainer
from nnunet_iac.nnunet.training.recipe import Recipe


class nnUNetTrainerMedNNS(RetrievedTrainer):
    """Trains the network that ``nnunet-iac retrieve`` chose, from its weights, for ``host.epochs``."""

    recipe = Recipe(host="train", cells="none")
