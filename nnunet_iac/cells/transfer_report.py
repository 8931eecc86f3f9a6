"""What a transfer of weights did, tensor by tensor."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = 1
"""Version of the JSON form."""

What = Literal["copied", "adapted", "skipped"]


@dataclass(frozen=True)
class TensorRecord:
    """What became of one tensor.

    Attributes:
        name: its key in the ``state_dict`` (of the target, or of the source where the target has no place for it).
        what: ``copied`` bit by bit, ``adapted``, or ``skipped`` (the target's own initialisation, or no place).
        how: in words; empty for a plain copy under the same key.
        source_shape: None if the source has no such tensor.
        target_shape: None if the target has no such tensor.
        from_source: how many of the target's numbers hold what the source has learned.
        fresh: how many are the target's own initialisation; the rest is zero on purpose.
    """

    name: str
    what: What
    how: str
    source_shape: tuple[int, ...] | None
    target_shape: tuple[int, ...] | None
    from_source: int
    fresh: int

    @property
    def numbers(self) -> int:
        """How many numbers the target's tensor has; 0 if it has no such tensor."""
        return 0 if self.target_shape is None else math.prod(self.target_shape)


@dataclass(frozen=True)
class TransferReport:
    """All tensors of a transfer.

    Attributes:
        records: the target's tensors in the order of its ``state_dict``, then what was left of the source.

    Example:
        >>> report = TransferReport((TensorRecord("w", "adapted", "1 more output channels (fresh)", (1,), (2,), 1, 1),))
        >>> report.share, report.counts["adapted"]
        (0.5, 1)
        >>> print(report.table().splitlines()[-1])
        1 of 2 parameters (50.0 %) come from the source, 0 are zero on purpose, 1 are freshly initialised
    """

    records: tuple[TensorRecord, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of tensors that were copied, adapted, left fresh in the target, and left over in the source."""
        found = Counter("left over" if r.target_shape is None else r.what for r in self.records)
        return {
            "copied": found["copied"],
            "adapted": found["adapted"],
            "fresh": found["skipped"],
            "left over": found["left over"],
        }

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers of the target: all, from the source, zero on purpose, fresh; running statistics are counted too."""
        total = sum(r.numbers for r in self.records)
        taken, fresh = (sum(getattr(r, name) for r in self.records) for name in ("from_source", "fresh"))
        return {"total": total, "from source": taken, "zero": total - taken - fresh, "fresh": fresh}

    @property
    def share(self) -> float:
        """Share of the target's numbers that come from the source, 0 to 1."""
        numbers = self.parameters
        return numbers["from source"] / numbers["total"] if numbers["total"] else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**self.summary(), "records": [asdict(record) for record in self.records]}

    def summary(self) -> dict[str, Any]:
        """Return the JSON form without the single tensors."""
        return {"schema": SCHEMA, "tensors": self.counts, "parameters": self.parameters, "share": self.share}

    def table(self) -> str:
        """Return one line for each tensor, then the counts, as text."""
        rows = [("", "tensor", "source", "target", "how")]
        rows += [(r.what, r.name, _shape(r.source_shape), _shape(r.target_shape), r.how) for r in self.records]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([row[i].ljust(widths[i]) for i in range(4)] + [row[4]]).rstrip() for row in rows]
        counts, numbers = self.counts, self.parameters
        return "\n".join(
            [
                *lines,
                "",
                f"tensors: {counts['copied']} copied, {counts['adapted']} adapted, {counts['fresh']} freshly "
                f"initialised; {counts['left over']} of the source have no place in the target",
                f"{numbers['from source']} of {numbers['total']} parameters ({100 * self.share:.1f} %) come from the "
                f"source, {numbers['zero']} are zero on purpose, {numbers['fresh']} are freshly initialised",
            ]
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else "x".join(str(size) for size in shape) or "scalar"
