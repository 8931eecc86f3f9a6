"""Entries and findings as text: aligned tables, one entry in full."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.shown import escaped, quoted
from nnunet_iac.zoo.verification import Verification

HEAD = ("id", "kind", "name", "axes", "channels", "labels", "patch", "parameters", "Dice", "licence")
RIGHT = ("parameters", "Dice")


def entries_table(entries: Sequence[Entry]) -> str:
    """Return one line for each entry."""
    rows = [
        (
            entry.id,
            entry.kind,
            entry.name,
            f"{entry.dimensions}D",
            _names(entry.channels),
            str(len(entry.labels) or "?"),
            "x".join(str(size) for size in entry.patch_size),
            f"{entry.parameters:,}",
            _dice(entry),
            entry.licence or "-",
        )
        for entry in entries
    ]
    return table(HEAD, rows, RIGHT)


def entry_text(entry: Entry) -> str:
    """Return what an entry says, without the plans."""
    facts = [
        *(("id", entry.id), ("kind", entry.kind), ("name", entry.name), ("data set", entry.dataset)),
        ("plans", f"{_text(entry.plans.get('plans_name', '?'))}, configuration {entry.configuration}"),
        ("trainer", entry.trainer),
        ("channels", _names(entry.channels)),
        ("regions" if entry.regions else "labels", _names(entry.labels) or "not known"),
        ("spacing", " x ".join(f"{s:g}" for s in entry.spacing) + " mm"),
        ("patch", " x ".join(str(size) for size in entry.patch_size) + " voxels"),
        ("parameters", f"{entry.parameters:,}"),
        ("licence", entry.licence or "nobody said"),
        ("weights", f"{entry.weights} ({entry.weights_bytes:,} bytes)"),
        ("created", _text(entry.created)),
        *((f"provenance: {_text(key)}", _text(value)) for key, value in entry.provenance.items()),
        *((f"facts: {_text(key)}", _text(value)) for key, value in entry.facts.items()),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {value}" for name, value in facts]
    if entry.scores:
        rows = [
            (_text(s.metric), _text(s.label or "mean"), f"{s.value:.4f}", _text(s.measured_on)) for s in entry.scores
        ]
        lines += ["", table(("metric", "of", "value", "measured on"), rows, ("value",))]
    return "\n".join(lines)


def verification_text(found: Verification) -> str:
    """Return the findings and how it stands."""
    lines = [f"{'removed ' * f.removed}{f.what}: {escaped(f.where)}: {escaped(f.detail)}" for f in found.findings]
    faults = sum(finding.is_fault for finding in found.findings)
    left = sum(not finding.is_fault and not finding.removed for finding in found.findings)
    states = [f"{faults} fault(s)" if faults else "all is well"]
    if left:
        states.append(f"{left} file(s) that killed writers left, no fault; --repair removes them")
    return "\n".join([*lines, f"{found.entries} entries, {found.files} files of weights hashed: {', '.join(states)}"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return aligned columns.

    Example:
        >>> print(table(("a", "n"), [("x", "10"), ("yy", "2")], right=("n",)))
        a    n
        x   10
        yy   2
    """
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _dice(entry: Entry) -> str:
    mean = [score.value for score in entry.scores if score.metric == "Dice" and not score.label]
    return f"{mean[0]:.4f}" if mean else "-"


def _names(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) or "?" for name in names)


def _text(value: object, limit: int = 160) -> str:
    text = quoted(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else f"{text[:limit]} … (all of it with --json)"
