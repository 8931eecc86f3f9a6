"""Settings of the search, and where everything in a report comes from."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime, timezone
from pathlib import Path

import matplotlib

import nnunet_iac
from nnunet_iac.reports import result, trace
from nnunet_iac.reports.artefacts import ModelArtefacts
from nnunet_iac.reports.blocks import Block, Folded, Paragraph, Section, Table


def settings_section(artefacts: ModelArtefacts) -> Section:
    """Return the settings as a table, with the file they come from."""
    ended = next((fold for fold in artefacts.folds if fold.result is not None), None)
    source = f"fold {ended.number}: {result.FILE_NAME}" if ended else "the iac block in plans.json (what was set there)"
    if not artefacts.settings:
        return Section("settings", "Settings", (Paragraph("No settings are recorded: defaults, or nothing searched."),))
    rows = tuple((key, _text(value)) for key, value in sorted(artefacts.settings.items()))
    if ended is not None and ended.result is not None and ended.result.tau is not None:
        rows = (*rows, ("tau in effect", f"{ended.result.tau:g}"))
    return Section("settings", "Settings", (Paragraph(f"From {source}."), Table(("setting", "value"), rows)))


def provenance_section(artefacts: ModelArtefacts) -> Section:
    """Return names, versions, the origin of the genotype and a checksum of every artefact that was read."""
    rows = [("model folder", str(artefacts.folder))]
    if artefacts.name is not None:
        name = artefacts.name
        rows += [("data set", name.dataset), ("trainer", name.trainer), ("plans", name.plans)]
        rows += [("configuration", name.configuration)]
    if artefacts.genotype is not None:
        rows.append(("genotype", f"{artefacts.genotype.kind}; {_origin(artefacts)}"))
        rows += [(f"genotype origin: {key}", _text(value)) for key, value in artefacts.genotype.origin.items()]
    rows += [
        ("report written", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("nnunet-iac", nnunet_iac.__version__),
        ("Python, matplotlib", f"{platform.python_version()}, {matplotlib.__version__}"),
    ]
    blocks: list[Block] = [Table(("what", "value"), tuple(rows))]
    files = Table(("file", "bytes", "SHA-256"), tuple(_file_row(path, artefacts.folder) for path in _files(artefacts)))
    return Section("provenance", "Provenance", (*blocks, Folded("files that were read", (files,))))


def _origin(artefacts: ModelArtefacts) -> str:
    return "from plans.json" if artefacts.plans.genotype is not None else f"from {result.FILE_NAME}"


def _files(artefacts: ModelArtefacts) -> list[Path]:
    paths = [artefacts.folder / "plans.json", artefacts.folder / "dataset.json"]
    for fold in artefacts.folds:
        paths += [fold.folder / name for name in (trace.FILE_NAME, result.FILE_NAME, "host.json", "progress.png")]
        paths += [v.path for v in (fold.validation, fold.host.validation) if v is not None]
    return [path for path in paths if path.is_file()]


def _file_row(path: Path, model: Path) -> tuple[str, str, str]:
    content = path.read_bytes()
    shown = path.relative_to(model) if path.is_relative_to(model) else path
    return str(shown), str(len(content)), hashlib.sha256(content).hexdigest()[:16]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
