from __future__ import annotations

import pytest
import torch
from textbook_cell import NAMES
from torch import nn

from nnunet_iac.cells import operations
from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.operations import Stage, channels_last, make_operation

CHANNELS = 4
STAGES = {
    "2D": Stage(8, (3, 3), nn.InstanceNorm2d, {"affine": True}, nn.LeakyReLU, {"inplace": True}),
    "3D": Stage(8, (3, 3, 3), nn.InstanceNorm3d, {"affine": True}, nn.LeakyReLU, {"inplace": True}),
    "3D thick slices": Stage(8, (1, 3, 3), nn.InstanceNorm3d, {"affine": True}, nn.LeakyReLU, {"inplace": True}),
}
SHAPES = {2: (9, 12), 3: (5, 9, 12)}
REAL = [name for name in OPERATIONS if name != "none"]
LOOKING = [name for name in REAL if name != "skip_connect"]


def states(stage: Stage, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, CHANNELS, *SHAPES[stage.dimension], generator=torch.Generator().manual_seed(seed))


def linear(name: str, kernel: tuple[int, ...], channels: int = 1) -> nn.Module:
    """The operation without normalisation and non-linearity, with all weights one."""
    operation = make_operation(name, channels, Stage(8, kernel, nonlinearity=None), affine=False)
    for parameter in operation.parameters():
        nn.init.ones_(parameter)
    return operation


def reach(name: str, size: int = 15) -> list[int]:
    impulse = torch.zeros(1, 1, size, size)
    impulse[..., size // 2, size // 2] = 1.0
    row = linear(name, (3, 3))(impulse)[0, 0, size // 2]
    return [i - size // 2 for i in range(size) if row[i] != 0]


def test_the_operations_are_those_of_pc_darts_in_its_order():
    assert list(OPERATIONS) == NAMES


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("name", OPERATIONS)
class TestEveryOperation:
    def test_keeps_the_shape_and_passes_gradient(self, name, stage, affine):
        x = states(stage).requires_grad_()
        operation = make_operation(name, CHANNELS, stage, affine=affine)
        y = operation(x)
        (y * states(stage, seed=1)).sum().backward()
        assert y.shape == x.shape and y.isfinite().all() and x.grad.isfinite().all()
        assert bool(x.grad.any()) is (name != "none")
        assert all(p.grad is not None and p.grad.any() for p in operation.parameters())

    def test_leaves_its_input_as_it_is(self, name, stage, affine):
        x = states(stage)
        make_operation(name, CHANNELS, stage, affine=affine)(x)
        assert torch.equal(x, states(stage))


@pytest.mark.parametrize("name", OPERATIONS)
def test_scales_and_shifts_are_learned_only_when_asked_for(name):
    stage = STAGES["2D"]
    norms = [m for m in make_operation(name, 4, stage, affine=True).modules() if isinstance(m, nn.InstanceNorm2d)]
    bare = [m for m in make_operation(name, 4, stage, affine=False).modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == len(bare) == {"none": 0, "skip_connect": 0}.get(name, 2 if name.startswith("sep") else 1)
    assert all(m.affine for m in norms) and not any(m.affine for m in bare)


@pytest.mark.parametrize("name", REAL)
def test_no_operation_looks_along_an_axis_of_size_one(name):
    stage = Stage(8, (1, 3, 3))
    x = states(stage)
    other = x.clone()
    other[:, :, 2] += 1.0
    operation = make_operation(name, CHANNELS, stage, affine=False)
    changed = (operation(x) != operation(other)).flatten(3).any(-1).any(0).any(0)
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("name", LOOKING)
def test_operations_look_along_the_other_axes(name):
    stage = Stage(8, (3, 3, 3))
    x = states(stage)
    other = x.clone()
    other[:, :, 2] += 5.0
    operation = make_operation(name, CHANNELS, stage, affine=False)
    changed = (operation(x) != operation(other)).flatten(3).any(-1).any(0).any(0)
    assert changed.sum() > 1


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("avg_pool_3x3", [-1, 0, 1]),
        ("max_pool_3x3", [-1, 0, 1]),
        ("skip_connect", [0]),
        ("sep_conv_3x3", [-2, -1, 0, 1, 2]),
        ("sep_conv_5x5", [-4, -3, -2, -1, 0, 1, 2, 3, 4]),
        ("dil_conv_3x3", [-2, 0, 2]),
        ("dil_conv_5x5", [-4, -2, 0, 2, 4]),
        ("none", []),
    ],
)
def test_the_reach_of_each_operation(name, offsets):
    assert reach(name) == offsets


def test_none_is_zero_and_its_gradient_is_zero_not_missing():
    x = states(STAGES["2D"]).requires_grad_()
    y = make_operation("none", CHANNELS, STAGES["2D"], affine=True)(x)
    y.sum().backward()
    assert not y.any() and x.grad is not None and not x.grad.any()


@pytest.mark.parametrize("kernel", [(3, 3), (3, 3, 3), (1, 3, 3)])
@pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3"])
def test_pooling_does_not_see_the_padding(name, kernel):
    x = torch.full((1, 2, *SHAPES[len(kernel)]), -7.0)
    assert torch.allclose(linear(name, kernel, channels=2)(x), x)


@pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3"])
def test_pooling_is_normalised(name):
    y = make_operation(name, CHANNELS, STAGES["2D"], affine=False)(3 + 5 * states(STAGES["2D"]))
    assert y.mean((2, 3)).abs().max() < 1e-5 and (y.var((2, 3), correction=0) - 1).abs().max() < 1e-3


def test_a_stage_without_normalisation_or_nonlinearity_has_none():
    operation = make_operation("sep_conv_3x3", 4, Stage(8, (3, 3), norm=None, nonlinearity=None), affine=True)
    assert len(list(operation.parameters())) == 4
    assert not [m for m in operation.modules() if isinstance(m, (nn.InstanceNorm2d, nn.LeakyReLU))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage(8, (3,)), r"kernel: expected two or three sizes .* got \(3,\)"),
        (lambda: Stage(0, (3, 3)), "channels: expected a positive integer, got 0"),
        (lambda: make_operation("conv_7x7", 4, Stage(8, (3, 3)), affine=True), "name: expected one of .* 'conv_7x7'"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestChannelsLast:
    def test_is_for_more_than_one_image(self):
        one, two = (channels_last(torch.randn(n, 4, 5, 6)) for n in (1, 2))
        assert one.is_contiguous() and two.is_contiguous(memory_format=torch.channels_last)

    def test_of_one_image_would_meet_a_wrong_gradient(self):
        """Fails once PyTorch is right; then :func:`channels_last` needs no exception."""

        def gradient(images: int, layout: torch.memory_format) -> torch.Tensor:
            x = torch.randn(images, 8, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
            y = nn.functional.instance_norm(x)
            looked_at = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
            return torch.autograd.grad(y, x, looked_at.contiguous(memory_format=layout))[0]

        agree = [
            torch.allclose(gradient(n, torch.contiguous_format), gradient(n, torch.channels_last), atol=1e-5)
            for n in (1, 2)
        ]
        assert agree == [False, True]


def test_a_nonlinearity_with_weights_of_its_own_is_refused():
    with pytest.raises(ValueError, match="nonlinearity: expected one without weights"):
        Stage(8, (3, 3), nonlinearity=nn.PReLU)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", [(3, 9, 10), (3, 4, 5, 6)], ids=["2D", "3D"])
@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_is_pytorchs_with_its_gradients(shape, batch, affine, last):
    layout = {3: torch.channels_last, 4: torch.channels_last_3d}[len(shape)] if last else torch.contiguous_format
    x = (3 + 2 * torch.randn(batch, *shape, dtype=torch.float64)).requires_grad_()
    scale, shift = (torch.rand(3, dtype=torch.float64, requires_grad=True) if affine else None for _ in range(2))
    kind = {3: operations.InstanceNorm2d, 4: operations.InstanceNorm3d}[len(shape)]
    norm, looked_at = kind(3, eps=1e-3, affine=affine).double(), torch.randn(batch, *shape, dtype=torch.float64)
    known = {"weight": scale, "bias": shift} if affine else {}
    norm.load_state_dict({name: value.detach() for name, value in known.items()})
    leaves = [x, *known.values()]
    ours = operations.instance_norm(x.contiguous(memory_format=layout), scale, shift, 1e-3)
    theirs = torch.nn.functional.instance_norm(x, weight=scale, bias=shift, eps=1e-3)

    assert torch.allclose(ours, theirs, atol=1e-12) and torch.allclose(norm(x), theirs, atol=1e-12)
    found, expected = (torch.autograd.grad((y * looked_at).sum(), leaves) for y in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_running_statistics_are_kept_as_pytorch_does():
    ours, theirs = (kind(3, track_running_stats=True) for kind in (operations.InstanceNorm2d, nn.InstanceNorm2d))
    x = torch.randn(2, 3, 5, 6)
    for norm in (ours, theirs):
        norm(x)
    assert torch.equal(ours.running_mean, theirs.running_mean) and ours.running_mean.any()
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
