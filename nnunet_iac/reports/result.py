"""Read ``search_result.json``, what a search ended with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.documents import check_keys, check_schema, flatten, read_object

FILE_NAME = "search_result.json"
"""Name of the result in a fold folder."""

Status = Literal["decided", "undecided"]

_KEYS = ("status", "message", "epochs", "seconds", "seed", "decided_edges", "edges", "genotype", "host", "settings")


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        status: ``undecided`` means that no edge choice should be presented as found.
        message: the search's own words.
        epochs: epochs it took, warm-up included.
        seconds: wall-clock of the search.
        seed: seed of the search.
        decided_edges: edges decided, of ``edges``.
        edges: edges of all cells.
        genotype: the cells it ended with; None if it gave none.
        host_checkpoint: where the host's weights came from; None if it was trained in the same run.
        host_mode: ``frozen`` or ``joint``.
        settings: dotted key to value.
        tau: the threshold of stability in effect; None where neither the file nor the settings give one.
        weight_cases: cases that trained weights during the search; None where the file does not say.
        architecture_cases: cases that trained the architecture.
        patients: how patients were known, in words; None if every case counted as one.
    """

    status: Status
    message: str
    epochs: int
    seconds: float
    seed: int
    decided_edges: int
    edges: int
    genotype: Genotype | None
    host_checkpoint: str | None
    host_mode: str
    settings: Mapping[str, Any]
    tau: float | None = None
    weight_cases: int | None = None
    architecture_cases: int | None = None
    patients: str | None = None


def read_result(path: Path) -> SearchResult:
    """Read the result of a search.

    Raises:
        ValueError: if the file does not follow schema 1.
        OSError: from the file system.
    """
    record = read_object(path)
    check_schema(record, str(path))
    check_keys(record, _KEYS, str(path))
    if record["status"] not in ("decided", "undecided"):
        raise ValueError(
            f"{path}: status: expected 'decided' or 'undecided', got {record['status']!r}; "
            "restore the file, or search again"
        )
    host = record["host"] if isinstance(record["host"], dict) else {}
    settings = record["settings"] if isinstance(record["settings"], dict) else {}
    try:
        return SearchResult(
            status=record["status"],
            message=str(record["message"]),
            epochs=int(record["epochs"]),
            seconds=float(record["seconds"]),
            seed=int(record["seed"]),
            decided_edges=int(record["decided_edges"]),
            edges=int(record["edges"]),
            genotype=None if record["genotype"] is None else Genotype.from_dict(record["genotype"]),
            host_checkpoint=host.get("checkpoint"),
            host_mode=str(host.get("mode", "unknown")),
            settings=flatten(settings),
            tau=tau_of({"search.tau": record.get("tau") or flatten(settings).get("search.tau")}),
            weight_cases=_count(record.get("weight_cases")),
            architecture_cases=_count(record.get("architecture_cases")),
            patients=record.get("patients"),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error


def tau_of(settings: Mapping[str, Any]) -> float | None:
    """Return the threshold of stability that settings give as a positive number, else None.

    Example:
        >>> tau_of({"search.tau": 0.02}), tau_of({"search.tau": "auto"}), tau_of({})
        (0.02, None, None)
    """
    tau = settings.get("search.tau", settings.get("tau"))
    return float(tau) if isinstance(tau, (int, float)) and not isinstance(tau, bool) and tau > 0 else None


def _count(cases: object) -> int | None:
    return len(cases) if isinstance(cases, list) else None
