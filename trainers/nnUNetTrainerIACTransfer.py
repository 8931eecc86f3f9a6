"""``-tr nnUNetTrainerIACTransfer``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.recipe import Recipe
from nnunet_iac.nnunet.transfer.transfer_trainer import TransferTrainer


class nnUNetTrainerIACTransfer(TransferTrainer):
    """nnUNetTrainerIAC whose host, cells and logits start from a search of the zoo."""

    recipe = Recipe(host="train", cells="search")
