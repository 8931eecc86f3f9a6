"""Everything a report is made of, read from a model folder or a fold folder into frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports import result as results
from nnunet_iac.reports import trace as traces
from nnunet_iac.reports.plans import ModelName, PlansFacts, class_names, read_plans
from nnunet_iac.reports.result import SearchResult, read_result
from nnunet_iac.reports.trace import SearchTrace, read_trace
from nnunet_iac.reports.validation import Host, HostOrigin, Validation, find_host, host_origin_of, validation_of

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class FoldArtefacts:
    """What one fold folder holds.

    Attributes:
        folder: the fold folder.
        trace: the search over its epochs; None without a search in this fold.
        result: how the search ended; None while it runs, after a kill, and without a search.
        validation: Dice of this fold; None before validation.
        host: Dice of the host's same fold, or where it was looked for.
        host_origin: what the run wrote about its own host; None if it wrote nothing.
        progress: nnU-Net's training curve (a whole PNG file); None if there is none.
        trace_is_empty: ``search.jsonl`` exists but holds no whole line.
    """

    folder: Path
    trace: SearchTrace | None
    result: SearchResult | None
    validation: Validation | None
    host: Host
    host_origin: HostOrigin | None
    progress: bytes | None
    trace_is_empty: bool = False

    @property
    def number(self) -> str:
        """The fold in nnU-Net's words: ``0``, ``1``, … or ``all``."""
        return self.folder.name.removeprefix("fold_")

    @property
    def searched(self) -> bool:
        """Whether this fold searched (or began to)."""
        return self.trace is not None or self.result is not None or self.trace_is_empty


@dataclass(frozen=True)
class ModelArtefacts:
    """What a model folder (or one fold of it) holds.

    Attributes:
        folder: the model folder, parent of the fold folders.
        name: parts of its name, None if it was renamed.
        plans: genotype and settings of ``plans.json``.
        classes: nnU-Net's key of each class to its name.
        folds: the folds of the report, in order; may be empty before the first training.
    """

    folder: Path
    name: ModelName | None
    plans: PlansFacts
    classes: Mapping[str, str]
    folds: tuple[FoldArtefacts, ...]

    @property
    def genotype(self) -> Genotype | None:
        """The genotype of the network: from the plans, else from the first fold whose search ended."""
        found = (fold.result.genotype for fold in self.folds if fold.result is not None)
        return self.plans.genotype or next((genotype for genotype in found if genotype is not None), None)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the search that ended first in order of folds; without one, those in the plans."""
        ended = (fold.result.settings for fold in self.folds if fold.result is not None)
        return next(ended, self.plans.settings or {})


def read_results(folder: Path, fold: str | None = None) -> ModelArtefacts:
    """Read a model folder or a fold folder; ``fold`` picks one fold of a model folder.

    Raises:
        FileNotFoundError: if the folder, the fold, or anything that a report could be about is missing; the message
            says what was expected where.
        ValueError: if an artefact is damaged or of another version.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"RESULTS_FOLDER: expected an existing folder, got {folder}; "
            "name <nnUNet_results>/<Dataset>/<Trainer>__<plans>__<configuration> or a fold_<k> folder in it"
        )
    folder = folder.resolve()
    model, fold_folders = _located(folder, fold)
    name = ModelName.of(model)
    plans = read_plans(model, name.configuration if name else None)
    folds = tuple(_read_fold(path, name, plans) for path in fold_folders)
    artefacts = ModelArtefacts(model, name, plans, class_names(model), folds)
    if artefacts.genotype is None and not any(fold.searched or fold.host_origin for fold in folds):
        raise FileNotFoundError(_nothing_known(folder, artefacts))
    return artefacts


def _located(folder: Path, fold: str | None) -> tuple[Path, list[Path]]:
    is_fold = folder.name.startswith("fold_") or (folder / traces.FILE_NAME).is_file()
    if is_fold and fold not in (None, folder.name.removeprefix("fold_")):
        raise FileNotFoundError(
            f"--fold: expected no fold or the fold of the given folder, got {fold!r} with {folder}; "
            "leave --fold out or give the model folder"
        )
    if is_fold:
        return folder.parent, [folder]
    folds = sorted((path for path in folder.glob("fold_*") if path.is_dir()), key=_fold_order)
    if fold is None:
        return folder, folds
    if not (folder / f"fold_{fold}").is_dir():
        raise FileNotFoundError(
            f"--fold: expected one of {[path.name.removeprefix('fold_') for path in folds]} (the folds in {folder}), "
            f"got {fold!r}; name one of them or train it first"
        )
    return folder, [folder / f"fold_{fold}"]


def _fold_order(path: Path) -> tuple[int, str]:
    number = path.name.removeprefix("fold_")
    return (int(number), "") if number.isdecimal() else (1 << 30, number)


def _first_level(result: SearchResult | None, plans: PlansFacts, folder: Path) -> int:
    """Return the highest resolution with a cell: as the search ended, as the plans have it, or as they ask for it."""
    for genotype in (None if result is None else result.genotype, plans.genotype):
        if genotype is not None:
            return genotype.first_level
    found = (plans.settings or {}).get("cell.first_level", 0)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise ValueError(
            f"{folder.parent / 'plans.json'}: cell.first_level: expected a number from 0, got {found!r}; restore it"
        )
    return found


def _read_fold(folder: Path, name: ModelName | None, plans: PlansFacts) -> FoldArtefacts:
    trace_path, result_path = folder / traces.FILE_NAME, folder / results.FILE_NAME
    trace = read_trace(trace_path) if trace_path.is_file() else None
    result = read_result(result_path) if result_path.is_file() else None
    if trace is not None:
        trace = replace(trace, first_level=_first_level(result, plans, folder))
    origin = host_origin_of(folder)
    checkpoint = (result.host_checkpoint if result else None) or (origin.checkpoint if origin else None)
    return FoldArtefacts(
        folder=folder,
        trace=trace,
        result=result,
        validation=validation_of(folder),
        host=find_host(folder, name, checkpoint, plans.derived_from),
        host_origin=origin,
        progress=_whole_png(folder / "progress.png"),
        trace_is_empty=trace is None and trace_path.is_file(),
    )


def _whole_png(path: Path) -> bytes | None:
    # nnU-Net writes this file in place after every epoch, so a reader may meet half of it.
    content = path.read_bytes() if path.is_file() else b""
    return content if content.startswith(_PNG_START) and content.endswith(_PNG_END) else None


def _nothing_known(folder: Path, artefacts: ModelArtefacts) -> str:
    expected = (
        f"{traces.FILE_NAME} or {results.FILE_NAME} in a fold folder (or in the given folder itself), or plans.json "
        f"with a genotype in the model folder"
    )
    models = sorted(p for p in folder.iterdir() if p.is_dir() and p.name.count("__") == 2)
    if models:
        listed = ", ".join(path.name for path in models)
        return f"RESULTS_FOLDER: expected {expected}; {folder} holds model folders: name one of them: {listed}"
    network = artefacts.plans.network_class
    found = f"plans.json there names {network} without a genotype" if network else "no plans.json with a network"
    return (
        f"RESULTS_FOLDER: expected {expected}; found neither in {artefacts.folder} ({found}; folds: "
        f"{[fold.folder.name for fold in artefacts.folds]}). Train with one of the nnUNetTrainerIAC… trainers first "
        "(nnUNetv2_train … -tr nnUNetTrainerIAC); a search writes its first line after its first epoch"
    )
