"""Edges computed together give what they give one by one, and what is pruned is not computed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.cells.operations import Stage
from nnunet_iac.cells.outgoing import DENSE_CHANNELS, EdgeOperations, mix_outgoing

FEW, MANY = 4, DENSE_CHANNELS + 8
STAGES = {
    "2D": Stage(8, (3, 3), nn.InstanceNorm2d, {"eps": 1e-3}),
    "3D": Stage(8, (3, 3, 3), nn.InstanceNorm3d),
    "3D thick slices": Stage(8, (1, 3, 3), nn.InstanceNorm3d),
    "batch normalisation": Stage(8, (3, 3), nn.BatchNorm2d),
    "no normalisation": Stage(8, (3, 3)),
}
SHAPES = {2: (9, 10), 3: (3, 7, 8)}
EVERYTHING = tuple(range(len(OPERATIONS)))
ACTIVE = {
    "nothing pruned": [EVERYTHING, EVERYTHING, EVERYTHING],
    "some pruned": [(0, 1, 4, 6), (2, 3, 5), (4, 5, 6, 7)],
    "an edge without a real operation": [(0,), (1,), (0, 7)],
}


def edges_of(stage: Stage, channels: int, count: int = 3) -> list[EdgeOperations]:
    torch.manual_seed(0)
    return [EdgeOperations(channels, stage).double() for _ in range(count)]


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("channels", [FEW, MANY])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_together_is_one_by_one(stage, channels, batch, active):
    edges = edges_of(stage, channels)
    x = torch.randn(batch, channels, *SHAPES[stage.dimension], dtype=torch.float64, requires_grad=True)
    weights = torch.rand(3, len(OPERATIONS), dtype=torch.float64, requires_grad=True)
    leaves = [x, weights, *(p for edge in edges for p in edge.parameters())]

    together = [sum(terms, torch.zeros_like(x)) for terms in mix_outgoing(x, edges, weights, active)]
    one_by_one = [
        sum((weights[e, o] * edge.operations[o](x) for o in active[e]), torch.zeros_like(x))
        for e, edge in enumerate(edges)
    ]

    looked_at = torch.randn(3, *x.shape, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((torch.stack(out) * looked_at).sum(), leaves, materialize_grads=True)
        for out in (together, one_by_one)
    )
    for a, b in zip([*together, *found], [*one_by_one, *expected], strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_running_statistics_are_those_of_edges_one_by_one_whoever_is_pruned(active):
    stage = STAGES["batch normalisation"]
    together, alone = (edges_of(stage, FEW) for _ in range(2))
    weights = torch.rand(3, len(OPERATIONS), dtype=torch.float64)
    for of_edges in (active, active, [(), *active[1:]]):  # at last the first edge loses everything
        x = torch.randn(2, FEW, 9, 10, dtype=torch.float64)
        mix_outgoing(x, together, weights, of_edges)
        for edge, chosen in zip(alone, of_edges, strict=True):
            for o in chosen:
                edge.operations[o](x)
    for ours, theirs in zip(together, alone, strict=True):
        for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            assert torch.allclose(a, b), name
    assert any(a.any() for edge in together for name, a in edge.named_buffers() if "mean" in name)


class Calls(TorchFunctionMode):
    """Counts functional calls, and the channels that convolutions return."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.convolved = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", str(function))
        self.calls[name] += 1
        if name == "conv2d":
            self.convolved += out.shape[1]
        return out


@pytest.mark.parametrize("active", ACTIVE.values(), ids=ACTIVE)
def test_what_is_pruned_is_not_computed_and_what_edges_share_is_computed_once(active):
    edges = edges_of(STAGES["2D"], FEW)
    x, weights = torch.randn(2, FEW, 9, 10, dtype=torch.float64), torch.rand(3, len(OPERATIONS), dtype=torch.float64)
    with Calls() as counted:
        mix_outgoing(x, edges, weights, active)
    present = [OPERATIONS[o] for edge in active for o in edge]
    blocks = sum(2 * name.startswith("sep") + name.startswith("dil") for name in present)
    assert counted.convolved == FEW * blocks
    assert counted.calls["max_pool2d"] + counted.calls["boolean_dispatch"] == int("max_pool_3x3" in present)
    assert counted.calls["avg_pool2d"] == int("avg_pool_3x3" in present)
    assert counted.calls["conv2d"] == 2 * len({p for p in present if "sep" in p}) + len(
        {p for p in present if "dil" in p}
    )
