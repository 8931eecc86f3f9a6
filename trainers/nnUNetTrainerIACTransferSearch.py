"""``-tr nnUNetTrainerIACTransferSearch``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.transfer.transfer_trainer import TransferTrainer


class nnUNetTrainerIACTransferSearch(TransferTrainer):
    """nnUNetTrainerIACSearch whose cells and logits start from a search of the zoo."""

    recipe = Recipe(host="either", cells="search", train=False)
