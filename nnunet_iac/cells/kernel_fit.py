"""Weights of one layer fitted to another: taps and widths. Pure functions of tensors.

Every choice keeps a response (our choice of laws; each is a test):

- *Taps.* A larger kernel holds the smaller one in its centre with zeros around it, so the layer computes what it did,
  at the borders too. This is the central initialisation of Arnab et al. 2021 (ViViT, section 3.4); dividing a repeated
  kernel by its size (I3D) keeps the response inside an image only, and instance normalisation would carry the
  difference at the borders everywhere. A smaller kernel takes the taps that are cut to its nearest own tap: an image
  that is constant along the axis meets the same sum.
- *Transposed convolutions* have kernel = stride, each tap makes one output position: taps are repeated, or averaged.
- *Widths.* Leading channels. In a wider network these compute what they did in the source, because weights from new
  into old channels are zero; in a narrower one what is left is scaled so that the response keeps its variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from nnunet_iac.cells.image_channels import Mixture, mix_channels


@dataclass(frozen=True)
class Fitted:
    """A fitted tensor.

    Attributes:
        tensor: of the target's shape.
        from_source: how many of its numbers hold what the source has learned.
        fresh: how many are the target's own initialisation; the rest is zero on purpose.
        how: what was done, in words; empty for a plain copy.
    """

    tensor: torch.Tensor
    from_source: int
    fresh: int
    how: str


def fit_convolution(
    weight: torch.Tensor,
    fresh: torch.Tensor,
    *,
    transposed: bool = False,
    groups: int = 1,
    mixture: Mixture | None = None,
) -> Fitted:
    """Fit a convolution's weights to another's shape; equal shapes give equal bits.

    Args:
        weight: of the source, ``(out, in, *kernel)``, or ``(in, out, *kernel)`` if transposed.
        fresh: the target's initialised weights, same order of axes.
        transposed: whether it is a transposed convolution.
        groups: of how many signals of equal width the input is concatenated.
        mixture: of the image channels, for the layer that reads the image.

    Example:
        >>> fit_convolution(torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3, 3)).how
        'kernel 3x3 as 3x3x3, zeros around it'
    """
    old, new = (w.transpose(0, 1) if transposed else w for w in (weight.to(fresh), fresh))
    how = _tap_words(old.shape[2:], new.shape[2:], transposed)
    taps = _source_taps(old.shape[2:], new.shape[2:], transposed)
    old = fit_taps(old, new.shape[2:], transposed=transposed)
    silent = 0
    if mixture is not None and mixture.changes:
        old, how = mix_channels(old, mixture), [*how, mixture.how]
        silent = sum(not any(row) for row in mixture.matrix)
    result = fit_widths(old, new, groups)
    how += _width_words(old.shape, new.shape)
    outputs, inputs = (min(old.shape[axis], new.shape[axis]) for axis in (0, 1))
    fresh_numbers = (new.shape[0] - outputs) * math.prod(new.shape[1:])
    tensor = (result.transpose(0, 1) if transposed else result).contiguous()
    return Fitted(tensor, outputs * (inputs - silent) * taps, fresh_numbers, "; ".join(how))


def fit_vector(vector: torch.Tensor, fresh: torch.Tensor) -> Fitted:
    """Fit a bias, a normalisation's scale or statistics ``(channels,)`` (or a scalar): leading channels, rest fresh."""
    result, common = fresh.clone(), min(vector.numel(), fresh.numel())
    result.view(-1)[:common] = vector.to(fresh).reshape(-1)[:common]
    how = _width_words((vector.numel(),), (fresh.numel(),))
    return Fitted(result, common, fresh.numel() - common, "; ".join(how))


def fit_taps(weight: torch.Tensor, kernel: Sequence[int], *, transposed: bool = False) -> torch.Tensor:
    """Fit ``(out, in, *taps)`` to another kernel size, and from 2D to 3D or back.

    The axis that 2D lacks is the first one, along which nnU-Net cuts slices: there a 2D kernel is a 3D one of size 1.

    Example:
        >>> fit_taps(torch.tensor([[[[1.0, 2.0, 3.0]]]]), (1, 1))
        tensor([[[[6.]]]])
    """
    flat = len(kernel) < weight.dim() - 2
    kernel = (1, *kernel) if flat else tuple(kernel)
    weight = weight.unsqueeze(2) if len(kernel) > weight.dim() - 2 else weight
    if transposed and tuple(weight.shape[2:]) != kernel:
        pool: Any = functional.adaptive_avg_pool3d if len(kernel) == 3 else functional.adaptive_avg_pool2d
        weight = pool(weight, kernel)
    for axis, size in enumerate(kernel, start=2):
        weight = _fit_axis(weight, axis, size)
    return weight.squeeze(2) if flat else weight


def fit_widths(weight: torch.Tensor, fresh: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Fit ``(out, in, *kernel)`` to another number of channels; see the module's text.

    Args:
        weight: of the source.
        fresh: of the target, same kernel.
        groups: the input is a concatenation of so many signals of equal width, each of which has leading channels.
    """
    if weight.shape == fresh.shape:
        return weight.clone()
    result, outputs = fresh.clone(), min(len(weight), len(fresh))
    result[:outputs] = 0
    old, new = weight.shape[1] // groups, fresh.shape[1] // groups
    inputs = min(old, new)
    # The variance of a sum of `inputs` of `old` equal and independent terms.
    kept = weight[:outputs] * (math.sqrt(old / inputs) if inputs < old else 1.0)
    for group in range(groups):
        result[:outputs, group * new : group * new + inputs] = kept[:, group * old : group * old + inputs]
    return result


def _fit_axis(weight: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    have = weight.shape[axis]
    # nnU-Net pads (k - 1) // 2, so the tap with this number lies over the output position.
    shift = (size - 1) // 2 - (have - 1) // 2
    if have == size:
        return weight
    shape = [*weight.shape[:axis], size, *weight.shape[axis + 1 :]]
    index = (torch.arange(have, device=weight.device) + shift).clamp(0, size - 1)
    return weight.new_zeros(shape).index_add_(axis, index, weight)


def _source_taps(old: Sequence[int], new: Sequence[int], transposed: bool) -> int:
    """Count the taps of a fitted kernel that hold something of the source."""
    aligned = (*(1,) * (len(new) - len(old)), *old[max(0, len(old) - len(new)) :])
    return math.prod(new) if transposed else math.prod(min(a, b) for a, b in zip(aligned, new, strict=True))


def _tap_words(old: Sequence[int], new: Sequence[int], transposed: bool) -> list[str]:
    if tuple(old) == tuple(new):
        return []
    words = f"kernel {_times(old)} as {_times(new)}"
    rank = max(len(old), len(new))
    pairs = list(zip(_padded(old, rank), _padded(new, rank), strict=True))
    if transposed:
        grows, shrinks = ", repeated", ", averaged"
    else:
        grows, shrinks = ", zeros around it", ", cut taps added to the nearest"
    return [words + (grows if any(a < b for a, b in pairs) else "") + (shrinks if any(a > b for a, b in pairs) else "")]


def _padded(kernel: Sequence[int], rank: int) -> tuple[int, ...]:
    return (*(1,) * (rank - len(kernel)), *kernel)


def _times(kernel: Sequence[int]) -> str:
    return "x".join(str(size) for size in kernel)


def _width_words(old: Sequence[int], new: Sequence[int]) -> list[str]:
    words = []
    for axis, name in enumerate(("output", "input")[: len(old)]):
        if old[axis] > new[axis]:
            words.append(f"leading {new[axis]} of {old[axis]} {name} channels")
        if old[axis] < new[axis]:
            state = "zero" if name == "input" else "fresh"
            words.append(f"{new[axis] - old[axis]} more {name} channels ({state})")
    return words
