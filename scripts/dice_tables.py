"""What a study of ``bench_dice.py`` gave, as the text that is printed and the record that is written.

Dice and HD95 are read as two answers: cells can gain the one and lose the other, so neither is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from dice_study import FULL, Study

from nnunet_iac.markdown import table_text
from nnunet_iac.reports.class_table import METRIC_NAMES, class_table
from nnunet_iac.reports.comparison import MEAN, metric_title
from nnunet_iac.reports.paired_texts import difference_text, inside_text, interval_text, p_text

if TYPE_CHECKING:
    from nnunet_iac.reports.comparison import Comparison, Row
    from nnunet_iac.reports.result import SearchResult
    from nnunet_iac.statistics.patients import Metric

Cell = tuple[int, int]
"""A seed and a fold."""

COST = ("status", "epochs", "seconds", "decided_edges", "edges")


@dataclass(frozen=True)
class Result:
    """What the arms gave.

    Attributes:
        table: every arm against the control.
        pairs: ``(first, second)`` to ``first minus second``.
        searches: ``seconds``, ``epochs``, ``decided_edges`` and ``edges`` by arm, seed and fold.
    """

    table: Comparison
    pairs: Mapping[tuple[str, str], Comparison]
    searches: Mapping[str, Mapping[Cell, SearchResult]]


def study_markdown(result: Result) -> str:
    """Return the tables: arms by Dice, what searches cost, pairs by Dice; the same by HD95; pairs by class."""
    patients = len(result.table.main_rows("dice")[0].values)
    parts = [
        f"{patients} patients; each patient's value is its mean over seeds.",
        _arms(result, "dice"),
        "\n".join(_ratios(result.searches)),
        _pairs(result, "dice"),
        f"{metric_title(result.table, 'hd95')}, lower is better:",
        _arms(result, "hd95"),
        _pairs(result, "hd95"),
        _classes(result),
    ]
    return "\n\n".join(part for part in parts if part)


def study_record(study: Study, result: Result, *, threads: int | None, jobs: int, device: str) -> dict[str, Any]:
    """Return everything that is printed, unrounded; Dice at the top, HD95 under its name, classes under theirs."""
    pairs = _figures_of_pairs(result)
    return {
        "study": asdict(study),
        "threads": threads,
        "jobs": jobs,
        "device": device,
        "patients": list(result.table.scores.patients),
        "dice": _by_patient(result, "dice"),
        "dice_by_seed": _by_seed(result, "dice"),
        "against_control": _against_control(result, "dice"),
        "pairs": {name: rows["dice", MEAN] for name, rows in pairs.items()},
        "hd95": {
            "unit": result.table.unit,
            "by_patient": _by_patient(result, "hd95"),
            "by_seed": _by_seed(result, "hd95"),
            "against_control": _against_control(result, "hd95"),
            "pairs": {name: rows["hd95", MEAN] for name, rows in pairs.items()},
        },
        "pairs_by_class": {
            name: {
                structure: {metric: rows[metric, structure] for metric in METRIC_NAMES}
                for structure in result.table.scores.classes
            }
            for name, rows in pairs.items()
        },
        "search": {
            arm: [
                {"seed": seed, "fold": fold, **{key: getattr(found, key) for key in COST}, "operations": _counts(found)}
                for (seed, fold), found in cells.items()
            ]
            for arm, cells in result.searches.items()
        },
    }


def _arms(result: Result, metric: Metric) -> str:
    """Every arm against the control; what the searches cost stands beside their Dice."""
    rows, runs = result.table.main_rows(metric), result.table.scores.run_means[metric]
    costs = ["search epochs", "seconds"] if metric == "dice" else []
    head = ["arm", f"{METRIC_NAMES[metric]} by seed", "mean", f"minus {rows[0].arm}, 95 % CI", "CI with runs"]
    body = []
    for row, by_seed in zip(rows, runs, strict=True):
        against = ["", "", ""]
        if row.result:
            against = [difference_text(row.result), interval_text(row.of_runs), p_text(row.result.holm)]
        found = list(result.searches.get(row.arm, {}).values())
        spent = [
            ", ".join(f"{one.epochs} ({one.decided_edges}/{one.edges} decided)" for one in found),
            ", ".join(f"{one.seconds:.0f}" for one in found),
        ]
        values = ", ".join(f"{value:.2f}" for value in by_seed)
        body.append([row.arm, values, f"{row.values.mean():.2f}", *against, *spent[: len(costs)]])
    return table_text([*head, "Wilcoxon p (Holm)", *costs], body)


def _ratios(searches: Mapping[str, Mapping[Cell, SearchResult]]) -> list[str]:
    """Say how many times cheaper each search was than the full one of the same seed, in wall-clock.

    A model searches once, in the fold that starts first, so two arms of a seed may have searched in different folds.
    """
    full = {seed: found.seconds for (seed, _), found in searches.get(FULL, {}).items()}
    times = {
        arm: [full[seed] / found.seconds for (seed, _), found in cells.items() if seed in full]
        for arm, cells in searches.items()
        if arm != FULL
    }
    return [
        f"The {arm} was {', '.join(f'{one:.1f}' for one in of_arm)} times cheaper than the full one (by seed, "
        f"wall-clock; median {median(of_arm):.1f})."
        for arm, of_arm in times.items()
        if of_arm
    ]


def _pairs(result: Result, metric: Metric) -> str:
    head = ["pair", f"{METRIC_NAMES[metric]}: difference, 95 % CI", "CI with runs", "Wilcoxon p"]
    unit, margin = "points" if metric == "dice" else result.table.unit, 0.0
    body = []
    for pair, rows in _rows_of_pairs(result).items():
        row = rows[metric, MEAN]
        if row.result is not None and row.verdict is not None:
            texts = [difference_text(row.result), interval_text(row.of_runs), p_text(row.result.p_value)]
            body.append([pair, *texts, inside_text(row.verdict)])
            margin = row.result.margin
    return table_text([*head, f"inside {margin:g} {unit} (both CIs)"], body) if body else ""


def _classes(result: Result) -> str:
    compared = {name: list(rows.values()) for name, rows in _rows_of_pairs(result).items()}
    return class_table(compared, result.table.scores.classes, "pair, by class")


def _rows_of_pairs(result: Result) -> dict[str, dict[tuple[Metric, str], Row]]:
    """Return for each pair, by its name, the row of its first arm by metric and class (or their mean)."""
    return {
        " minus ".join(pair): {(row.metric, row.structure): row for row in found.rows if row.arm == pair[0]}
        for pair, found in result.pairs.items()
    }


def _figures_of_pairs(result: Result) -> dict[str, dict[tuple[Metric, str], dict[str, Any]]]:
    return {name: {key: _figures(row) for key, row in rows.items()} for name, rows in _rows_of_pairs(result).items()}


def _by_patient(result: Result, metric: Metric) -> dict[str, list[float]]:
    scores = result.table.scores
    return {arm: values.tolist() for arm, values in zip(scores.arms, scores.paired(metric), strict=True)}


def _by_seed(result: Result, metric: Metric) -> dict[str, tuple[float, ...]]:
    scores = result.table.scores
    return dict(zip(scores.arms, scores.run_means[metric], strict=True))


def _against_control(result: Result, metric: Metric) -> dict[str, dict[str, Any]]:
    return {row.arm: _figures(row) for row in result.table.main_rows(metric) if row.result is not None}


def _figures(row: Row) -> dict[str, Any]:
    found = [asdict(part) for part in (row.result, row.verdict) if part is not None]
    of_runs = None if row.of_runs is None else asdict(row.of_runs)
    return {**{key: value for part in found for key, value in part.items()}, "of_runs": of_runs}


def _counts(found: SearchResult) -> dict[str, int]:
    """Return how often each operation is in the cells that a search found."""
    cells = () if found.genotype is None else found.genotype.cells
    return dict(Counter(operation for cell in cells for node in cell for operation, _ in node))
