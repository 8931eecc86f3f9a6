"""Example 1: put cells into a U-Net. Not one logit changes, until they are trained.

python scripts/example_1_implant_cells.py
"""

from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet

torch.manual_seed(0)
# As a plans file has it. The genotype goes into the plans too, so stock nnU-Net rebuilds the network from them.
host: dict[str, Any] = {
    "input_channels": 1,
    "num_classes": 3,
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "strides": [1, 2, 2],
    "kernel_sizes": 3,
    "n_conv_per_stage": 2,
    "n_conv_per_stage_decoder": 2,
    "conv_op": nn.Conv2d,
    "norm_op": nn.InstanceNorm2d,
    "norm_op_kwargs": {"affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {},
}
trained = CellUNet("PlainConvUNet", Genotype.identity(), **host)  # no cells: the stock network, key by key
genotype = Genotype.random(seed=1, shape=CellShape(nodes=2))
network = CellUNet("PlainConvUNet", genotype, **host)
network.load_state_dict({**network.state_dict(), **trained.state_dict()})

image = torch.randn(1, 1, 64, 64)
with torch.no_grad():
    print("the same logits, bit by bit:", torch.equal(network(image), trained(image)))
sizes = [sum(p.numel() for p in one.parameters()) for one in (network, trained)]
print(f"{sizes[0] - sizes[1]} parameters in cells, {sizes[1]} in the host")
print("of each node, its operations and inputs:", *genotype.cells[0], sep="\n  ")
