"""A comparison of arms with a control as plain records, a Markdown table and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_iac.markdown import table_text
from nnunet_iac.reports.class_table import class_table
from nnunet_iac.reports.paired_texts import difference_text, interval_text, p_text, verdict_text, yes_or_no
from nnunet_iac.statistics.paired import FEW, Interval, PairedResult, compare_with_control
from nnunet_iac.statistics.patients import METRICS, Metric, PatientScores, mean_over_classes
from nnunet_iac.statistics.scatter import training_interval
from nnunet_iac.statistics.verdict import Verdict, judge

MEAN = "mean of classes"
"""Name of the mean over classes, where a class is named."""


@dataclass(frozen=True, eq=False)
class Row:
    """One arm, one class or their mean, one metric.

    Attributes:
        metric: what was measured.
        structure: name of the class, or :data:`MEAN`.
        arm: name.
        values: ``(p,)``, of the patients that have this class.
        differences: ``(p,)``, ``arm - control``.
        result: None for the control, and where less than two patients have the class.
        of_runs: 95 % interval of the mean difference over patients and trainings, by runs or by folds; None where there
            is no result, and where the arm or the control has one run only and few folds.
    """

    metric: Metric
    structure: str
    arm: str
    values: NDArray[np.float64]
    differences: NDArray[np.float64]
    result: PairedResult | None
    of_runs: Interval | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Whether the difference is small enough; None where there is no result."""
        return None if self.result is None else judge(self.result, self.of_runs)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that is printed, written and drawn.

    Attributes:
        scores: values of each arm, patient and class.
        rows: for each metric, the mean of classes and then each class, every arm.
        unit: of HD95.
        notes: what a reader must know: where references and patients come from, who was left out.
    """

    scores: PatientScores
    rows: tuple[Row, ...]
    unit: str
    notes: tuple[str, ...] = ()

    def main_rows(self, metric: Metric) -> tuple[Row, ...]:
        """Return the rows of the mean over classes, the control first."""
        return tuple(row for row in self.rows if row.metric == metric and row.structure == MEAN)


def build_comparison(
    scores: PatientScores,
    *,
    margins: Mapping[Metric, float],
    unit: str,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare every arm with the first one: the mean over classes, then each class.

    Holm's correction is over the arms within one metric and one class (our choice: Dice and HD95 are read as two
    answers, and with two arms nothing is corrected).

    Raises:
        ValueError: for a margin that is not positive, or less than two patients with any class.
    """
    if len(scores.paired("dice")[0]) < 2:
        raise ValueError("patients: expected at least two with a structure in a mask, got fewer; nothing to compare")
    structures = [(MEAN, None), *((name, index) for index, name in enumerate(scores.classes))]
    rows = [
        row
        for metric in METRICS
        for name, index in structures
        for row in _rows(scores, metric, name, index, margins[metric], seed)
    ]
    return Comparison(scores, tuple(rows), unit, tuple(notes))


def comparison_markdown(comparison: Comparison) -> str:
    """Return one table for each metric, of the mean over classes, one by class, and the notes."""
    parts = [*(_metric_table(comparison, metric) for metric in METRICS), _classes(comparison)]
    parts.append("\n".join(f"- {note}" for note in (*comparison.notes, *_reading(comparison))))
    return "\n\n".join(filter(None, parts)) + "\n"


def values_csv(comparison: Comparison) -> str:
    """Return one line for each arm, patient, class (and their mean) and metric.

    ``cases`` is the number of the patient's cases in which the class counts; with 0 the value is empty.
    """
    scores = comparison.scores
    lines: list[Sequence[object]] = [("arm", "patient", "class", "metric", "unit", "cases", "value")]
    for metric in METRICS:
        table = scores.values[metric]
        columns = np.concatenate([table, mean_over_classes(table)[..., None]], axis=-1)
        lines.extend(
            (arm, patient, name, metric, _unit(comparison, metric), scores.cases[p, k], _number(columns[a, p, k]))
            for a, arm in enumerate(scores.arms)
            for p, patient in enumerate(scores.patients)
            for k, name in enumerate((*scores.classes, MEAN))
        )
    return _csv(lines)


def statistics_csv(comparison: Comparison) -> str:
    """Return one line for each metric, class (and their mean) and arm: everything the table has, unrounded."""
    columns = "metric unit class arm patients mean median difference ci_low ci_high p p_holm margin worst_end "
    columns += "non_inferior trainings_counted runs_ci_low runs_ci_high"
    lines: list[Sequence[object]] = [columns.split()]
    for row in comparison.rows:
        unit = _unit(comparison, row.metric)
        middle = (_number(row.values.mean()), _number(np.median(row.values))) if len(row.values) else ("", "")
        found: tuple[object, ...] = ("",) * 9
        if (result := row.result) is not None and (verdict := row.verdict) is not None:
            numbers = (result.difference, result.interval.low, result.interval.high, result.p_value, result.holm)
            answers = (yes_or_no(answer) for answer in (verdict.non_inferior, verdict.trainings_counted))
            found = (*map(_number, (*numbers, result.margin, verdict.worst)), *answers)
        of_runs = ("", "") if row.of_runs is None else (_number(row.of_runs.low), _number(row.of_runs.high))
        lines.append((row.metric, unit, row.structure, row.arm, len(row.values), *middle, *found, *of_runs))
    return _csv(lines)


def metric_title(comparison: Comparison, metric: Metric) -> str:
    """Return the metric with its unit, as in headings and at axes."""
    return "Dice (points, 0 to 100)" if metric == "dice" else f"HD95 ({comparison.unit})"


def _rows(
    scores: PatientScores, metric: Metric, name: str, structure: int | None, margin: float, seed: int
) -> list[Row]:
    paired = scores.paired(metric, structure)
    results: Iterable[PairedResult | None] = (None,) * (len(scores.arms) - 1)
    if paired.shape[1] >= 2:
        results = compare_with_control(
            paired[0], paired[1:], margin=margin, higher_is_better=metric == "dice", seed=seed
        )
    runs, folds = scores.means_of_runs(metric, structure), scores.paired_folds(metric, structure)
    return [
        Row(
            *(metric, name, arm, values, values - paired[0], result),
            of_runs=training_interval(values - paired[0], runs[0], of_arm, folds) if result else None,
        )
        for arm, values, result, of_arm in zip(scores.arms, paired, (None, *results), runs, strict=True)
    ]


def _metric_table(comparison: Comparison, metric: Metric) -> str:
    rows = comparison.main_rows(metric)
    scores = comparison.scores
    head = ["arm", "mean", "median", "difference to the control [95 % CI]", "CI with runs", "p", "p (Holm)"]
    head += [f"non-inferior by {_margin(rows):g} (worst end of both CIs)", "both empty", "one empty"]
    body = []
    for row, both, one in zip(rows, scores.both_empty, scores.one_empty, strict=True):
        cells = [row.arm, f"{row.values.mean():.2f}", f"{np.median(row.values):.2f}", *_result_cells(row)]
        body.append([*cells, str(both), str(one)])
    title = f"**{metric_title(comparison, metric)}, {MEAN}, {len(rows[0].values)} patients**"
    return f"{title}\n\n{table_text(head, body)}"


def _classes(comparison: Comparison) -> str:
    """Every arm against the control by class."""
    arms = {arm: [row for row in comparison.rows if row.arm == arm] for arm in comparison.scores.arms[1:]}
    table = class_table(arms, comparison.scores.classes, "arm")
    unit = metric_title(comparison, "hd95")
    return f"**By class, minus the control** (Dice in points, {unit})\n\n{table}" if table else ""


def _result_cells(row: Row) -> list[str]:
    if (result := row.result) is None or (verdict := row.verdict) is None:
        return ["control", "", "", "", ""]
    tests = (p_text(result.p_value), p_text(result.holm), verdict_text(verdict))
    return [difference_text(result), interval_text(row.of_runs), *tests]


def _reading(comparison: Comparison) -> list[str]:
    """Return what the columns mean, where that is our choice, and what the seeds gave."""
    scores = comparison.scores
    patients = len(comparison.main_rows("dice")[0].values)
    lines = [
        "CI: BCa bootstrap of the mean paired difference over patients. p: Wilcoxon signed-rank, two-sided; the "
        f"smallest that {patients} patients allow is {p_text(2.0 ** (1 - patients))}. Holm: over the arms, each metric "
        "by itself. Non-inferior: neither CI reaches the margin on the bad side (each end is a one-sided bound of "
        "97.5 %), not corrected; with one run of an arm and less than three folds there is no CI with runs, and "
        "trainings are not counted.",
        "CI with runs: over patients and trainings of other seeds together (Welch-Satterthwaite; the n-th runs of two "
        "arms are a pair); where it holds 0, a gain may be one of these seeds. It covers 88 % with two runs, 92 % with "
        "three. With three folds or more, folds stand for patients (cluster-robust; it takes models of one "
        "cross-validation for independent, though they share training cases); with one run it is by fold alone, and "
        "what its folds share, such as the cells of one search, is not counted. CI and p are about these very "
        "networks.",
        "Both empty, one empty: classes of cases, over all runs of the arm. One empty: Dice 0, HD95 the diagonal of "
        f"the image. Left out in every arm, because all masks are empty: {scores.left_out}; where only some arms "
        "predict something into an empty reference, the others get Dice 100 and HD95 0.",
    ]
    if (absent := len(scores.patients) - patients) > 0:
        lines.append(f"Patients without any structure in any mask, not in the table: {absent}.")
    if patients < FEW:
        lines.append(
            f"With less than {FEW} patients intervals and bounds are too narrow (normal differences: 95 % intervals "
            "cover 79 % with 4 patients, 89 % with 10, 93 % with 20)."
        )
    if comparison.unit != "mm":
        lines.append(f"The images have no spacing: HD95 is in {comparison.unit}.")
    for arm, dice, hd95 in zip(scores.arms, scores.run_means["dice"], scores.run_means["hd95"], strict=True):
        if len(dice) > 1:
            single = ", ".join(f"{d:.2f} / {h:.2f}" for d, h in zip(dice, hd95, strict=True))
            lines.append(f"{arm}: {len(dice)} runs, Dice / HD95 {single}; their scatter is in the CI with runs only.")
    return lines


def _margin(rows: Sequence[Row]) -> float:
    return next(row.result.margin for row in rows if row.result is not None)


def _unit(comparison: Comparison, metric: Metric) -> str:
    return "points" if metric == "dice" else comparison.unit


def _number(value: float) -> str:
    return f"{value:.10g}" if np.isfinite(value) else ""


def _csv(lines: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
