"""``AttentionUNet``: a stock nnU-Net host whose skips pass attention gates, named by the plans file.

Source: Oktay et al. 2018, Attention U-Net, arXiv 1804.03999; the gate is MONAI's ``AttentionBlock``. What differs from
the paper:

* host, training and deep supervision are nnU-Net's;
* the gate is steered by the decoder's signal after up-sampling (as in MONAI), not before, so that no coefficient is
  interpolated; the batch normalisations in the gate are MONAI's too;
* the skip of full resolution has a gate as well (as in MONAI); the paper leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.operations import Stage

OPEN = 3.0
"""First bias before the sigmoid: coefficients start near 0.95, because the paper's gates let everything pass at first.

The value is that of the authors' code (``concatenation_sigmoid`` in ozan-oktay/Attention-Gated-Networks).
"""


class AttentionUNet(CellUNet):
    """The host's encoder and decoder under their stock names, with :class:`AttentionGates` as ``cells``.

    Args:
        backbone: dotted name of the host class, see :func:`nnunet_iac.cells.network.host_class`.
        deep_supervision: return one output for each decoder stage, highest resolution first, as the host does.
        **host_arguments: the host's own arguments.

    Raises:
        ValueError: for an unknown host.

    Example:
        >>> network = AttentionUNet("PlainConvUNet", input_channels=1, num_classes=2, n_stages=3,
        ...     features_per_stage=[8, 16, 32], conv_op=nn.Conv2d, kernel_sizes=3, strides=[1, 2, 2],
        ...     n_conv_per_stage=1, n_conv_per_stage_decoder=1, norm_op=nn.InstanceNorm2d, nonlin=nn.LeakyReLU)
        >>> network(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, backbone: str, deep_supervision: bool = False, **host_arguments: Any) -> None:
        super().__init__(backbone, Genotype.identity(), deep_supervision, **host_arguments)
        # Forked: with one seed the host draws the weights that it draws without gates.
        with torch.random.fork_rng(devices=[]):
            self.implant(AttentionGates(self.stages))


class AttentionGates(nn.Module):
    """One additive attention gate for each skip connection.

    ``skip * a`` with ``a = sigmoid(psi(relu(W_x(skip) + W_g(signal))))``, one coefficient in [0, 1] for each pixel. The
    three maps are convolutions of size 1 with batch normalisation, so kernels and strides of the host do not matter;
    ``W_x`` and ``W_g`` map to half of the skip's channels.

    Args:
        stages: the host's stages with a skip connection, full resolution first.

    Example:
        >>> gates = AttentionGates([Stage(8, (3, 3))])
        >>> gates(0, torch.ones(2, 8, 4, 4), torch.ones(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            AttentionBlock(stage.dimension, f_int=max(1, stage.channels // 2), f_g=stage.channels, f_l=stage.channels)
            for stage in stages
        )
        for gate in self.levels:
            nn.init.constant_(_last_bias(gate), OPEN)

    def forward(self, level: int, skip: torch.Tensor, decoder_signal: torch.Tensor) -> torch.Tensor:
        """Return the gated skip of one level; all tensors ``(B, C, *spatial)``."""
        gated: torch.Tensor = self.levels[level](g=decoder_signal, x=skip)
        return gated


def _last_bias(gate: Any) -> torch.Tensor:
    """Return the bias of the normalisation before the sigmoid."""
    bias: torch.Tensor = gate.psi[1].bias
    return bias
