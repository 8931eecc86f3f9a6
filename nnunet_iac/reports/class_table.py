"""Differences by class as a Markdown table: a thin structure can lose what the mean of classes does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nnunet_iac.markdown import table_text
from nnunet_iac.reports.paired_texts import difference_text, interval_text, p_text

if TYPE_CHECKING:
    from nnunet_iac.reports.comparison import Row
    from nnunet_iac.statistics.patients import Metric

METRIC_NAMES: dict[Metric, str] = {"dice": "Dice", "hd95": "HD95"}
"""Metrics in the order of the columns, and their names."""


def class_table(compared: Mapping[str, Sequence[Row]], classes: Sequence[str], first: str) -> str:
    """Return one line for each compared pair and class: both metrics, with intervals and p-values.

    The p-values are Wilcoxon's, not corrected: not over classes, pairs or metrics. So a table of many lines has small
    ones by chance, and its columns say that they are not corrected.

    Args:
        compared: by the name of a pair the rows of its arm, of all metrics and structures.
        classes: the structures to show, in this order.
        first: heading of the first column.

    Returns:
        The table without a line break at its end; empty if there is nothing to compare, or only one class, which is
        the mean.

    Example:
        >>> class_table({}, ["RV", "MYO"], "arm")
        ''
    """
    if len(classes) < 2 or not compared:
        return ""
    columns = ("CI with runs", "p (not corrected)")
    head = [first, "class"]
    head += [text for name in METRIC_NAMES.values() for text in (f"{name}: difference [95 % CI]", *columns)]
    body = []
    for name, rows in compared.items():
        found = {(row.metric, row.structure): row for row in rows}
        body += [
            [name, one, *(text for metric in METRIC_NAMES for text in _cells(found[metric, one]))] for one in classes
        ]
    return table_text(head, body)


def _cells(row: Row) -> list[str]:
    if row.result is None:
        return ["fewer than two patients have it", "", ""]
    return [difference_text(row.result), interval_text(row.of_runs), p_text(row.result.p_value)]
