"""Cells under autocast: finite where the stock host is, logits of the architecture in single precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.operations import CONVOLUTIONS, Stage

NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
EVERY_OPERATION = Genotype(kind="searched", cells=(tuple(tuple((o, j) for j in (0, 1)) for o in OPERATIONS[1::2]),))
HALVES = [torch.bfloat16, torch.float16]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


def stage(channels: int, dimension: int) -> Stage:
    return Stage(channels, (3,) * dimension, NORMS[dimension], {"eps": 1e-5, "affine": True})


def make(kind: str, channels: int, dimension: int, device: str) -> Any:
    """Cells whose projection is open."""
    torch.manual_seed(0)
    place = stage(channels, dimension)
    cells: Any = MixedCells([place], partial=4) if kind == "mixed" else DiscreteCells(EVERY_OPERATION, [place])
    nn.init.normal_(cells.levels[0].projection.weight, std=0.01)
    return cells.to(device)


def images(channels: int, dimension: int, magnitude: float, device: str) -> list[torch.Tensor]:
    """Skip and decoder signal, not centred, as large as the magnitude."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, channels, *(8,) * dimension)
    return [(magnitude * torch.rand(shape, generator=generator)).to(device).requires_grad_(True) for _ in range(2)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("half", "magnitude"), [(torch.bfloat16, 1e3), (torch.bfloat16, 6e4), (torch.float16, 1e3), (torch.float16, 2e4)]
)
@pytest.mark.parametrize(("channels", "dimension"), [(64, 2), (8, 3)])
@pytest.mark.parametrize("kind", ["mixed", "discrete"])
def test_large_images_keep_output_and_gradients_finite_as_the_hosts_own_convolution(
    kind: str, channels: int, dimension: int, half: torch.dtype, magnitude: float, device: str
) -> None:
    cells = make(kind, channels, dimension, device)
    inputs = images(channels, dimension, magnitude, device)
    host = CONVOLUTIONS[dimension](2 * channels, channels, 3, padding=1).to(device)

    with torch.autocast(device, dtype=half):
        output = cells(0, *(x.to(half) for x in inputs))
        assert bool(host(torch.cat(inputs[::-1], 1)).isfinite().all())
    (output.float() / magnitude).square().mean().mul(1024).backward()  # scaled, as gradients in half precision are

    assert output.dtype == half and bool(output.isfinite().all())
    assert all(bool(t.grad.isfinite().all()) for t in [*cells.parameters(), *inputs])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", HALVES)
def test_architecture_logits_their_softmax_and_their_gradient_are_in_single_precision(
    half: torch.dtype, device: str
) -> None:
    cells = make("mixed", 8, 2, device)

    with torch.autocast(device, dtype=half):
        probabilities, edge_weights = cells.architecture.probabilities(), cells.architecture.edge_weights()
        cells(0, *images(8, 2, 1e3, device)).float().mean().backward()

    assert probabilities.dtype == edge_weights.dtype == torch.float32
    for parameter in (cells.architecture.alpha, cells.architecture.beta):
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert float(parameter.grad.abs().sum()) > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_network_with_cells_trains_as_in_single_precision(kind: str, half: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    made = CellUNet(BACKBONES[kind], EVERY_OPERATION, **host_arguments(kind)).to(device)
    for cell in made.cells.levels:
        nn.init.normal_(cell.projection.weight, std=0.1)
    data = 1e3 * image().to(device)

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        made.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(made(data).float(), torch.zeros(2, 16, 16, dtype=torch.long).to(device))
        (1024 * loss).backward()
        return [p.grad.flatten() for p in made.parameters() if p.grad is not None]

    single, lower = torch.cat(gradients(torch.float32)), torch.cat(gradients(half))
    assert bool(lower.isfinite().all())
    assert float(nn.functional.cosine_similarity(single, lower, dim=0)) > 0.95
