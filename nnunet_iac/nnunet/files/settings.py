"""Settings: one frozen record with defaults, read from the optional ``"iac"`` block of a plan's configuration.

The block is nested by section (``{"search": {"epochs": 50}}``); people write ``search.epochs=50``. Unknown keys and
bad values are all reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.nnunet.files.setting_checks import either, integer, number, number_from, one_of, or_null, setting, text
from nnunet_iac.search.smoothing import SMALLEST


@dataclass(frozen=True)
class HostSettings:
    """Training of the host before cells are implanted."""

    epochs: int = setting(50, integer(1), "epochs of host training before the search")
    iterations: int = setting(250, integer(1), "training iterations of each of them")


@dataclass(frozen=True)
class SearchSettings:
    """The search for a genotype; see :class:`nnunet_iac.search.plan.SearchPlan`."""

    epochs: int = setting(200, integer(2), "budget of the search")
    iterations: int = setting(50, integer(1), "weight and architecture steps of each epoch")
    warmup_epochs: int = setting(5, integer(1), "first epochs without architecture steps")
    partial_channels: int = setting(4, one_of(1, 2, 4, 8), "operations see 1/K of the channels")
    prune: bool = setting(True, one_of(True, False), "prune by Jensen-Shannon stability and stop early")
    tau: float | None = setting(None, or_null(number(0, 1)), "stability threshold; null: tied to search.drift")
    patience: int = setting(2, integer(1), "stable epochs before pruning and before stopping")
    host: Literal["frozen", "joint"] = setting("frozen", one_of("frozen", "joint"), "host weights during the search")
    augment: bool = setting(True, one_of(True, False), "nnU-Net's augmentation during the search")
    seed: int = setting(0, integer(0), "of weights, logits, batches and of random cells")
    drift: float = setting(0.2, number(0, 10), "largest move of a logit in one epoch")
    fraction: float = setting(0.5, number(0, 0.9), "share of the patients whose data train the architecture")
    perturbation: Literal["none", "random", "adversarial"] = setting(
        "none", one_of("none", "random", "adversarial"), "of operation weights in weight steps (SmoothDARTS)"
    )
    perturbation_size: float = setting(0.3, number_from(SMALLEST, 1), "its size at the end of search.epochs")
    beta_decay: float = setting(0.0, number_from(0, 1000), "weight of beta-DARTS' penalty at the last epoch")
    auxiliary_skip: bool = setting(False, one_of(True, False), "a fading skip beside every edge (DARTS-)")
    inherit: bool = setting(False, one_of(True, False), "found cells start from the search's weights, not fresh ones")
    max_skips: int | None = setting(None, or_null(integer(0)), "most skip_connects in a found cell; null: any")
    keep_host: bool = setting(
        False, one_of(True, False), "keep the host as a frozen search saw it, for the zoo; costs its size on disk"
    )
    select: Literal["weights", "removal", "draw"] = setting(
        "weights", one_of("weights", "removal", "draw"), "what chooses for undecided edges (removal: DARTS-PT)"
    )
    select_batches: int = setting(32, integer(2), "held-out batches on which removals are compared")
    validation_iterations: int = setting(
        0, integer(0), "batches of validation cases that each epoch's Dice is measured on, for the trace; 0: none"
    )


SECOND_INPUT = "what a cell reads besides the skip: the decoder's signal of the level, or the skip once more"


@dataclass(frozen=True)
class CellSettings:
    """The cells; see :class:`nnunet_iac.cells.cell_shape.CellShape`."""

    nodes: int = setting(4, integer(1, 16), "intermediate nodes")
    shared: bool = setting(True, one_of(True, False), "one graph for all levels, or one for each")
    second_input: Literal["decoder", "encoder"] = setting("decoder", one_of("decoder", "encoder"), SECOND_INPUT)
    width: float = setting(0.5, number(0, 1), "node channels as a fraction of the skip's")
    first_level: int = setting(0, integer(0, 16), "highest resolution with a cell (0: full); a cell there is dearest")
    projection: Literal["zero", "gain", "normalised"] = setting(
        "zero",
        one_of("zero", "gain", "normalised"),
        "what is zero at first: its weights; a gain after it; a gain after it and a normalisation",
    )

    @property
    def shape(self) -> CellShape:
        """The record that the cells are made from."""
        return CellShape(self.nodes, self.second_input, self.width, self.first_level, self.projection)


@dataclass(frozen=True)
class TrainingSettings:
    """Training with the cells; without ``augment`` prediction does not mirror either, as with ``nnUNetTrainerNoDA``."""

    epochs: int = setting(1000, integer(1), "epochs after the implantation")
    iterations: int = setting(250, integer(1), "training iterations of each epoch")
    validation_iterations: int = setting(50, integer(1), "validation iterations of each epoch")
    augment: bool = setting(
        True, one_of(True, False), "nnU-Net's augmentation, for the host too; false: prediction mirrors nothing"
    )
    host_rate: float = setting(
        1.0, number(0, 1), "implanting trainers: learning rate of the host, times that of the cells"
    )
    cells_first: float = setting(
        0.0, number_from(0, 1), "implanting trainers: share of the epochs in which cells train before the host does"
    )
    freeze_host: bool | None = setting(
        False,
        one_of(True, False, None),
        "train the cells only, the host stays as it is; null (of earlier versions): false",
    )
    deterministic: bool = setting(
        False, one_of(True, False), "torch's deterministic algorithms, for the same bits on CUDA too; slower"
    )


@dataclass(frozen=True)
class TransferSettings:
    """The start of nnUNetTrainerIACTransfer from another search; see :mod:`nnunet_iac.cells.warm_start`."""

    zoo: str | None = setting(None, or_null(text()), "folder or URL of the zoo to start from")
    source: str = setting(
        "nearest", text(), "(start of) an entry's id; nearest: by distance; multi: newest of several data sets"
    )
    temperature: float | str = setting(
        2.0, either("inf", number(0, 1e9)), "the source's logits are divided by it; inf: a cold start"
    )
    weights: bool = setting(True, one_of(True, False), "weights of the cells too, not their logits alone")
    host: bool = setting(True, one_of(True, False), "a host that is trained here starts from the source's")
    rate: float = setting(1.0, number(0, 1), "factor of the architecture's learning rate at first")
    rate_epochs: int = setting(3, integer(0), "first epochs with architecture steps in which it counts")


@dataclass(frozen=True)
class RetrievalSettings:
    """How nnUNetTrainerIACAuto chooses from ``transfer.zoo``; see :mod:`nnunet_iac.nnunet.retrieval.retrieval`."""

    protocol: str | None = setting(
        None,
        or_null(one_of("T1", "T5", "T10")),
        "first candidates to train for an epoch; T1 trains none; null: T5, or T1 with -num_gpus above 1",
    )
    iterations: int = setting(250, integer(1), "steps of a candidate's epoch")
    patches: int = setting(128, integer(2), "of the training images to look at")
    share: float = setting(0.3, number(0, 0.9), "of the training patients judge the candidates of T5 and T10")
    anyway: bool = setting(False, one_of(True, False), "retrieve even if no data set of the zoo is near")
    order: str | None = setting(
        None,
        or_null(one_of("measured", "meta-space", "predicted-dice", "best-on-average", "largest", "nearest")),
        "of candidates; null: measured (what served best in the zoo), or meta-space where retrieval.space is given",
    )
    space: str | None = setting(None, or_null(text()), "(start of) a stored meta-space's id; null: fit one here")
    performance: float = setting(1.0, number_from(0, 1e6), "weight in its fit of the error of predicted Dice")
    rank: float = setting(1.0, number_from(0, 1e6), "weight in its fit of the rank loss")
    fid: float = setting(1.0, number_from(0, 1e6), "weight in its fit of the alignment with Fréchet distances")
    contrastive: float = setting(0.0, number_from(0, 1e6), "weight in its fit of the contrastive loss")
    remoteness: float = setting(1.0, number_from(0, 1e6), "weight of a source's distance in the order meta-space")
    most: int = setting(100, integer(1), "candidates to build and measure at most; those too large do not count")
    max_params: float | None = setting(None, or_null(number(0, 1e15)), "parameters of the network at most; null: any")
    max_macs: float | None = setting(None, or_null(number(0, 1e18)), "multiply-adds of a patch at most; null: any")
    max_latency_ms: float | None = setting(None, or_null(number(0, 1e9)), "milliseconds of a patch here at most")
    max_memory_mb: float | None = setting(None, or_null(number(0, 1e9)), "MiB of weights and a patch here at most")


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


def setting_names() -> list[str]:
    """Return all names, ``section.key``, in order."""
    return [f"{name}.{f.name}" for name, section in SECTIONS.items() for f in fields(section)]


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
