"""``-tr nnUNetTrainerAttentionSkips``, found by nnU-Net through nnUNet_extTrainer."""

from nnunet_iac.nnunet.training.baseline_trainer import BaselineTrainer


class nnUNetTrainerAttentionSkips(BaselineTrainer):
    """Baseline: the schedule of nnUNetTrainerIACIdentity with attention gates on the skips (Attention U-Net)."""

    network_class = "nnunet_iac.baselines.attention.AttentionUNet"
