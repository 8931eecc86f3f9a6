"""Example 2: search cells for a frozen host on images made here, and implant what was found.

python scripts/example_2_search_cells.py
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import run_search

torch.manual_seed(0)
network = CellUNet(
    "PlainConvUNet",
    Genotype.identity(),
    input_channels=1,
    num_classes=2,
    n_stages=3,
    features_per_stage=[8, 16, 32],
    strides=[1, 2, 2],
    kernel_sizes=3,
    n_conv_per_stage=1,
    n_conv_per_stage_decoder=1,
    conv_op=nn.Conv2d,
    norm_op=nn.InstanceNorm2d,
    norm_op_kwargs={},
    nonlin=nn.LeakyReLU,
    nonlin_kwargs={},
)
network.freeze_host(True)
network.implant(MixedCells(network.stages, CellShape(nodes=2)))  # all eight operations on every edge


def batches(start: int, stream: int) -> Iterator[dict[str, torch.Tensor]]:
    """Noisy images whose bright half is the object; batch ``b`` is always the same, so a killed search goes on."""
    while True:
        generator = torch.Generator().manual_seed(1000 * stream + start)
        target = torch.zeros(2, 32, 32, dtype=torch.long)
        target[0, :16], target[1, :, 16:] = 1, 1
        yield {"data": target[:, None] + torch.randn(2, 1, 32, 32, generator=generator), "target": target}
        start += 1


with tempfile.TemporaryDirectory() as folder:
    found = run_search(
        network,
        nn.functional.cross_entropy,
        lambda start: batches(start, stream=1),  # weights learn from these,
        lambda start: batches(start, stream=2),  # the architecture from those, of other patients in earnest
        SearchPlan(epochs=4, warmup_epochs=1, iterations=4),
        Path(folder),
        device=torch.device("cpu"),
    )
    print("written after each epoch:", *sorted(path.name for path in Path(folder).iterdir()))
print(f"the search ended {found.genotype.origin['status']}:", *found.genotype.cells[0], sep="\n  ")
network.implant(DiscreteCells(found.genotype, network.stages))  # fresh, closed cells: to be trained now
