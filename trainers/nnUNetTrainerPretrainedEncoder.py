"""``-tr nnUNetTrainerPretrainedEncoder``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.pretraining.pretrained_encoder import PretrainedEncoderTrainer
from nnunet_iac.nnunet.training.recipe import Recipe


class nnUNetTrainerPretrainedEncoder(PretrainedEncoderTrainer):
    """Trains from the encoder that ``nnunet-iac pretrain`` made, for ``host.epochs``."""

    recipe = Recipe(host="train", cells="none")
