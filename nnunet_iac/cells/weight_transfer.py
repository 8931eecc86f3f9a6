"""Weights of one host in another: other image channels, stages, widths, kernels, 2D and 3D.

Layers meet by name; decoder stages, which nnU-Net counts from the bottleneck, meet where their resolution is the same,
so that a deeper network keeps what both have. What the source has no layer for keeps the target's initialisation (so
does the projection beside a residual block where only the target changes its width there).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnunet_iac.cells.image_channels import Mixture, channel_mixture
from nnunet_iac.cells.kernel_fit import Fitted, fit_convolution, fit_vector
from nnunet_iac.cells.transfer_report import TensorRecord, TransferReport

DECODER = re.compile(r"(decoder\.(?:stages|transpconvs|seg_layers)\.)(\d+)(\..+)")
"""Keys whose number counts decoder stages, the lowest resolution first."""

MERGING = re.compile(r"decoder\.stages\.\d+\.convs\.0\.conv\.weight")
"""Convolutions that read the up-sampled signal and the skip, concatenated."""


@dataclass(frozen=True)
class Interface:
    """What a network reads and what it answers.

    Attributes:
        channels: names of its image channels, in order; ``""`` for one without a name.
        labels: names of its outputs, in order; empty if they are not known.
        regions: whether the outputs are regions that may overlap instead of classes.
    """

    channels: tuple[str, ...]
    labels: tuple[str, ...] = ()
    regions: bool = False


@torch.no_grad()
def transfer_weights(
    network: nn.Module,
    weights: Mapping[str, torch.Tensor],
    source: Interface,
    target: Interface,
    *,
    with_cells: bool = False,
) -> TransferReport:
    """Copy what fits from a source's weights into an initialised network, in place.

    Args:
        network: ``PlainConvUNet``, ``ResidualEncoderUNet`` or a ``CellUNet`` around one, initialised.
        weights: ``state_dict`` of the source, a host of the same kind. Tensors that stand there under several keys
            (``decoder.encoder.*``, ``*.all_modules.*``) are taken once.
        source: what the source reads and answers; segmentation layers come over only if the labels' names agree.
        target: what ``network`` reads and answers.
        with_cells: also take the cells' tensors, which fit only a network with the same cells.

    Raises:
        ValueError: if the encoders are of different kinds or an interface does not fit its network.
    """
    weights = {stock_key(key): value for key, value in weights.items()}
    own = unique_tensors(network)
    keys: Any = network.keys_to_in_proj
    reader = next(f"{key}.weight" for key in keys if f"{key}.weight" in own)
    _check_kinds(weights, own, reader)
    _check_interface(source, weights, reader)
    _check_interface(target, own, reader)
    rows = _matching_rows(source, target)
    mixture = channel_mixture(source.channels, target.channels)
    shift = _decoder_stages(weights) - _decoder_stages(own)
    records, taken = [], set()
    for name, tensor in own.items():
        origin = _origin(name, shift)
        found = weights.get(origin)
        reason = _reason_to_skip(name, origin, found, rows, with_cells)
        if found is None or reason:
            records.append(_skipped(name, found, tensor, reason))
        else:
            fitted = _fit(name, found, tensor, rows, mixture if name == reader else None)
            records.append(_record(name, origin, found, tensor, fitted))
            tensor.copy_(fitted.tensor)
        taken.add(origin)
    left = [name for name in weights if name not in taken and not is_alias(name)]
    records += [_skipped(name, weights[name], None, "the target has no such layer") for name in left]
    return TransferReport(tuple(records))


def unique_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return each parameter and stored buffer once, under the first of its keys in the ``state_dict``.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> list(unique_tensors(nn.ModuleDict({"a": layer, "b": layer})))
        ['a.weight', 'a.bias']
    """
    stored = network.state_dict()
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {key: named[key] for key in stored if key in named}


def stock_key(key: str) -> str:
    """Return a key as nnU-Net stores it, without what DDP and ``torch.compile`` put before it.

    Example:
        >>> stock_key("module._orig_mod.encoder.stem.weight")
        'encoder.stem.weight'
    """
    return key.removeprefix("module.").removeprefix("_orig_mod.")


def is_alias(key: str) -> bool:
    """Whether nnU-Net's hosts have the tensor of this key under another one already."""
    return key.startswith("decoder.encoder.") or ".all_modules." in key


def _origin(name: str, shift: int) -> str:
    """Return the source's key for the target's; a negative stage is one that the source is too shallow for."""
    match = DECODER.fullmatch(name)
    return f"{match[1]}{int(match[2]) + shift}{match[3]}" if match else name


def _reason_to_skip(
    name: str, origin: str, found: torch.Tensor | None, rows: Sequence[int] | None, with_cells: bool
) -> str:
    if name.startswith("cells.") and not with_cells:
        return "cells come over between equal architectures only"
    if found is None:
        return "the source has no such layer"
    if ".seg_layers." in name and rows is None:
        return "segmentation layer of other labels"
    return ""


def _fit(
    name: str, found: torch.Tensor, own: torch.Tensor, rows: Sequence[int] | None, mixture: Mixture | None
) -> Fitted:
    reordered = ".seg_layers." in name and rows is not None and list(rows) != sorted(rows)
    values = found[list(rows or ())] if reordered else found
    if own.dim() < 3:
        fitted = fit_vector(values, own)
    else:
        groups, transposed = 2 if MERGING.fullmatch(name) else 1, ".transpconvs." in name
        fitted = fit_convolution(values, own, transposed=transposed, groups=groups, mixture=mixture)
    if not reordered:
        return fitted
    how = "; ".join(part for part in ("outputs ordered by label name", fitted.how) if part)
    return Fitted(fitted.tensor, fitted.from_source, fitted.fresh, how)


def _record(name: str, origin: str, found: torch.Tensor, own: torch.Tensor, fitted: Fitted) -> TensorRecord:
    place = f"from {origin}" if origin != name else ""
    how = "; ".join(part for part in (fitted.how, place) if part)
    what: Any = "adapted" if fitted.how else "copied"
    return TensorRecord(name, what, how, tuple(found.shape), tuple(own.shape), fitted.from_source, fitted.fresh)


def _skipped(name: str, found: torch.Tensor | None, own: torch.Tensor | None, reason: str) -> TensorRecord:
    old, new = (None if tensor is None else tuple(tensor.shape) for tensor in (found, own))
    return TensorRecord(name, "skipped", reason, old, new, 0, 0 if own is None else own.numel())


def _matching_rows(source: Interface, target: Interface) -> list[int] | None:
    """Return the source's output for each of the target's, None if the labels differ or are not known."""
    old, new = ([name.strip().casefold() for name in side.labels] for side in (source, target))
    if not old or source.regions != target.regions or sorted(old) != sorted(new) or len(set(old)) != len(old):
        return None
    return [old.index(name) for name in new]


def _decoder_stages(keys: Mapping[str, torch.Tensor]) -> int:
    return sum(bool(re.fullmatch(r"decoder\.transpconvs\.\d+\.weight", key)) for key in keys)


def _kind(keys: Mapping[str, torch.Tensor]) -> str:
    if any(key.startswith("encoder.stem.") for key in keys):
        return "residual with bottlenecks" if any(".conv3." in key for key in keys) else "residual"
    return "plain"


def _check_kinds(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], reader: str) -> None:
    if not _decoder_stages(weights):
        raise ValueError(
            f"weights: expected those of a U-Net of nnU-Net, got keys such as {sorted(weights)[:3]}; "
            "give the checkpoint of a stock network"
        )
    if _kind(weights) != _kind(own) or reader not in weights:
        raise ValueError(
            f"weights: expected the target's kind of encoder, {_kind(own)}, got {_kind(weights)}; layers of one have "
            "no counterpart in the other. Give a source or plans of the same kind"
        )


def _check_interface(interface: Interface, tensors: Mapping[str, torch.Tensor], reader: str) -> None:
    inputs = tensors[reader].shape[1]
    outputs = next((len(value) for key, value in tensors.items() if ".seg_layers." in key), 0)
    if len(interface.channels) != inputs or (interface.labels and len(interface.labels) != outputs):
        raise ValueError(
            f"interface: expected {inputs} image channels and names of {outputs} outputs (or of none), got "
            f"{interface.channels} and {interface.labels}; give the dataset.json that the network was trained with"
        )
