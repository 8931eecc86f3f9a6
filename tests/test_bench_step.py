"""The benchmark of a search step: what its switches take away changes no result."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

CPU = torch.device("cpu")
SCRIPTS = str(Path(__file__).parents[1] / "scripts")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with steps of length 1, so that what changes is the gradient."""
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr: torch.optim.SGD(parameters, lr=1.0))
    return importlib.import_module("bench_step")


def gradients(network: nn.Module, step: Any, start: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What one step from the same start gives: gradients of the weights, and the step of the architecture."""
    network.load_state_dict(start)
    step()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    named = network.named_parameters()
    return found | {name: p.detach() - start[name] for name, p in named if "architecture" in name}


def test_without_one_means_a_step_finds_the_same_gradients_and_the_host_stays(bench: Any) -> None:
    case = bench.Case("tiny", (16, 16), (8, 16), 2, 2, nodes=2)
    network, step = bench.ours(case, CPU)
    steps = bench.steps_without(network, step)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    expected = gradients(network, steps["nothing"], start)

    assert len(steps) == 9 and float(expected["cells.architecture.alpha"].abs().max()) > 1e-6
    for name, without in steps.items():
        found = gradients(network, without, start)
        assert found.keys() == expected.keys(), name
        for key, value in expected.items():
            assert torch.allclose(found[key], value, rtol=1e-3, atol=1e-6), (name, key)
        host = {key: value for key, value in network.state_dict().items() if not key.startswith("cells.")}
        assert all(torch.equal(value, start[key]) for key, value in host.items()), name
        assert not any(p.requires_grad or p.grad is not None for p in network.host_parameters()), name


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_switches_take_away_what_they_say(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = bench.Case("tiny", (16, 16), (8, 16), 2, 2, nodes=2)
    network, step = bench.ours(case, CPU)
    steps = bench.steps_without(network, step)
    calls = {name: 0 for name in ("pooling", "convolutions", "encoder")}
    network.encoder.stages[0].register_full_backward_hook(lambda *_: counted(calls, "encoder"))
    for module in network.cells.modules():
        if isinstance(module, (nn.AvgPool2d, nn.MaxPool2d)):
            module.register_forward_hook(lambda *_: counted(calls, "pooling"))
    original = nn.functional.conv2d
    monkeypatch.setattr(nn.functional, "conv2d", lambda *a, **b: (counted(calls, "convolutions"), original(*a, **b))[1])
    seen = {}
    for name in ("nothing", "shared pooling", "grouped convolutions", "a frozen host (the encoder's backward)"):
        calls.update(dict.fromkeys(calls, 0))
        steps[name]()
        seen[name] = dict(calls)

    nothing = seen["nothing"]
    assert seen["shared pooling"]["pooling"] > nothing["pooling"] > 0
    assert seen["grouped convolutions"]["convolutions"] > nothing["convolutions"]
    assert nothing["encoder"] == 0 < seen["a frozen host (the encoder's backward)"]["encoder"]


def counted(calls: dict[str, int], what: str) -> None:
    calls[what] += 1
