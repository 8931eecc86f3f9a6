"""``-tr nnUNetTrainerDenseSkips``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.baseline_trainer import BaselineTrainer


class nnUNetTrainerDenseSkips(BaselineTrainer):
    """Baseline: the schedule of nnUNetTrainerIACIdentity with nested dense skips (UNet++)."""

    network_class = "nnunet_iac.baselines.dense.DenseSkipUNet"
