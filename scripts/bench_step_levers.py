"""The means of a fast search step, each with a switch that takes it away and leaves the result as it is.

Used by ``bench_step.py --levers``. Nothing is copied from the package: a switch calls the package's own functions in
the slower order, or asks autograd for gradients that nobody uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_iac.cells.architecture import weight_parameters
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.outgoing import CONVOLVING, NOT_CONVOLVING, EdgeOperations, mix_outgoing

Step = Callable[[], None]
Terms = list[list[torch.Tensor]]


def steps_without(network: CellUNet, step: Step) -> dict[str, Step]:
    """Return the step as it is (``nothing``), and without one means after the other.

    Args:
        network: a frozen host with mixed cells.
        step: one architecture half-step and one weight half-step of it.
    """
    mixing = "nnunet_iac.cells.mixed.mix_outgoing"
    switches: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "nothing": nullcontext,
        "product kernels": partial(patch, "nnunet_iac.cells.outgoing.DENSE_CHANNELS", 0),
        "channels last": _any_layout,
        "group norm for instance norm": partial(patch, "nnunet_iac.cells.outgoing.instance_norm", _instance_norm),
        "non-linearities in place": partial(patch, "nnunet_iac.cells.outgoing._activated_in_place", _activated),
        "shared pooling": partial(patch, mixing, partial(_edge_by_edge, NOT_CONVOLVING)),
        "grouped convolutions": partial(patch, mixing, partial(_edge_by_edge, CONVOLVING)),
        "the architecture's gradients alone in its half-step": partial(_all_gradients, network),
        "a frozen host (the encoder's backward)": partial(_thawed, network),
    }
    return {name: partial(_within, switch, step) for name, switch in switches.items()}


def _within(switch: Callable[[], AbstractContextManager[Any]], step: Step) -> None:
    with switch():
        step()


@contextmanager
def _any_layout() -> Iterator[None]:
    with ExitStack() as stack:
        for module in ("outgoing", "cell"):
            stack.enter_context(patch(f"nnunet_iac.cells.{module}.channels_last", lambda x: x))
        yield


def _instance_norm(
    x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None, eps: float = 1e-5
) -> torch.Tensor:
    return F.instance_norm(x, weight=weight, bias=bias, eps=eps)


def _activated(x: torch.Tensor, nonlinearity: nn.Module) -> torch.Tensor:
    return nonlinearity(x)


def _edge_by_edge(
    apart: Sequence[int],
    x: torch.Tensor,
    edges: Sequence[EdgeOperations],
    weights: torch.Tensor,
    active: Sequence[Sequence[int]],
) -> Terms:
    """Mix as the cells do, but the operations ``apart`` one edge after the other."""
    rest = [operation for operation in (*CONVOLVING, *NOT_CONVOLVING) if operation not in apart]
    return _sums(_by_edge(x, edges, weights, active, apart), _together(x, edges, weights, active, rest))


def _together(
    x: torch.Tensor,
    edges: Sequence[EdgeOperations],
    weights: torch.Tensor,
    active: Sequence[Sequence[int]],
    chosen: Sequence[int],
) -> Terms:
    return mix_outgoing(x, edges, weights, [[o for o in of_edge if o in chosen] for of_edge in active])


def _by_edge(
    x: torch.Tensor,
    edges: Sequence[EdgeOperations],
    weights: torch.Tensor,
    active: Sequence[Sequence[int]],
    chosen: Sequence[int],
) -> Terms:
    return [_together(x, [edge], weights[e : e + 1], [active[e]], chosen)[0] for e, edge in enumerate(edges)]


def _sums(first: Terms, second: Terms) -> Terms:
    return [[*a, *b] for a, b in zip(first, second, strict=True)]


@contextmanager
def _all_gradients(network: CellUNet) -> Iterator[None]:
    """Let the architecture's half-step compute the gradients of all weights that train, as ``loss.backward()`` does."""
    original = torch.autograd.grad

    def grad(outputs: torch.Tensor, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        return original(outputs, [*inputs, *weight_parameters(network)], allow_unused=True)[: len(inputs)]

    with patch("torch.autograd.grad", grad):
        yield


@contextmanager
def _thawed(network: CellUNet) -> Iterator[None]:
    """Let both half-steps go back through the whole host; its gradients are thrown away, and so it does not move."""
    original, host = torch.Tensor.backward, network.host_parameters()

    def backward(loss: torch.Tensor, *, inputs: Sequence[torch.Tensor]) -> None:
        original(loss, inputs=[*inputs, *host])

    for parameter in host:
        parameter.requires_grad_(True)
    try:
        with _all_gradients(network), patch("torch.Tensor.backward", backward):
            yield
    finally:
        for parameter in host:
            parameter.grad = None
            parameter.requires_grad_(False)
