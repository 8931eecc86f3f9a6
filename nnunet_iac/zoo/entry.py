"""What the zoo knows about one set of weights: frozen, JSON-serialisable, named by its content."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from nnunet_iac.json_files import parse_json
from nnunet_iac.zoo.shown import quoted

ID_LENGTH = 16
"""Hexadecimal digits of an entry's id."""

LARGEST = 1 << 40
"""Bytes that weights may have, and parameters: more than any network; forged sizes must not ask for memory."""

JOINED = " + "
"""What stands between the names of data sets where an entry was trained on several at once."""

_IDENTITY = ("kind", "dataset", "plans", "configuration", "trainer", "labels", "regions", "channels")
_OBJECTS = ("plans", "dataset_json", "provenance", "facts")
_TEXTS = ("kind", "name", "dataset", "configuration", "trainer")


@dataclass(frozen=True)
class Score:
    """One number that was measured with the weights.

    Attributes:
        metric: such as ``Dice``, in nnU-Net's units (0 to 1).
        value: finite.
        measured_on: which cases, in words.
        label: of which class or region; empty for the mean over all.
    """

    metric: str
    value: float
    measured_on: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What whoever adds weights to a zoo says about them.

    Attributes:
        kind: ``network``, ``supernet``, ``search supernet``; other kinds may come.
        name: for people, need not be unique.
        dataset: that it was trained on, such as ``Dataset027_ACDC``; the names of several, joined by :data:`JOINED`.
        plans: content of the plans file.
        configuration: of these plans, such as ``2d``.
        trainer: class that trained it.
        labels: names of its outputs, in order; empty if they are not known.
        regions: whether these are regions that may overlap.
        channels: names of its image channels, in order; ``""`` for one without a name.
        spacing: of a voxel in mm, one number for each axis of the patch.
        patch_size: in voxels.
        dataset_json: content of ``dataset.json``.
        scores: what was measured with the weights.
        provenance: versions, source file and its SHA-256, epochs, and what else tells where the weights come from.
        licence: of the weights; None if nobody said.
        facts: what else the kind needs, such as the genotype or the data set's fingerprint.

    Raises:
        ValueError: if something does not fit; all faults are named together.

    Example:
        >>> about = Description(kind="network", name="a", dataset="Dataset001_A", plans={}, configuration="2d",
        ...     trainer="nnUNetTrainer", channels=("CT",), spacing=(1, 1), patch_size=(64, 64))
        >>> about.dimensions, about.spacing
        (2, (1.0, 1.0))
    """

    kind: str
    name: str
    dataset: str
    plans: Mapping[str, Any]
    configuration: str
    trainer: str
    labels: tuple[str, ...] = ()
    regions: bool = False
    channels: tuple[str, ...]
    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]
    dataset_json: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [*_text_problems(self), *(_list_problems(self) or [*_shape_problems(self), *_score_problems(self)])]
        if problems:
            raise ValueError("entry: " + "; ".join(problems))
        for name, kind in (("labels", str), ("channels", str), ("spacing", float), ("patch_size", int)):
            object.__setattr__(self, name, tuple(kind(value) for value in getattr(self, name)))
        for name in _OBJECTS:
            object.__setattr__(self, name, _as_json(name, getattr(self, name)))

    @property
    def dimensions(self) -> int:
        """Spatial axes of the network: 2 or 3."""
        return len(self.patch_size)

    def check_fit(self, *, dimensions: int, channels: int) -> None:
        """Check that the network reads images of a target.

        Raises:
            ValueError: if it has another number of axes or channels; the message says what helps.
        """
        if (self.dimensions, len(self.channels)) == (dimensions, channels):
            return
        names = ", ".join(quoted(name) for name in self.channels)
        raise ValueError(
            f"entry: expected a network in {dimensions}D for {channels} channel(s), got {self.name} in "
            f"{self.dimensions}D for {len(self.channels)} ({names}); extract it without a target "
            "and fit it with nnunet-iac transfer --from"
        )


@dataclass(frozen=True, kw_only=True)
class Entry(Description):
    """What the zoo keeps: the description, and the weights' hash.

    Attributes:
        id: digest of the kind, data set, plans, configuration, trainer, labels, channels and weights: the same network
            added twice is one entry.
        weights: SHA-256 of the weights' file.
        weights_bytes: its size.
        parameters: numbers in its tensors, each tensor counted once (running statistics included).
        created: when it came into the zoo, UTC, ISO 8601.

    Raises:
        ValueError: if something does not fit, or the id is not that of the content.
    """

    id: str
    weights: str
    weights_bytes: int
    parameters: int
    created: str

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if not (isinstance(self.weights, str) and re.fullmatch("[0-9a-f]{64}", self.weights)):
            problems.append(f"weights: expected a SHA-256 in hexadecimal, got {self.weights!r}")
        elif self.id != identity(self, self.weights):
            problems.append(f"id: expected {identity(self, self.weights)}, that of its content, got {self.id!r}")
        for name in ("weights_bytes", "parameters"):
            if not (_is_count(getattr(self, name)) and getattr(self, name) <= LARGEST):
                problems.append(f"{name}: expected a number from 0 to {LARGEST}, got {getattr(self, name)!r}")
        # A lone surrogate cannot be written to the index.
        if not isinstance(self.created, str) or any("\ud800" <= c <= "\udfff" for c in self.created):
            problems.append(f"created: expected a date, got {self.created!r}")
        if problems:
            raise ValueError(f"entry {self.id!r}: " + "; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; keys keep their order, because the order of regions counts."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Entry:
        """Read the JSON form.

        Raises:
            ValueError: if a key is missing or unknown, or a value does not fit.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(record, Mapping) or set(record) != names:
            found = sorted(set(record) ^ names) if isinstance(record, Mapping) else type(record).__name__
            raise ValueError(f"entry: expected the keys {sorted(names)}, missing or unknown: {found}")
        try:
            scores = tuple(Score(**score) for score in record["scores"])
        except TypeError as error:
            raise ValueError(f"entry: expected scores with metric, value and measured_on, got {error}") from error
        return cls(**{**record, "scores": scores})


def identity(description: Description, weights: str) -> str:
    """Return the id of a description with the weights of a SHA-256."""
    content = {name: getattr(description, name) for name in _IDENTITY}
    text = json.dumps({**content, "weights": weights}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def entry_of(description: Description, *, weights: str, weights_bytes: int, parameters: int) -> Entry:
    """Return the entry of a description, created now."""
    known = {item.name: getattr(description, item.name) for item in fields(Description)}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Entry(
        **known,
        id=identity(description, weights),
        weights=weights,
        weights_bytes=weights_bytes,
        parameters=parameters,
        created=created,
    )


def _list_problems(entry: Description) -> list[str]:
    return [
        f"{name}: expected a list, got {getattr(entry, name)!r}"
        for name in ("labels", "channels", "spacing", "patch_size", "scores")
        if not isinstance(getattr(entry, name), (list, tuple) if name == "scores" else (list, tuple, str))
    ]


def _text_problems(entry: Description) -> list[str]:
    problems = [
        f"{name}: expected text, got {getattr(entry, name)!r}" for name in _TEXTS if not _is_line(getattr(entry, name))
    ]
    if entry.licence is not None and not _is_line(entry.licence):
        problems.append(f"licence: expected text or None, got {entry.licence!r}")
    if not isinstance(entry.regions, bool):
        problems.append(f"regions: expected true or false, got {entry.regions!r}")
    return problems


def _shape_problems(entry: Description) -> list[str]:
    problems = []
    for name in ("labels", "channels"):
        values = getattr(entry, name)
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            problems.append(f"{name}: expected names, got {values!r}")
    if not entry.channels:
        problems.append("channels: expected at least one, got none")
    if len(entry.patch_size) not in (2, 3) or not all(_is_count(size) and size for size in entry.patch_size):
        problems.append(f"patch_size: expected 2 or 3 positive numbers of voxels, got {entry.patch_size!r}")
    if len(entry.spacing) != len(entry.patch_size) or not all(_is_finite(s) and s > 0 for s in entry.spacing):
        problems.append(f"spacing: expected a positive number for each axis of the patch, got {entry.spacing!r}")
    return problems


def _score_problems(entry: Description) -> list[str]:
    return [
        f"scores: expected a metric, a finite value and what it was measured on, got {score!r}"
        for score in entry.scores
        if not (_is_text(score.metric) and _is_text(score.measured_on) and _is_finite(score.value))
        or not isinstance(score.label, str)
    ]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_line(value: object) -> bool:
    """Whether it is text that is not blank, in one line and without what a terminal would act on."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _as_json(name: str, value: Any) -> dict[str, Any]:
    """Return an object as it comes back from JSON, so that an entry equals itself after a round trip."""
    try:
        # As deep as it will stand in the record, so that what is stored can be read back.
        content = parse_json(json.dumps({name: value}))[name]
    except RecursionError as error:
        raise ValueError(f"entry: {name}: expected what JSON can hold, got what nests without an end") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"entry: {name}: expected what JSON can hold, got {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"entry: {name}: expected a JSON object, got a {type(value).__name__}")
    return content
