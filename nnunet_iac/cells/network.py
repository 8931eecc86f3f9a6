"""``CellUNet``: a stock nnU-Net host with cells in its skip connections, named by the plans file.

Because the class and its genotype stand in the plans (``architecture.network_class_name`` and
``arch_kwargs.genotype``), the stock trainer, ``nnUNetv2_predict`` and the zip export rebuild it as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells, SkipCell
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.operations import Stage

HOSTS: dict[str, type[nn.Module]] = {"PlainConvUNet": PlainConvUNet, "ResidualEncoderUNet": ResidualEncoderUNet}
"""Host classes by name: encoder and ``UNetDecoder`` as nnU-Net 2.8 plans them."""


def host_class(backbone: str) -> type[nn.Module]:
    """Return the host class for a dotted name from a plans file (old plans name other modules; the class counts).

    Raises:
        ValueError: if the class is not a host that cells can be implanted into.

    Example:
        >>> host_class("dynamic_network_architectures.architectures.unet.PlainConvUNet").__name__
        'PlainConvUNet'
    """
    name = str(backbone).rpartition(".")[2]
    if name not in HOSTS:
        raise ValueError(
            f"backbone: expected a host that cells can be implanted into, one of {sorted(HOSTS)}, got {backbone!r}; "
            "plan the data set with a stock nnU-Net planner"
        )
    return HOSTS[name]


class CellUNet(nn.Module):
    """The host's encoder and decoder under their stock names, plus ``cells``.

    With the identity genotype the network has exactly the host's ``state_dict`` keys. With any genotype it computes
    exactly the host's logits until the cells' projections are trained.

    Args:
        backbone: dotted name of the host class, see :func:`host_class`.
        genotype: a :class:`~nnunet_iac.cells.genotype.Genotype` or its JSON form.
        deep_supervision: return one output for each decoder stage, highest resolution first, as the host does.
        **host_arguments: the host's own arguments (``input_channels``, ``num_classes``, ``n_stages`` ...).

    Raises:
        ValueError: for an unknown host or a genotype that does not fit.

    Example:
        >>> network = CellUNet("PlainConvUNet", Genotype.random(seed=0), input_channels=1, num_classes=2, n_stages=3,
        ...     features_per_stage=[8, 16, 32], conv_op=nn.Conv2d, kernel_sizes=3, strides=[1, 2, 2],
        ...     n_conv_per_stage=1, n_conv_per_stage_decoder=1, norm_op=nn.InstanceNorm2d, norm_op_kwargs={},
        ...     nonlin=nn.LeakyReLU, nonlin_kwargs={})
        >>> network(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(
        self,
        backbone: str,
        genotype: Genotype | Mapping[str, Any],
        deep_supervision: bool = False,
        **host_arguments: Any,
    ) -> None:
        super().__init__()
        if not isinstance(genotype, Genotype):
            genotype = Genotype.from_dict(genotype)
        host: Any = host_class(backbone)(deep_supervision=deep_supervision, **host_arguments)
        self._initialize_host = host.initialize
        self.key_to_encoder, self.key_to_stem = host.key_to_encoder, host.key_to_stem
        self.keys_to_in_proj = host.keys_to_in_proj
        self.encoder: Any = host.encoder
        self.decoder: Any = host.decoder
        self.genotype = genotype
        self.host_is_frozen = False
        self.cells: nn.Module | None = None
        if not genotype.is_identity:
            self.implant(DiscreteCells(genotype, self.stages))

    @property
    def stages(self) -> list[Stage]:
        """The host's stages that have a skip connection, full resolution first."""
        encoder = self.encoder
        dimension = 2 if issubclass(encoder.conv_op, nn.Conv2d) else 3
        return [
            Stage(
                channels=int(channels),
                kernel=_kernel(encoder.kernel_sizes[level], dimension),
                norm=encoder.norm_op,
                norm_arguments=encoder.norm_op_kwargs or {},
                nonlinearity=encoder.nonlin,
                nonlinearity_arguments=encoder.nonlin_kwargs or {},
            )
            for level, channels in enumerate(encoder.output_channels[:-1])
        ]

    def implant(self, cells: nn.Module) -> None:
        """Put cells (or none) into the skip connections.

        Args:
            cells: module called as ``cells(level, skip, decoder_signal)`` that returns the new skip of that level.
        """
        self.cells = cells

    def host_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but the cells'."""
        return [p for name, p in self.named_parameters() if not name.startswith("cells.")]

    def host_digest(self) -> str:
        """Return a digest of all weights and buffers but the cells', to tell whether they are the same as before."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            if not name.startswith("cells."):
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def freeze_host(self, frozen: bool) -> None:
        """Freeze or free the host: no gradients, and evaluation mode (no dropout, fixed running statistics)."""
        self.host_is_frozen = frozen
        for parameter in self.host_parameters():
            parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> CellUNet:
        """Set the training mode; a frozen host stays in evaluation mode."""
        super().train(mode)
        if self.host_is_frozen:
            self.encoder.eval()
            self.decoder.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Map ``(B, C, *spatial)`` to logits ``(B, classes, *spatial)``, or a list of them under deep supervision."""
        skips = self.encoder(x)
        return self.decoder(skips) if self.cells is None else self._decode(skips, self.cells)

    def _decode(self, skips: Sequence[torch.Tensor], cells: nn.Module) -> torch.Tensor | list[torch.Tensor]:
        # The loop of the stock UNetDecoder.forward with the cell between up-sampling and concatenation: a cell reads
        # the up-sampled signal, which exists only inside that loop. A test keeps the two bit-equal.
        decoder = self.decoder
        x = skips[-1]
        outputs = []
        last = len(decoder.stages) - 1
        for s, (upsample, merge) in enumerate(zip(decoder.transpconvs, decoder.stages, strict=True)):
            level = last - s
            signal = upsample(x)
            x = merge(torch.cat((signal, cells(level, skips[level], signal)), 1))
            if decoder.deep_supervision or s == last:
                outputs.append(decoder.seg_layers[s](x))
        return outputs[::-1] if decoder.deep_supervision else outputs[0]

    def initialize(self, module: nn.Module) -> None:
        """Initialise one module as the host does; nnU-Net calls ``network.apply(network.initialize)``.

        ``apply`` visits children first, so a cell closes itself after the host's rule has filled it.
        """
        self._initialize_host(module)
        if isinstance(module, SkipCell):
            module.close()

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the host's feature-map size (nnU-Net's planning aid); the cells are not counted."""
        return int(
            self.encoder.compute_conv_feature_map_size(input_size)
            + self.decoder.compute_conv_feature_map_size(input_size)
        )


def _kernel(size: int | Sequence[int], dimension: int) -> tuple[int, ...]:
    return (size,) * dimension if isinstance(size, int) else tuple(size)
