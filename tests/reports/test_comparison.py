"""A comparison as table, CSV and picture: the numbers are those of the statistics, and nothing is lost on the way."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from nnunet_iac.reports.canvas import new_figure
from nnunet_iac.reports.class_table import class_table
from nnunet_iac.reports.comparison import (
    MEAN,
    Comparison,
    build_comparison,
    comparison_markdown,
    statistics_csv,
    values_csv,
)
from nnunet_iac.reports.comparison_figure import comparison_png, differences_data, draw_differences
from nnunet_iac.reports.paired_texts import difference_text, interval_text, p_text
from nnunet_iac.statistics.paired import compare_with_control
from nnunet_iac.statistics.patients import Agreement, PatientScores, patient_scores
from nnunet_iac.statistics.scatter import fold_interval, run_interval

PATIENTS = [f"patient{n}" for n in range(12)]
NONE = Agreement(100, 0, "both")


def scores(*, runs: int = 1, all_arms: bool = False, last_class_absent: bool = False) -> PatientScores:
    """Three arms on 12 patients of one case: the second is 3 points and 2 mm better, the third is the control again."""
    rng = np.random.default_rng(0)
    dice, hd95 = rng.uniform(70, 90, (12, 2)), rng.uniform(3, 9, (12, 2))

    def run(gain: float, run_number: int = 0) -> dict[str, list[Agreement]]:
        return {
            name: [
                NONE
                if last_class_absent and k == 1
                else Agreement(dice[p, k] + gain + run_number, hd95[p, k] - gain / 1.5)
                for k in range(2)
            ]
            for p, name in enumerate(PATIENTS)
        }

    others = runs if all_arms else 1
    arms = {"host": [run(0, n) for n in range(others)], "cells": [run(3, n) for n in range(runs)]}
    arms["same | again"] = [run(0, n) for n in range(others)]
    return patient_scores(arms, {name: [name] for name in PATIENTS}, ["ring", "core"])


@cache
def standard() -> Comparison:
    """The usual comparison; records are not changed, so that one is enough for all tests."""
    return compared(scores())


def compared(found: PatientScores, **options: object) -> Comparison:
    return build_comparison(found, margins={"dice": 1, "hd95": 1}, unit="mm", **options)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_metric_class_and_arm_has_its_row() -> None:
    keys = [(row.metric, row.structure, row.arm) for row in standard().rows]

    arms = ("host", "cells", "same | again")
    assert keys == [(m, s, a) for m in ("dice", "hd95") for s in (MEAN, "ring", "core") for a in arms]


def test_rows_are_those_of_the_statistics() -> None:
    found = scores()
    paired = found.paired("hd95", 1)
    expected = compare_with_control(paired[0], paired[1:], margin=1, higher_is_better=False, seed=5)

    assert tuple(row.result for row in compared(found, seed=5).rows[-2:]) == expected


def test_the_better_arm_is_found_and_the_same_one_does_not_differ() -> None:
    for metric, gain in (("dice", 3.0), ("hd95", -2.0)):
        control, better, same = standard().main_rows(metric)
        assert control.result is None and better.result and same.result
        assert better.result.difference == pytest.approx(gain) and better.verdict and better.verdict.non_inferior
        assert same.result.difference == 0 and same.result.p_value == 1


def test_the_table_shows_both_metrics_with_the_control_first() -> None:
    text = comparison_markdown(replace(standard(), notes=("a note",)))

    assert "**Dice (points, 0 to 100), mean of classes, 12 patients**" in text and "**HD95 (mm)" in text
    assert "+3.00 [+3.00, +3.00] | one run | < 0.001 | < 0.001 | yes (+3.00), trainings not counted |" in text
    assert "+0.00 [+0.00, +0.00] | one run | 1.000 | 1.000 | yes (+0.00), trainings not counted |" in text
    assert "same \\| again" in text and "- a note\n" in text and "nan" not in text
    means, _, by_class = text.partition("**By class")
    lines = [line for line in means.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {11} and lines[2].startswith("| host |")

    assert by_class.startswith(", minus the control** (Dice in points, HD95 (mm))\n\n| arm | class |")


def test_every_class_stands_in_the_table_with_both_metrics() -> None:
    comparison = compared(scores(runs=3, all_arms=True))

    lines = comparison_markdown(comparison).partition("**By class")[2].splitlines()

    rows = {(row.metric, row.structure, row.arm): row for row in comparison.rows}
    for arm in ("cells", "same | again"):
        for name in ("ring", "core"):
            dice, hd95 = (rows[metric, name, arm] for metric in ("dice", "hd95"))
            assert dice.result and hd95.result
            texts = [
                text
                for row in (dice, hd95)
                for text in (difference_text(row.result), interval_text(row.of_runs), p_text(row.result.p_value))
            ]
            escaped = arm.replace("|", "\\|")
            assert f"| {escaped} | {name} | {' | '.join(texts)} |" in lines


def test_one_class_alone_is_its_mean_and_has_no_table() -> None:
    assert class_table({"cells": list(standard().rows)}, ["ring"], "arm") == ""


def test_seeds_are_listed_and_their_scatter_is_in_an_interval_of_its_own() -> None:
    comparison = compared(scores(runs=3, all_arms=True))
    text = comparison_markdown(comparison)

    assert "- cells: 3 runs, Dice / HD95" in text and "their scatter is in the CI with runs only" in text
    control, cells, _ = comparison.main_rows("dice")
    runs = comparison.scores.run_means["dice"]
    assert control.of_runs is None and cells.of_runs == run_interval(cells.differences, runs[0], runs[1])
    assert f"| {interval_text(cells.of_runs)} |" in text
    written = [row for row in rows_of(statistics_csv(comparison)) if row["runs_ci_low"]]
    arms, classes = comparison.scores.arms[1:], (MEAN, "ring", "core")
    assert {(row["class"], row["arm"]) for row in written} == {(name, arm) for name in classes for arm in arms}
    assert {row["trainings_counted"] for row in written} == {"yes"}
    assert "runs, Dice" not in comparison_markdown(standard())


def test_what_differs_less_than_its_runs_scatter_is_not_called_non_inferior() -> None:
    found = scores(runs=2, all_arms=True)
    shifted = {metric: tuple(np.array(of_arm) for of_arm in means) for metric, means in found.run_means.items()}
    # The third arm is the control again; now its two runs lie 3 points, and 3 mm, on either side of it.
    means = {metric: (*found.run_means[metric][:2], tuple(of_arms[2] + [-3, 3])) for metric, of_arms in shifted.items()}

    row = compared(replace(found, run_means=means)).main_rows("dice")[2]

    assert row.result is not None and row.verdict is not None and row.result.interval.low == 0
    assert not row.verdict.non_inferior and row.verdict.trainings_counted
    assert f"no ({row.of_runs.low:+.2f}) |" in comparison_markdown(compared(replace(found, run_means=means)))


def test_the_interval_with_runs_of_a_class_is_that_of_its_own_means() -> None:
    comparison = compared(scores(runs=3, all_arms=True))
    row = next(r for r in comparison.rows if (r.metric, r.structure, r.arm) == ("dice", "core", "cells"))
    means = [of_arm[:, 1].tolist() for of_arm in comparison.scores.class_run_means["dice"]]

    assert row.of_runs == run_interval(row.differences, means[0], means[1])
    assert np.mean(means[1]) == pytest.approx(row.values.mean())


def test_few_patients_are_warned_about() -> None:
    assert "With less than 20 patients" in comparison_markdown(standard())


def test_values_have_one_line_for_each_arm_patient_class_and_metric() -> None:
    rows = rows_of(values_csv(standard()))

    assert len(rows) == 3 * 12 * 3 * 2
    cells = [row for row in rows if (row["arm"], row["class"], row["metric"]) == ("cells", "core", "dice")]
    assert [float(row["value"]) for row in cells] == pytest.approx(standard().scores.values["dice"][1, :, 1])
    assert {row["unit"] for row in rows if row["metric"] == "hd95"} == {"mm"}


def test_a_class_that_nobody_has_is_left_empty_and_not_tested() -> None:
    comparison = compared(scores(last_class_absent=True))
    values = [row for row in rows_of(values_csv(comparison)) if row["class"] == "core"]
    tests = [row for row in rows_of(statistics_csv(comparison)) if row["class"] == "core"]

    assert {(row["cases"], row["value"]) for row in values} == {("0", "")}
    assert {(row["patients"], row["mean"], row["p"]) for row in tests} == {("0", "", "")}
    assert "all masks are empty: 12" in comparison_markdown(comparison)


def test_the_statistics_say_what_the_table_says() -> None:
    comparison = standard()
    row = next(r for r in rows_of(statistics_csv(comparison)) if (r["class"], r["arm"]) == (MEAN, "cells"))
    main = comparison.main_rows("dice")[1]

    assert main.result is not None and row["non_inferior"] == "yes"
    assert float(row["p_holm"]) == pytest.approx(main.result.holm)
    assert float(row["median"]) == pytest.approx(np.median(main.values))
    assert float(row["ci_low"]) == pytest.approx(main.result.interval.low)


def test_patients_without_any_structure_are_counted() -> None:
    runs = [{name: [NONE if name == "patient0" else Agreement(80 + n, 5)] for name in PATIENTS} for n in (0, 1)]
    found = patient_scores({"a": runs[:1], "b": runs[1:]}, {name: [name] for name in PATIENTS}, ["ring"])

    text = comparison_markdown(compared(found))

    assert "11 patients**" in text and "Patients without any structure in any mask, not in the table: 1." in text


def test_masks_without_any_structure_are_refused() -> None:
    run = {name: [NONE] for name in PATIENTS}
    found = patient_scores({"a": [run], "b": [run]}, {name: [name] for name in PATIENTS}, ["ring"])

    with pytest.raises(ValueError, match="expected at least two with a structure"):
        compared(found)


@pytest.mark.parametrize(("metric", "loss", "sign"), [("dice", -1, 1), ("hd95", 1, -1)])
def test_the_picture_shows_each_patients_difference(metric: str, loss: float, sign: int) -> None:
    comparison = standard()
    record = differences_data(comparison, metric)

    assert (record.control, record.arms, record.loss, record.sign) == ("host", ("cells", "same | again"), loss, sign)
    assert record.patients[0] == pytest.approx(
        comparison.main_rows(metric)[1].values - comparison.main_rows(metric)[0].values
    )

    ax = new_figure(5, 3).subplots()
    draw_differences(record, ax)
    assert [len(dots.get_offsets()) for dots in ax.collections] == [12, 12]


def test_the_same_comparison_gives_the_same_picture() -> None:
    first, second = comparison_png(standard()), comparison_png(compared(scores()))

    assert first == second and first.startswith(b"\x89PNG")


def test_one_run_of_a_cross_validation_has_its_interval_by_fold() -> None:
    folds = np.repeat(np.arange(4), 3)
    found = compared(replace(scores(), folds=folds))
    control, cells, _ = found.main_rows("dice")

    assert control.of_runs is None and cells.of_runs == fold_interval(cells.differences, folds)
    assert cells.verdict is not None and cells.verdict.trainings_counted
    assert "with one run it is by fold alone" in comparison_markdown(found)


def test_patients_without_a_class_leave_their_folds() -> None:
    found = scores()
    values = {metric: table.copy() for metric, table in found.values.items()}
    for table in values.values():
        table[:, :2, 1] = np.nan
    found = replace(found, values=values, folds=np.repeat(np.arange(4), 3))

    core = next(row for row in compared(found).rows if (row.structure, row.arm) == ("core", "cells"))
    assert core.of_runs == fold_interval(core.differences, np.repeat(np.arange(4), 3)[2:])
