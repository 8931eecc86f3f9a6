"""Where NaN or Inf comes from: the data, a parameter, a layer or operation, half precision, the loss, or a gradient.

Looked for after a failure only: the batch that failed is computed once more under forward hooks. A run that is healthy
pays nothing, and the look changes nothing: running statistics and random numbers are put back, modes stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from nnunet_iac.cells.mixed import MixedBody
from nnunet_iac.cells.module_names import element_in_words, first_bad, in_words

Kind = Literal["data", "parameter", "module", "half precision", "loss", "gradient", "unknown"]
Compute = Callable[[], torch.Tensor]
Autocast = Callable[[], AbstractContextManager[Any]]

ADVICE: Mapping[Kind, str] = {
    "data": "Look for NaN in the images of this case, repair or remove it, and preprocess again",
    "parameter": "Start anew, from weights that are whole",
    "module": "Look for NaN in the images or for values far out of their range, or lower the learning rate",
    "half precision": "Look for values far out of their range in the images, or lower the learning rate",
    "loss": "Look at the labels, and for NaN in the images",
    "gradient": "Lower the learning rate, or look for NaN in the images",
    "unknown": "Look for NaN in the images, or lower the learning rate",
}
"""What to do about each kind."""


@dataclass(frozen=True)
class Finding:
    """Where NaN or Inf comes from.

    Attributes:
        kind: of the source.
        text: the source in words.
    """

    kind: Kind
    text: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        return f"Source: {self.text}"


def find_source(
    network: nn.Module, compute: Compute, batch: Mapping[str, Any] | None = None, *, half: Autocast | None = None
) -> Finding:
    """Return the source of NaN or Inf in the loss or the gradients of a batch.

    In this order: the batch; parameters and buffers; the first module in order of execution whose output is not finite
    while its inputs are; the loss; the gradients, the first that the backward pass meets. In a mixed cell, whose
    operations are computed together, they are computed one by one for this purpose.

    Args:
        network: what is computed, without the wrappers of DDP and ``torch.compile``.
        compute: returns the loss of this batch, computed by the network in single precision.
        batch: of nnU-Net: ``data`` ``(B, C, *spatial)``, ``target``, and ``keys``, the names of its cases; ``dataset``,
            the name of their data set, where there are several.
        half: returns the autocast under which the batch failed; None if it was in single precision.

    Returns:
        the finding; of kind ``half precision`` if in single precision all is finite, ``unknown`` if all is finite
        when it is computed once more.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        >>> batch = {"data": torch.tensor([[1.0], [torch.inf]]), "keys": ["one", "two"]}
        >>> str(find_source(network, lambda: network(batch["data"]).mean(), batch))
        "Source: data: 1 of 1 values of channel 0 of sample 1 (case 'two') NaN or Inf"
    """
    found = _in_batch(batch or {}) or _in_parameters(network)
    if found is not None:
        return found
    try:
        with _unchanged(network):
            return _in_computation(network, compute, half)
    except torch.cuda.OutOfMemoryError:
        return Finding("unknown", "not known: too little memory to compute the batch once more")


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether no value is NaN or Inf; tensors of whole numbers have none.

    Example:
        >>> all_finite([torch.ones(2), torch.tensor([1])]), all_finite([torch.tensor([torch.nan])])
        (True, False)
    """
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


def _in_batch(batch: Mapping[str, Any]) -> Finding | None:
    for what in ("data", "target"):
        for tensor in _tensors(batch.get(what)):
            if not all_finite([tensor]):
                return Finding("data", _place_in_batch(what, tensor, batch))
    return None


def _place_in_batch(what: str, tensor: torch.Tensor, batch: Mapping[str, Any]) -> str:
    sample = first_bad(tensor)[0]
    channel = first_bad(tensor[sample])[0] if tensor.ndim > 1 else 0
    values = tensor[sample, channel] if tensor.ndim > 1 else tensor[sample]
    keys, dataset = batch.get("keys"), batch.get("dataset")
    told = [f"case {str(keys[sample])!r}"] if keys is not None and sample < len(keys) else []
    told += [f"data set {dataset}"] if dataset else []
    case = f" ({', '.join(told)})" if told else ""
    bad = int((~torch.isfinite(values)).sum())
    return f"{what}: {bad} of {values.numel()} values of channel {channel} of sample {sample}{case} NaN or Inf"


def _in_parameters(network: nn.Module) -> Finding | None:
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if not all_finite([value]):
            bad = int((~torch.isfinite(value)).sum())
            where = element_in_words(network, name, first_bad(value.detach()))
            return Finding("parameter", f"{where}: {bad} of {value.numel()} values NaN or Inf before this batch")
    return None


def _in_computation(network: nn.Module, compute: Compute, half: Autocast | None) -> Finding:
    found = _in_forward(network, compute, half or nullcontext)
    if found is None:
        return _in_gradients(network, compute, half or nullcontext) or Finding(
            "unknown", "not found: batch, weights, loss and gradients are finite when they are computed once more"
        )
    if half is not None and _in_forward(network, compute, nullcontext) is None:
        return Finding("half precision", f"overflow of half precision in {found.text}; in single precision it is not")
    return found


@torch.no_grad()
def _in_forward(network: nn.Module, compute: Compute, context: Autocast) -> Finding | None:
    found: list[Finding] = []
    last: dict[str, float] = {}

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if found:
            return
        before, after = list(_tensors(inputs)), list(_tensors(output))
        last["peak"] = _peak(after)
        if all_finite(after) or not all_finite(before):
            return
        seen = f"its output is NaN or Inf, its inputs are finite (up to {_peak(before):.3g})"
        found.append(Finding("module", f"{in_words(network, name)}: {seen}"))
        if isinstance(module, MixedBody) and (inside := _in_mixed_body(module, *inputs)):
            found[0] = Finding("module", f"{in_words(network, name + inside[0])}: {inside[1]}")

    with _hooked(network, look), context():
        value = compute()
    if not found and not all_finite([value]):
        peak = last.get("peak", 0.0)
        found.append(Finding("loss", f"the loss is {float(value)}, the network's output is finite (up to {peak:.3g})"))
    return found[0] if found else None


def _in_mixed_body(
    body: MixedBody,
    states: Sequence[torch.Tensor],
    probabilities: torch.Tensor,
    edge_weights: torch.Tensor,
    active: Sequence[Sequence[int]],
) -> tuple[str, str] | None:
    """Compute the operations of a mixed cell one by one; return the name of the first that is not finite, and how."""
    reached = list(states)
    for node in range(body.node_count):
        terms: list[torch.Tensor] = []
        for e, (_, source) in [(e, w) for e, w in enumerate(body.wiring) if w[0] == node]:
            part = reached[source][:, : body.channels]
            operations: Any = body.edges[e].operations
            for o in active[e]:
                output = operations[o](part)
                if not all_finite([output]):
                    seen = f"its output is NaN or Inf, its inputs are finite (up to {_peak([part]):.3g})"
                    return f".edges.{e}.operations.{o}", seen
                terms.append(probabilities[e, o] * edge_weights[e] * output)
        reached.append(body.node(node, terms, [body.parts(state) for state in reached], edge_weights))
        if not all_finite([reached[-1]]):
            return "", f"the sum of the edges of node {node} is NaN or Inf, each operation is finite"
    return None


def _in_gradients(network: nn.Module, compute: Compute, context: Autocast) -> Finding | None:
    """Return the parameter nearest to the loss whose gradient is not finite."""
    order: dict[str, int] = {}
    clock = itertools.count()

    def count(name: str, *_: Any) -> None:
        order[name] = next(clock)

    with torch.enable_grad(), _hooked(network, count), context():
        value = compute()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not value.requires_grad or not trained:
        return None
    gradients = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    bad = [n for n, g in zip(trained, gradients, strict=True) if g is not None and not all_finite([g])]
    if not bad:
        return None
    first = max(bad, key=lambda name: _executed(name, order))
    return Finding(
        "gradient",
        f"gradient of {in_words(network, first)}: NaN or Inf, while the loss is {float(value.detach()):.4g}; "
        f"{len(bad)} of {len(trained)} parameters have such gradients, this one is the first backward",
    )


def _executed(name: str, order: Mapping[str, int]) -> int:
    """Return when the module of a parameter was executed last, or the smallest one around it that was."""
    if ".architecture." in f".{name}":
        return -1  # used at every level
    while name and name not in order:
        name = name.rpartition(".")[0]
    return order.get(name, -1)


@contextmanager
def _hooked(network: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handles = [m.register_forward_hook(partial(hook, name)) for name, m in network.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if not torch.equal(buffer, before[name]):
                    buffer.copy_(before[name])


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif is_dataclass(value):  # such as the target of a batch of several data sets
        for item in fields(value):
            yield from _tensors(getattr(value, item.name))


def _peak(tensors: Sequence[torch.Tensor]) -> float:
    return max((float(t.detach().abs().max()) for t in tensors if t.is_floating_point() and t.numel()), default=0.0)
