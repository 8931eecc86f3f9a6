from __future__ import annotations

from dataclasses import replace

import pytest
import textbook_cell
import torch
from torch import nn

from nnunet_iac.cells.cell import node_channels
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.mixed import MixedBody, MixedCells, channel_shuffle
from nnunet_iac.cells.operations import Stage

STAGES = {
    "2D": Stage(20, (3, 3), nn.InstanceNorm2d, {"affine": True}),
    "3D": Stage(20, (3, 3, 3), nn.InstanceNorm3d, {"affine": True}),
    "3D thick slices": Stage(20, (1, 3, 3), nn.InstanceNorm3d, {"affine": True}),
}
WIDE = {
    # Their parts are wider than `outgoing.DENSE_CHANNELS`: depthwise convolutions without a product kernel.
    f"{name} wide": replace(stage, channels=256)
    for name, stage in STAGES.items()
}
SHAPES = {2: (9, 10), 3: (3, 7, 8)}


def drawn_mask(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """About half of the operations; each edge keeps one that is not ``none``."""
    mask = torch.rand(shape, generator=generator) < 0.5
    keep = torch.randint(1, shape[-1], shape[:-1], generator=generator)
    return mask.scatter(-1, keep.unsqueeze(-1), True)


def drawn_cells(stage: Stage, seed: int, *, nodes: int, partial: int, pruned: bool, dtype: torch.dtype) -> MixedCells:
    generator = torch.Generator().manual_seed(seed)
    cells = MixedCells([stage], CellShape(nodes=nodes), partial=partial, generator=generator).to(dtype)
    for parameter in cells.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype)
    if pruned:
        cells.architecture.set_mask(drawn_mask(cells.architecture.mask.shape, generator))
    return cells


def textbook(cells: MixedCells, stage: Stage, partial: int, second: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """The textbook cell with the weights of the package's cell."""
    level = cells.levels[0]
    return textbook_cell.mixed_cell(
        second,
        skip,
        alpha=cells.architecture.alpha[0],
        beta=cells.architecture.beta[0],
        mask=cells.architecture.mask[0],
        inputs=[next(p for p in i.parameters()) for i in level.inputs],
        edges=[[list(operation.parameters()) for operation in edge.operations] for edge in level.body.edges],
        projection=level.projection.weight,
        nodes=cells.shape.nodes,
        k=partial,
        looks=tuple(k > 1 for k in stage.kernel),
    )


def results(cells: MixedCells, compute, stage: Stage, dtype: torch.dtype) -> list[torch.Tensor]:
    """Output, then the gradients of both inputs and of every parameter (zero where there is none)."""
    generator = torch.Generator().manual_seed(7)
    shape = (2, stage.channels, *SHAPES[stage.dimension])
    second, skip, weight = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    leaves = [second.requires_grad_(), skip.requires_grad_(), *cells.parameters()]
    output = compute(second, skip)
    gradients = torch.autograd.grad((output * weight).sum(), leaves, allow_unused=True)
    return [output, *(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True))]


def largest_difference(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """The largest difference of two lists of tensors, each relative to the largest entry of its tensor."""
    pairs = [(x.detach(), y.detach()) for x, y in zip(a, b, strict=True)]
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-12)) for x, y in pairs)


@pytest.mark.parametrize("pruned", [False, True], ids=["all operations", "random mask"])
@pytest.mark.parametrize("stage", (STAGES | WIDE).values(), ids=STAGES | WIDE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_mixed_cell_equals_the_textbook(stage, pruned, dtype, tolerance):
    cells = drawn_cells(stage, seed=3, nodes=3, partial=4, pruned=pruned, dtype=dtype)
    ours = results(cells, lambda second, skip: cells(0, skip, second), stage, dtype)
    theirs = results(cells, lambda second, skip: textbook(cells, stage, 4, second, skip), stage, dtype)
    assert largest_difference(ours, theirs) < tolerance


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("partial", [1, 2, 8])
def test_so_it_does_for_other_partial_channels_and_masks(partial, seed):
    stage = STAGES["2D"]
    cells = drawn_cells(stage, seed, nodes=2, partial=partial, pruned=True, dtype=torch.float64)
    ours = results(cells, lambda second, skip: cells(0, skip, second), stage, torch.float64)
    theirs = results(cells, lambda second, skip: textbook(cells, stage, partial, second, skip), stage, torch.float64)
    assert largest_difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_shuffle_is_the_textbook_one(k):
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(channel_shuffle(x, k), textbook_cell.shuffle(x, k))


def test_the_shuffle_does_not_depend_on_the_memory_layout():
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(channel_shuffle(x.contiguous(memory_format=torch.channels_last), 4), channel_shuffle(x, 4))


def test_the_weights_of_a_pruned_operation_get_no_gradient():
    stage = STAGES["2D"]
    cells = drawn_cells(stage, seed=0, nodes=2, partial=4, pruned=True, dtype=torch.float32)
    x = torch.randn(2, 20, 9, 10)
    cells(0, x, torch.randn_like(x)).square().sum().backward()
    mask = cells.architecture.mask[0]
    assert not mask.all()
    for e, edge in enumerate(cells.levels[0].body.edges):
        for o, operation in enumerate(edge.operations):
            gradients = [p.grad is not None and bool(p.grad.any()) for p in operation.parameters()]
            assert all(reached is bool(mask[e, o]) for reached in gradients), (e, OPERATIONS[o])
    assert not cells.architecture.alpha.grad[0][~mask].any() and cells.architecture.alpha.grad[0][mask].any()


def test_none_takes_its_share_of_the_softmax():
    body, x = MixedBody(1, 16, 1, STAGES["2D"]), torch.randn(1, 16, 9, 10)
    only_skip = torch.tensor([[0.75, 0, 0, 0.25, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
    (node,) = body([x, x], only_skip, torch.tensor([0.5, 0.5]), [(0, 3), (0,)])
    assert torch.allclose(node, 0.125 * x)
    (node,) = body([x, x], torch.eye(8)[[0, 0]], torch.tensor([0.5, 0.5]), [(0,), (0,)])
    assert not node.any()


def test_shared_cells_have_one_graph_and_own_weights():
    stages = [STAGES["2D"], Stage(40, (3, 3), nn.InstanceNorm2d)]
    shared, own = MixedCells(stages, CellShape(nodes=2)), MixedCells(stages, CellShape(nodes=2), shared=False)
    assert shared.architecture.alpha.shape[0] == 1 and own.architecture.alpha.shape[0] == 2
    assert shared.levels[1].projection.weight.shape[:2] == (40, 2 * node_channels(40, 0.5))


def test_every_level_reads_its_own_group():
    stage = STAGES["2D"]
    cells = MixedCells([stage, stage], CellShape(nodes=1), shared=False)
    for level in cells.levels:
        nn.init.normal_(level.projection.weight)
    x = torch.randn(1, 20, 9, 10)
    before = [cells(level, x, x) for level in (0, 1)]
    cells.architecture.alpha.data[1, 0, 3] += 3.0
    after = [cells(level, x, x) for level in (0, 1)]
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


@pytest.mark.parametrize("partial", [0, -4, 3, 16])
def test_partial_channels_that_do_not_divide_are_refused(partial):
    with pytest.raises(ValueError, match=f"partial: expected 1, 2, 4 or 8 partial channels, got {partial}"):
        MixedCells([STAGES["2D"]], partial=partial)


def test_the_auxiliary_skip_adds_the_input_to_every_edge_whatever_is_pruned():
    stage = STAGES["2D"]
    cells = drawn_cells(stage, seed=0, nodes=2, partial=4, pruned=True, dtype=torch.float64)
    second, skip = torch.randn(2, 2, 20, 9, 10, dtype=torch.float64)
    plain = cells(0, second, skip)
    cells.auxiliary_skip = 0.5
    with_skips = cells(0, second, skip)
    # The same as a mixture that has the skip's weight raised by a half where it is active.
    cells.auxiliary_skip = 0.0
    mask = torch.ones_like(cells.architecture.mask)
    raised = cells.architecture.probabilities().detach().clone()
    raised[..., 3] += 0.5
    cells.architecture.mask.copy_(mask)
    cells.architecture._refresh_active()
    with cells.architecture.using(raised):
        by_hand = cells(0, second, skip)
    assert torch.allclose(with_skips, by_hand) and not torch.allclose(with_skips, plain)
