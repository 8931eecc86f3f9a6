"""Settings: one frozen record with defaults, read from the optional ``"iac"`` block of a plan's configuration.

The block is nested by section (``{"search": {"epochs": 50}}``); people write ``search.epochs=50``. Unknown keys and
bad values are all reported together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.json_files import parse_json
from nnunet_iac.search.smoothing import SMALLEST

Check = tuple[Callable[[Any], bool], str]


def _integer(low: int, high: int | None = None) -> Check:
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    return (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v and (high is None or v <= high),
        expected,
    )


def _number(low: float, high: float) -> Check:
    return (
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low < v <= high,
        f"a number above {low:g} and up to {high:g}",
    )


def _number_from(low: float, high: float) -> Check:
    return (
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high,
        f"a number from {low:g} to {high:g}",
    )


def _one_of(*values: Any) -> Check:
    listed = ", ".join(json.dumps(v) for v in values)
    return lambda v: any(v == w and type(v) is type(w) for w in values), f"one of {listed}"


def _text() -> Check:
    return lambda v: isinstance(v, str) and bool(v.strip()), "text"


def _or(value: str, check: Check) -> Check:
    return lambda v: v == value or check[0](v), f"{check[1]}, or {json.dumps(value)}"


def _or_null(check: Check) -> Check:
    return lambda v: v is None or check[0](v), f"{check[1]}, or null"


def _setting(default: Any, check: Check, meaning: str) -> Any:
    return field(default=default, metadata={"check": check, "meaning": meaning})


@dataclass(frozen=True)
class HostSettings:
    """Training of the host before cells are implanted."""

    epochs: int = _setting(50, _integer(1), "epochs of host training before the search")
    iterations: int = _setting(250, _integer(1), "training iterations of each of them")


@dataclass(frozen=True)
class SearchSettings:
    """The search for a genotype; see :class:`nnunet_iac.search.plan.SearchPlan`."""

    epochs: int = _setting(200, _integer(2), "budget of the search")
    iterations: int = _setting(50, _integer(1), "weight and architecture steps of each epoch")
    warmup_epochs: int = _setting(5, _integer(1), "first epochs without architecture steps")
    partial_channels: int = _setting(4, _one_of(1, 2, 4, 8), "operations see 1/K of the channels")
    prune: bool = _setting(True, _one_of(True, False), "prune by Jensen-Shannon stability and stop early")
    tau: float | None = _setting(None, _or_null(_number(0, 1)), "stability threshold; null: tied to search.drift")
    patience: int = _setting(2, _integer(1), "stable epochs before pruning and before stopping")
    host: Literal["frozen", "joint"] = _setting("frozen", _one_of("frozen", "joint"), "host weights during the search")
    augment: bool = _setting(True, _one_of(True, False), "nnU-Net's augmentation during the search")
    seed: int = _setting(0, _integer(0), "of weights, logits, batches and of random cells")
    drift: float = _setting(0.2, _number(0, 10), "largest move of a logit in one epoch")
    fraction: float = _setting(0.5, _number(0, 0.9), "share of the patients whose data train the architecture")
    perturbation: Literal["none", "random", "adversarial"] = _setting(
        "none", _one_of("none", "random", "adversarial"), "of operation weights in weight steps (SmoothDARTS)"
    )
    perturbation_size: float = _setting(0.3, _number_from(SMALLEST, 1), "its size at the end of search.epochs")
    beta_decay: float = _setting(0.0, _number_from(0, 1000), "weight of beta-DARTS' penalty at the last epoch")
    auxiliary_skip: bool = _setting(False, _one_of(True, False), "a fading skip beside every edge (DARTS-)")
    inherit: bool = _setting(False, _one_of(True, False), "found cells start from the search's weights, not fresh ones")
    max_skips: int | None = _setting(None, _or_null(_integer(0)), "most skip_connects in a found cell; null: any")
    keep_host: bool = _setting(
        False, _one_of(True, False), "keep the host as a frozen search saw it, for the zoo; costs its size on disk"
    )
    select: Literal["weights", "removal", "draw"] = _setting(
        "weights", _one_of("weights", "removal", "draw"), "what chooses for undecided edges (removal: DARTS-PT)"
    )
    select_batches: int = _setting(32, _integer(2), "held-out batches on which removals are compared")
    validation_iterations: int = _setting(
        0, _integer(0), "batches of validation cases that each epoch's Dice is measured on, for the trace; 0: none"
    )


@dataclass(frozen=True)
class CellSettings:
    """The cells; see :class:`nnunet_iac.cells.cell_shape.CellShape`."""

    nodes: int = _setting(4, _integer(1, 16), "intermediate nodes")
    shared: bool = _setting(True, _one_of(True, False), "one graph for all levels, or one for each")
    second_input: Literal["decoder", "encoder"] = _setting("decoder", _one_of("decoder", "encoder"), "second input")
    width: float = _setting(0.5, _number(0, 1), "node channels as a fraction of the skip's")
    first_level: int = _setting(0, _integer(0, 16), "highest resolution with a cell (0: full); a cell there is dearest")
    projection: Literal["zero", "gain", "normalised"] = _setting(
        "zero",
        _one_of("zero", "gain", "normalised"),
        "what is zero at first: its weights; a gain after it; a gain after it and a normalisation",
    )

    @property
    def shape(self) -> CellShape:
        """The record that the cells are made from."""
        return CellShape(self.nodes, self.second_input, self.width, self.first_level, self.projection)


@dataclass(frozen=True)
class TrainingSettings:
    """Training with the cells; without ``augment`` prediction does not mirror either, as with ``nnUNetTrainerNoDA``."""

    epochs: int = _setting(1000, _integer(1), "epochs after the implantation")
    iterations: int = _setting(250, _integer(1), "training iterations of each epoch")
    validation_iterations: int = _setting(50, _integer(1), "validation iterations of each epoch")
    augment: bool = _setting(
        True, _one_of(True, False), "nnU-Net's augmentation, for the host too; false: prediction mirrors nothing"
    )
    host_rate: float = _setting(
        1.0, _number(0, 1), "implanting trainers: learning rate of the host, times that of the cells"
    )
    cells_first: float = _setting(
        0.0, _number_from(0, 1), "implanting trainers: share of the epochs in which cells train before the host does"
    )
    freeze_host: bool | None = _setting(
        False, _one_of(True, False, None), "train the cells only, the host stays as it is; null is false"
    )
    deterministic: bool = _setting(
        False, _one_of(True, False), "torch's deterministic algorithms, for the same bits on CUDA too; slower"
    )


@dataclass(frozen=True)
class TransferSettings:
    """The start of nnUNetTrainerIACTransfer from another search; see :mod:`nnunet_iac.cells.warm_start`."""

    zoo: str | None = _setting(None, _or_null(_text()), "folder or URL of the zoo to start from")
    source: str = _setting(
        "nearest", _text(), "(start of) an entry's id; nearest: by distance; multi: newest of several data sets"
    )
    temperature: float | str = _setting(
        2.0, _or("inf", _number(0, 1e9)), "the source's logits are divided by it; inf: a cold start"
    )
    weights: bool = _setting(True, _one_of(True, False), "weights of the cells too, not their logits alone")
    host: bool = _setting(True, _one_of(True, False), "a host that is trained here starts from the source's")
    rate: float = _setting(1.0, _number(0, 1), "factor of the architecture's learning rate at first")
    rate_epochs: int = _setting(3, _integer(0), "first epochs with architecture steps in which it counts")


@dataclass(frozen=True)
class RetrievalSettings:
    """How nnUNetTrainerIACAuto chooses its network from ``transfer.zoo``; see :mod:`nnunet_iac.nnunet.retrieval`."""

    protocol: str | None = _setting(
        None,
        _or_null(_one_of("T1", "T5", "T10")),
        "first candidates to train for an epoch; T1 trains none; null: T5, or T1 with -num_gpus above 1",
    )
    iterations: int = _setting(250, _integer(1), "steps of a candidate's epoch")
    patches: int = _setting(128, _integer(2), "of the training images to look at")
    share: float = _setting(0.3, _number(0, 0.9), "of the training patients judge the candidates of T5 and T10")
    anyway: bool = _setting(False, _one_of(True, False), "retrieve even if no data set of the zoo is near")
    order: str | None = _setting(
        None,
        _or_null(_one_of("measured", "meta-space", "predicted-dice", "best-on-average", "largest", "nearest")),
        "of candidates; null: measured (what served best in the zoo), or meta-space where retrieval.space is given",
    )
    space: str | None = _setting(None, _or_null(_text()), "(start of) a stored meta-space's id; null: fit one here")
    performance: float = _setting(1.0, _number_from(0, 1e6), "weight in its fit of the error of predicted Dice")
    rank: float = _setting(1.0, _number_from(0, 1e6), "weight in its fit of the rank loss")
    fid: float = _setting(1.0, _number_from(0, 1e6), "weight in its fit of the alignment with Fréchet distances")
    contrastive: float = _setting(0.0, _number_from(0, 1e6), "weight in its fit of the contrastive loss")
    remoteness: float = _setting(1.0, _number_from(0, 1e6), "weight of a source's distance in the order meta-space")
    most: int = _setting(100, _integer(1), "candidates to build and measure at most; those too large do not count")
    max_params: float | None = _setting(
        None, _or_null(_number(0, 1e15)), "parameters of the network at most; null: any"
    )
    max_macs: float | None = _setting(None, _or_null(_number(0, 1e18)), "multiply-adds of a patch at most; null: any")
    max_latency_ms: float | None = _setting(None, _or_null(_number(0, 1e9)), "milliseconds of a patch here at most")
    max_memory_mb: float | None = _setting(None, _or_null(_number(0, 1e9)), "MiB of weights and a patch here at most")


@dataclass(frozen=True)
class Settings:
    """All settings of this package.

    Example:
        >>> Settings.from_block({"search": {"epochs": 20}}).search.epochs
        20
    """

    host: HostSettings = HostSettings()
    search: SearchSettings = SearchSettings()
    cell: CellSettings = CellSettings()
    training: TrainingSettings = TrainingSettings()
    transfer: TransferSettings = TransferSettings()
    retrieval: RetrievalSettings = RetrievalSettings()

    @classmethod
    def from_block(cls, block: Mapping[str, Any]) -> Settings:
        """Read the ``"iac"`` block of a configuration; sections and keys that are left out keep their defaults.

        Raises:
            ValueError: naming every unknown key and every bad value.
        """
        if not isinstance(block, Mapping):
            raise ValueError(f'settings: expected an "iac" block that is a JSON object, got {type(block).__name__}')
        problems: list[str] = []
        sections = {}
        for name, section in SECTIONS.items():
            values = block.get(name, {})
            if not isinstance(values, Mapping):
                problems.append(f"{name}: expected a JSON object, got {values!r}")
                values = {}
            problems += _section_problems(name, section, values)
            known = {f.name for f in fields(section)}
            sections[name] = {key: value for key, value in values.items() if key in known}
        problems += [f"{name}: unknown; expected one of {list(SECTIONS)}" for name in block if name not in SECTIONS]
        if not problems:
            problems += _cross_problems(sections)
        if problems:
            raise ValueError(f"settings: {len(problems)} problem(s): " + "; ".join(problems))
        return cls(**{name: section(**sections[name]) for name, section in SECTIONS.items()})

    def to_block(self) -> dict[str, Any]:
        """Return the block with every value written out."""
        return asdict(self)

    def training_block(self) -> dict[str, Any]:
        """Return it without how a network is retrieved: no probe and no study does that, and defaults may change."""
        return {name: section for name, section in self.to_block().items() if name != "retrieval"}


SECTIONS: dict[str, Any] = {
    "host": HostSettings,
    "search": SearchSettings,
    "cell": CellSettings,
    "training": TrainingSettings,
    "transfer": TransferSettings,
    "retrieval": RetrievalSettings,
}


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn ``search.epochs=50`` into the block ``{"search": {"epochs": 50}}``; values are JSON, or plain words.

    Raises:
        ValueError: naming every text that is not ``section.key=value``.

    Example:
        >>> parse_assignments(["search.epochs=50", "search.host=joint"])
        {'search': {'epochs': 50, 'host': 'joint'}}
    """
    block: dict[str, Any] = {}
    wrong = []
    for text in assignments:
        name, equals, value = text.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            wrong.append(text)
            continue
        block.setdefault(section, {})[key] = _value(value)
    if wrong:
        raise ValueError(f"--set: expected section.key=value (such as search.epochs=50), got {wrong}")
    return block


def setting_names() -> list[str]:
    """Return all names, ``section.key``, in order."""
    return [f"{name}.{f.name}" for name, section in SECTIONS.items() for f in fields(section)]


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _section_problems(name: str, section: Any, values: Mapping[str, Any]) -> list[str]:
    known = {f.name: f for f in fields(section)}
    problems = []
    for key, value in values.items():
        if key not in known:
            problems.append(f"{name}.{key}: unknown; expected one of {list(known)}")
            continue
        valid, expected = known[key].metadata["check"]
        if not valid(value):
            problems.append(f"{name}.{key}: expected {expected}, got {value!r}")
    return problems


def _cross_problems(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    search = SearchSettings(**sections["search"])
    if search.warmup_epochs >= search.epochs:
        return [
            f"search.warmup_epochs: expected fewer than search.epochs = {search.epochs}, got {search.warmup_epochs}"
        ]
    return []
