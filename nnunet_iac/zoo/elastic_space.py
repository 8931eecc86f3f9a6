"""The space of sub-networks of one plan: which depths and widths there are, how many, the extremes, a uniform draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from random import Random

from nnunet_iac.zoo.configuration import SubnetConfiguration

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Offered widths. Our choice (OFA's ResNet offers 0.65, 0.8 and 1): a quarter gives a true extreme."""

MULTIPLE = 8
"""Channel counts are multiples of this (OFA's ``make_divisible`` has the same 8; nnU-Net plans 32, 64, ... 320)."""


@dataclass(frozen=True)
class ElasticSpace:
    """All sub-networks of a plan.

    A stage of ``C`` channels at fraction ``f`` has ``min(C, m ceil(f C / m))`` of them, ``m`` the multiple. Where two
    fractions give the same count, only the larger exists, so that one network has one configuration. Depths run from
    1 to the plan's.

    A residual stage adds its input to its output: by a convolution where the plan's widths of two stages differ,
    as it is where they are equal. A stock network chooses so by its own widths, therefore in a residual space two
    neighbouring stages have equal widths exactly if the plan's are equal; other configurations do not exist.

    Attributes:
        features: channels of each encoder stage of the plan, full resolution first.
        depths: convolutions or blocks of each encoder stage of the plan.
        decoder_depths: convolutions of each decoder stage of the plan, lowest resolution first.
        residual: whether the encoder has residual blocks.
        fractions: offered widths, ascending, the last 1.
        multiple: what channel counts are multiples of.

    Raises:
        ValueError: if a field is out of range, or the narrowest network of a residual plan would lose a shortcut.

    Example:
        >>> space = ElasticSpace((32, 64), (2, 2), (2,), residual=False)
        >>> space.count, space.channels(space.smallest), space.channels(space.largest)
        (128, (8, 16), (32, 64))
    """

    features: tuple[int, ...]
    depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    residual: bool
    fractions: tuple[float, ...] = FRACTIONS
    multiple: int = MULTIPLE

    def __post_init__(self) -> None:
        # Reads the depths as a configuration does, so that they are checked as its are.
        SubnetConfiguration(self.depths, self.decoder_depths, (1.0,) * len(self.features))
        if any(n < 1 for n in self.features):
            raise ValueError(f"features: expected channels of at least 1, got {self.features}")
        if isinstance(self.multiple, bool) or not isinstance(self.multiple, int) or self.multiple < 1:
            raise ValueError(f"multiple: expected an integer of at least 1, got {self.multiple!r}")
        _check_fractions(self.fractions)
        self.check(self.smallest, remedy="offer larger fractions or a smaller multiple")

    @cached_property
    def widths(self) -> tuple[dict[float, int], ...]:
        """For each stage, the fractions that exist there and their channel counts, ascending."""
        return tuple(self._options(channels) for channels in self.features)

    @property
    def largest(self) -> SubnetConfiguration:
        """The stock network of the plan."""
        return SubnetConfiguration(self.depths, self.decoder_depths, (1.0,) * len(self.features))

    @property
    def smallest(self) -> SubnetConfiguration:
        """The network with one layer a stage and the fewest channels."""
        narrow = tuple(next(iter(options)) for options in self.widths)
        return SubnetConfiguration((1,) * len(self.depths), (1,) * len(self.decoder_depths), narrow)

    @property
    def count(self) -> int:
        """Number of all configurations."""
        return math.prod(self.depths) * math.prod(self.decoder_depths) * sum(self._ways[0].values())

    def channels(self, configuration: SubnetConfiguration) -> tuple[int, ...]:
        """Return the channel count of each encoder stage.

        Raises:
            ValueError: if the configuration does not exist here.
        """
        self.check(configuration)
        return tuple(options[w] for options, w in zip(self.widths, configuration.widths, strict=True))

    def check(self, configuration: SubnetConfiguration, *, remedy: str = "draw one with random(seed=...)") -> None:
        """Check that a configuration exists in this space.

        Raises:
            TypeError: if it is something else.
            ValueError: if it does not; all faults are named together.
        """
        if not isinstance(configuration, SubnetConfiguration):
            raise TypeError(f"configuration: expected a SubnetConfiguration, got {type(configuration).__name__}")
        if len(configuration.depths) != len(self.depths):
            raise ValueError(
                f"configuration: expected {len(self.depths)} encoder stages as in the plan, got "
                f"{len(configuration.depths)}; {remedy}"
            )
        problems = [
            *_too_deep("depths", configuration.depths, self.depths),
            *_too_deep("decoder_depths", configuration.decoder_depths, self.decoder_depths),
            *self._width_problems(configuration.widths),
        ]
        if problems:
            raise ValueError("configuration: " + "; ".join(problems) + f"; {remedy}")

    def random(self, *, seed: int | str, depth: bool = True, width: bool = True) -> SubnetConfiguration:
        """Draw uniformly among all configurations; the same for the same seed on every machine.

        Args:
            seed: of the draw.
            depth: False keeps the plan's depths.
            width: False keeps the plan's widths.

        Example:
            >>> space = ElasticSpace((32, 64), (2, 2), (2,), residual=False)
            >>> space.random(seed=1) == space.random(seed=1), space.random(seed=1, width=False).widths
            (True, (1.0, 1.0))
        """
        generator = Random(seed)
        depths, decoder_depths = (
            tuple(generator.randint(1, most) for most in plan) if depth else plan
            for plan in (self.depths, self.decoder_depths)
        )
        widths = self._random_widths(generator) if width else (1.0,) * len(self.features)
        return SubnetConfiguration(depths, decoder_depths, widths)

    def __iter__(self) -> Iterator[SubnetConfiguration]:
        """Yield every configuration; a real plan has very many, see :attr:`count`."""
        for widths in self._all_widths(()):
            for depths in _up_to(self.depths):
                for decoder_depths in _up_to(self.decoder_depths):
                    yield SubnetConfiguration(depths, decoder_depths, widths)

    @cached_property
    def _ways(self) -> tuple[dict[float, int], ...]:
        """For each stage and fraction, how many choices of the stages behind it exist."""
        ways: list[dict[float, int]] = [dict.fromkeys(self.widths[-1], 1)]
        for stage in range(len(self.features) - 2, -1, -1):
            ways.insert(0, {f: sum(ways[0][g] for g in self._after(stage, f)) for f in self.widths[stage]})
        return tuple(ways)

    def _options(self, channels: int) -> dict[float, int]:
        counts = {f: min(channels, self.multiple * math.ceil(f * channels / self.multiple)) for f in self.fractions}
        last = {count: fraction for fraction, count in counts.items()}
        return {fraction: count for count, fraction in last.items()}

    def _after(self, stage: int, fraction: float) -> list[float]:
        """Return the fractions of the next stage that go with one of this stage."""
        if not self.residual:
            return list(self.widths[stage + 1])
        tied = self.features[stage] == self.features[stage + 1]
        own = self.widths[stage][fraction]
        return [f for f, channels in self.widths[stage + 1].items() if (channels == own) == tied]

    def _random_widths(self, generator: Random) -> tuple[float, ...]:
        chosen: list[float] = []
        for stage, ways in enumerate(self._ways):
            offered = self._after(stage - 1, chosen[-1]) if chosen else list(ways)
            chosen += generator.choices(offered, [ways[f] for f in offered])
        return tuple(chosen)

    def _all_widths(self, chosen: tuple[float, ...]) -> Iterator[tuple[float, ...]]:
        if len(chosen) == len(self.features):
            yield chosen
            return
        for fraction in self._after(len(chosen) - 1, chosen[-1]) if chosen else self.widths[0]:
            yield from self._all_widths((*chosen, fraction))

    def _width_problems(self, widths: tuple[float, ...]) -> list[str]:
        problems = [
            f"widths[{stage}]: expected one of {list(options)}, got {width}"
            for stage, (width, options) in enumerate(zip(widths, self.widths, strict=True))
            if width not in options
        ]
        return problems or [
            f"widths[{stage + 1}]: expected one of {self._after(stage, widths[stage])} after {widths[stage]}, got "
            f"{widths[stage + 1]}: a residual network has equal widths exactly where its plan has, {self.features}"
            for stage in range(len(widths) - 1)
            if widths[stage + 1] not in self._after(stage, widths[stage])
        ]


def _up_to(depths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if not depths:
        yield ()
        return
    for first in range(1, depths[0] + 1):
        yield from ((first, *rest) for rest in _up_to(depths[1:]))


def _too_deep(name: str, depths: tuple[int, ...], plan: tuple[int, ...]) -> list[str]:
    if all(d <= most for d, most in zip(depths, plan, strict=True)):
        return []
    return [f"{name}: expected at most {plan} as in the plan, got {depths}"]


def _check_fractions(fractions: tuple[float, ...]) -> None:
    ascending = all(a < b for a, b in pairwise(fractions))
    if not fractions or not ascending or fractions[0] <= 0 or fractions[-1] != 1:
        raise ValueError(f"fractions: expected ascending numbers in (0, 1] of which the last is 1, got {fractions}")
