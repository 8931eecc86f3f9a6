"""The papers' tables hold the right arms with the numbers of the statistics, and say what is not finished."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from nnunet_iac.reports.comparison import Comparison, build_comparison
from nnunet_iac.reports.paper_tables import Section, comparisons_csv, paper_markdown, searches_csv
from nnunet_iac.reports.result import SearchResult
from nnunet_iac.statistics.patients import Agreement, patient_scores

SEARCH = SearchResult("decided", "", 200, 1600.0, 0, 14, 14, None, None, "frozen", {})
PATIENTS = [f"patient{n}" for n in range(8)]
GAINS = {"identity": 0.0, "full-search": 2.0, "pruned-search": 1.75}


@cache
def compared(*arms: str) -> Comparison:
    """Each arm is better than the identity by what its gain says, in points and in mm, with two seeds."""
    dice = np.random.default_rng(0).uniform(70, 90, len(PATIENTS))

    def run(gain: float) -> dict[str, list[Agreement]]:
        return {name: [Agreement(d + gain, 10 - gain)] for name, d in zip(PATIENTS, dice, strict=True)}

    scores = patient_scores({arm: [run(GAINS[arm])] * 2 for arm in arms}, {p: [p] for p in PATIENTS}, ["heart"])
    return build_comparison(scores, margins={"dice": 0.5, "hd95": 1}, unit="mm")


def section(host: str = "plain", augmented: bool = True) -> Section:
    pruned = replace(SEARCH, epochs=25, seconds=100.0, decided_edges=10)
    return Section(
        host=host,
        augmented=augmented,
        arms=compared(*GAINS),
        pair=compared("full-search", "pruned-search"),
        absent={"dense": "3 of 10 done"},
        full={(0, 0): SEARCH, (0, 1): replace(SEARCH, seconds=1400.0)},
        pruned={(0, 0): pruned, (0, 1): pruned, (1, 0): replace(pruned, seconds=9.0)},
    )


def rows(text: str, heading: str) -> list[list[str]]:
    table = text[text.index(heading) :].split("\n\n")[1]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_every_arm_has_its_row_for_every_host_and_search() -> None:
    sections = [section(host, augmented) for host in ("plain", "residual-M") for augmented in (True, False)]

    found = rows(paper_markdown(sections, title="t", notes=[]), "## Dice and HD95")[2:]

    arms = [*GAINS, "dense"]
    assert [row[:3] for row in found] == [
        [host, on, arm] for host in ("plain", "residual-M") for on in ("yes", "no") for arm in arms
    ]


def test_an_arm_shows_its_difference_to_the_control() -> None:
    head, _, control, full, *_ = rows(paper_markdown([section()], title="t", notes=[]), "## Dice and HD95")

    assert head[3:7] == ["runs", "Dice", "difference [95 % CI]", "p (Holm)"] and control[5] == "control"
    assert (full[3], full[5], full[8]) == ("2", "+2.00 [+2.00, +2.00]", "-2.00 [-2.00, -2.00]")
    # All 8 patients on one side: 2 / 2^8, times two arms.
    assert full[6] == full[9] == "0.016"


def test_what_is_not_finished_says_how_far_it_is() -> None:
    assert rows(paper_markdown([section()], title="t", notes=[]), "## Dice and HD95")[-1][2:4] == [
        "dense",
        "3 of 10 done",
    ]


def test_pruned_is_compared_with_full_and_its_cost_is_that_of_the_same_runs() -> None:
    head, _, row = rows(paper_markdown([section()], title="t", notes=[]), "## The pruned search")

    shown = dict(zip(head, row, strict=True))
    assert shown["Dice difference [95 % CI]"] == "-0.25 [-0.25, -0.25]"
    assert row[4] == "yes, by 0.5 (-0.25)"
    assert (shown["epochs, full"], shown["epochs, pruned"]) == ("200", "25")
    assert (shown["edges decided, full"], shown["edges decided, pruned"]) == ("28 of 28", "20 of 28")
    # 3000 seconds against 200; the run that has no full search does not count.
    assert (shown["seconds, full"], shown["seconds, pruned"], row[-1]) == ("1500", "100", "15.0")


def test_searches_alone_have_their_cost_and_arms_alone_their_row() -> None:
    searched = replace(section(), arms=None, pair=None)
    trained = replace(section(), full={}, pruned={})

    text = paper_markdown([searched, trained], title="t", notes=[])

    assert [row[2:4] for row in rows(text, "## Dice and HD95")[2:3]] == [["dense", "3 of 10 done"]]
    costs = rows(text, "## The pruned search")[2:]
    assert [(row[2][:12], row[-1]) for row in costs] == [("not finished", "15.0"), ("-0.25 [-0.25", "")]


def test_with_nothing_finished_the_tables_are_empty() -> None:
    empty = Section("plain", True, None, None, {}, {}, {})

    text = paper_markdown([empty], title="t", notes=["a note"])

    assert len(rows(text, "## Dice and HD95")) == len(rows(text, "## The pruned search")) == 2
    assert "- a note" in text and comparisons_csv([empty]) == ""


@pytest.mark.parametrize(("values", "lines"), [(False, 2 * 2 * (3 + 2)), (True, 2 * 2 * (3 + 2) * 8)])
def test_the_csv_of_compare_is_there_for_each_table(values: bool, lines: int) -> None:
    found = list(csv.DictReader(io.StringIO(comparisons_csv([section(), section("residual-M")], values=values))))

    assert len(found) == 2 * lines  # metrics x (class and mean) x arms of both tables
    assert {(row["host"], row["control"]) for row in found} == {
        (host, control) for host in ("plain", "residual-M") for control in ("identity", "full-search")
    }
    assert {row["search_augmented"] for row in found} == {"yes"}


def test_every_search_has_its_line() -> None:
    found = list(csv.DictReader(io.StringIO(searches_csv([section()]))))

    assert [(r["arm"], r["fold"], r["seed"], r["full_over_pruned_seconds"]) for r in found] == [
        ("full-search", "0", "0", ""),
        ("full-search", "0", "1", ""),
        ("pruned-search", "0", "0", "16.0"),
        ("pruned-search", "0", "1", "14.0"),
        ("pruned-search", "1", "0", ""),
    ]
