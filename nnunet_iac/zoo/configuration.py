"""The configuration of a sub-network: how deep and how wide each stage of an elastic U-Net is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = 1
"""Version of the JSON form; a reader refuses versions it does not know."""


@dataclass(frozen=True)
class SubnetConfiguration:
    """Depths and widths of one sub-network.

    Which of them exist says an :class:`~nnunet_iac.zoo.elastic_space.ElasticSpace`.

    Attributes:
        depths: convolutions (plain) or blocks (residual) of each encoder stage, full resolution first.
        decoder_depths: convolutions of each decoder stage, lowest resolution first, as plans count them.
        widths: channels of each encoder stage as a fraction of the plan's, full resolution first. A decoder stage has
            the channels of the encoder stage of its resolution, as in the stock network.

    Raises:
        ValueError: if a field is out of range; all faults are named together.

    Example:
        >>> configuration = SubnetConfiguration((1, 2, 2), (1, 1), (0.5, 1.0, 0.75))
        >>> SubnetConfiguration.from_dict(configuration.to_dict()) == configuration
        True
    """

    depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        problems = [
            *_depth_problems("depths", self.depths),
            *_depth_problems("decoder_depths", self.decoder_depths),
            *_width_problems(self.widths),
        ]
        stages = len(self.depths)
        if len(self.widths) != stages or len(self.decoder_depths) != stages - 1:
            problems.append(
                f"expected as many widths as depths and one decoder depth less, got {len(self.widths)} widths, "
                f"{stages} depths and {len(self.decoder_depths)} decoder depths"
            )
        if problems:
            raise ValueError("configuration: " + "; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "depths": list(self.depths),
            "decoder_depths": list(self.decoder_depths),
            "widths": list(self.widths),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SubnetConfiguration:
        """Read the JSON form.

        Raises:
            ValueError: if the schema is unknown, a key is missing or unknown, or a value does not fit.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"configuration: expected a JSON object, got {type(record).__name__}")
        if record.get("schema") != SCHEMA:
            raise ValueError(
                f"configuration.schema: expected {SCHEMA}, got {record.get('schema')!r}; "
                "it was written by another version of nnunet-iac: install that version, or build the zoo again"
            )
        names = ("depths", "decoder_depths", "widths")
        if wrong := sorted(set(record) ^ {"schema", *names}):
            raise ValueError(f"configuration: expected the keys {['schema', *names]}, missing or unknown: {wrong}")
        if no_list := [name for name in names if not isinstance(record[name], (list, tuple))]:
            raise ValueError(f"configuration: expected lists, got something else for {no_list}")
        return cls(*(tuple(record[name]) for name in names))


def _depth_problems(name: str, depths: object) -> list[str]:
    if not isinstance(depths, tuple) or not depths:
        return [f"{name}: expected a tuple of at least one integer, got {depths!r}"]
    if any(isinstance(d, bool) or not isinstance(d, int) or d < 1 for d in depths):
        return [f"{name}: expected integers of at least 1, got {depths}"]
    return []


def _width_problems(widths: object) -> list[str]:
    if not isinstance(widths, tuple) or not widths:
        return [f"widths: expected a tuple of at least one number, got {widths!r}"]
    if any(isinstance(w, bool) or not isinstance(w, (int, float)) for w in widths):
        return [f"widths: expected numbers, got {widths}"]
    if any(not (math.isfinite(w) and 0 < w <= 1) for w in widths):
        return [f"widths: expected fractions in (0, 1], got {widths}"]
    return []
