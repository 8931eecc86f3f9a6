"""A sub-network of a supernet as a stock nnU-Net network that needs nothing of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.zoo.channel_layout import Channels, select
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.supernet import ElasticUNet


@dataclass(frozen=True)
class Subnetwork:
    """A sub-network on its own.

    Attributes:
        configuration: what it is in the supernet.
        architecture: the section ``architecture`` for its plan, as JSON.
        network: the stock network with its weights.
    """

    configuration: SubnetConfiguration
    architecture: Mapping[str, Any]
    network: nn.Module

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights under all of nnU-Net's keys, as its checkpoints hold them in ``network_weights``."""
        return dict(self.network.state_dict())


@torch.no_grad()
def extract(supernet: ElasticUNet, configuration: SubnetConfiguration) -> Subnetwork:
    """Return a copy of a sub-network as a stock network, on the supernet's device and in its training mode.

    Its logits are the supernet's at this configuration. Strides, kernels and all other arguments are the plan's. No
    random number is drawn.

    Args:
        supernet: the supernet.
        configuration: which sub-network.

    Raises:
        ValueError: if the configuration does not exist in the supernet's space.
    """
    channels = supernet.space.channels(configuration)
    architecture = supernet.architecture.resized(channels, configuration.depths, configuration.decoder_depths)
    with torch.device("meta"):
        network: Any = architecture.build(
            supernet.input_channels, supernet.num_classes, deep_supervision=supernet.decoder.deep_supervision
        )
    full = unique_tensors(supernet)
    network = network.to_empty(device=next(iter(full.values())).device).train(supernet.training)
    sets = {c for layout in supernet.layout.values() for axis in layout.axes for c in axis if not c.fixed}
    kept: dict[Channels, torch.Tensor] = {c: torch.arange(channels[c.stage]) for c in sets}
    for name, tensor in unique_tensors(network).items():
        tensor.copy_(select(full[name], supernet.layout[name], kept))
    return Subnetwork(configuration, dict(architecture.record), network)


def recalibrate(network: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Replace the running statistics of batch normalisation by the mean over some batches, in place.

    A supernet's are those of its largest network. Instance normalisation keeps none: without batch normalisation
    nothing is done and no batch is taken. The training mode stays; gradients are not needed.

    Args:
        network: the extracted network.
        batches: images ``(B, C, *spatial)``; a few hundred images are enough (OFA takes 2,000 small ones).

    Returns:
        The number of layers that were recalibrated.

    Raises:
        ValueError: if there are such layers but no batch.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return 0
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ValueError("batches: expected at least one batch of images, got none; give some of the training images")
    update_bn(chain([first], rest), network, device=next(network.parameters()).device)
    return len(layers)
