"""The image channels of one network as another sees them: by name, by place, or shared.

Our choice. Channels that nothing is known of share so that an image whose channels are all equal gives the response
of the source to an image whose channels are all equal (a test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mixture:
    """How the image channels of a target see those of a source.

    Attributes:
        matrix: ``(target, source)``; the target's weights are ``W[:, t] = sum_s matrix[t][s] W[:, s]``.
        how: in words, empty where nothing changes.
    """

    matrix: tuple[tuple[float, ...], ...]
    how: str

    @property
    def changes(self) -> bool:
        """Whether the weights are not the source's own."""
        return any(value != (s == t) for t, row in enumerate(self.matrix) for s, value in enumerate(row)) or (
            len(self.matrix) != len(self.matrix[0])
        )


def channel_mixture(source: Sequence[str], target: Sequence[str]) -> Mixture:
    """Decide how the target's image channels see the source's.

    1. Equal names (whatever their case) meet; ``""`` is a channel without a name and meets none.
    2. Of the others, if they are equally many, each meets the one at its place.
    3. Else each takes the sum of the source's others divided by the number of the target's others: 1 -> 3 repeats and
       divides by 3, 3 -> 1 sums.
    4. A channel that no source channel is left for starts at zero: the known channels' response stays.
    5. A source channel that no target channel is left for goes, as if it were at its mean (0 after z-scoring).

    Raises:
        ValueError: if one of both has no channel.

    Example:
        >>> channel_mixture(["T1", "FLAIR"], ["flair"]).matrix
        ((0.0, 1.0),)
        >>> channel_mixture(["MRI"], ["R", "G"]).how
        'channel R, G: sum of MRI / 2'
    """
    if not source or not target:
        raise ValueError(f"channels: expected at least one on each side, got {list(source)} and {list(target)}")
    matrix = [[0.0] * len(source) for _ in target]
    left = list(range(len(source)))
    others, words = [], []
    for t, name in enumerate(target):
        found = next((s for s in left if name and _same(source[s], name)), None)
        if found is None:
            others.append(t)
            continue
        left.remove(found)
        matrix[t][found] = 1.0
        words += [f"channel {name} by name"] if found != t else []
    words += _share(matrix, others, left, source, target)
    return Mixture(tuple(tuple(row) for row in matrix), "; ".join(words))


def mix_channels(weight: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    """Return ``(out, target channels, *kernel)`` from ``(out, source channels, *kernel)``."""
    matrix = torch.tensor(mixture.matrix, dtype=weight.dtype, device=weight.device)
    return torch.einsum("ts,os...->ot...", matrix, weight)


def _share(
    matrix: list[list[float]], others: list[int], left: list[int], source: Sequence[str], target: Sequence[str]
) -> list[str]:
    """Fill the rows of channels without a namesake; return what was done, in words."""
    into, out_of = _names(target, others), _names(source, left)
    if len(others) == len(left):
        for t, s in zip(others, left, strict=True):
            matrix[t][s] = 1.0
        return [f"channel {into} from {out_of} by place"] if others != left else []
    if not others:
        return [f"channel {out_of} left out"]
    if not left:
        return [f"channel {into} starts at zero"]
    for t in others:
        for s in left:
            matrix[t][s] = 1.0 / len(others)
    return [f"channel {into}: sum of {out_of}" + (f" / {len(others)}" if len(others) > 1 else "")]


def _names(names: Sequence[str], places: Sequence[int]) -> str:
    return ", ".join(names[p] or f"number {p}" for p in places)


def _same(first: str, second: str) -> bool:
    return first.strip().casefold() == second.strip().casefold()
