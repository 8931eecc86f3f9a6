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
RANDOM = {"random": 1.5}
PAIRS = ["full-search minus random", "pruned-search minus random", "pruned-search minus full-search"]


@cache
def compared(*arms: str) -> Comparison:
    """Each arm is better than the identity by what its gain says, in points and in mm, with two seeds."""
    dice, gains = np.random.default_rng(0).uniform(70, 90, len(PATIENTS)), GAINS | RANDOM

    def run(gain: float) -> dict[str, list[Agreement]]:
        return {name: [Agreement(d + gain, 10 - gain)] for name, d in zip(PATIENTS, dice, strict=True)}

    scores = patient_scores({arm: [run(gains[arm])] * 2 for arm in arms}, {p: [p] for p in PATIENTS}, ["heart"])
    return build_comparison(scores, margins={"dice": 0.5, "hd95": 1}, unit="mm")


def section(host: str = "plain", augmented: bool = True) -> Section:
    pruned = replace(SEARCH, epochs=25, seconds=100.0, decided_edges=10)
    return Section(
        host=host,
        augmented=augmented,
        arms=compared(*GAINS),
        searched=compared("random", "full-search", "pruned-search"),
        pair=compared("full-search", "pruned-search"),
        absent={"dense": "3 of 10 done"},
        full={(0, 0): SEARCH, (0, 1): replace(SEARCH, seconds=1400.0)},
        pruned={(0, 0): pruned, (0, 1): pruned, (1, 0): replace(pruned, seconds=9.0)},
    )


def rows(text: str, heading: str, block: str = "### With augmentation") -> list[list[str]]:
    table = text[text.index(block, text.index(heading)) :].split("\n\n")[1]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_every_arm_has_its_row_for_every_host_with_and_without_augmentation() -> None:
    sections = [section(host, augmented) for augmented in (True, False) for host in ("plain", "residual-M")]

    text = paper_markdown(sections, title="t", notes=[])

    for heading, expected in (
        ("## Dice and HD95", [[host, arm] for host in ("plain", "residual-M") for arm in [*GAINS, "dense"]]),
        ("## Searched cells", [[host, pair] for host in ("plain", "residual-M") for pair in PAIRS]),
    ):
        for block in ("### With augmentation", "### Without augmentation"):
            assert [row[:2] for row in rows(text, heading, block)[2:]] == expected


def test_each_block_shows_its_own_numbers() -> None:
    without = replace(section(augmented=False), arms=compared("full-search", "identity", "pruned-search"))

    text = paper_markdown([section(), without], title="t", notes=[])

    with_it, without_it = (
        {row[1]: row[5] for row in rows(text, "## Dice and HD95", f"### {word} augmentation")[2:5]}
        for word in ("With", "Without")
    )
    assert (with_it["identity"], with_it["full-search"]) == ("control", "+2.00 [+2.00, +2.00]")
    assert (without_it["identity"], without_it["full-search"]) == ("-2.00 [-2.00, -2.00]", "control")
    assert [line for line in text.splitlines() if line.startswith("## Details")] == [
        f"## Details: plain, {augmented}, {what}"
        for augmented in ("augmented", "not augmented")
        for what in ("against the control", "searched against random", "pruned against full")
    ]


def test_an_arm_shows_its_difference_to_the_control() -> None:
    head, _, control, full, *_ = rows(paper_markdown([section()], title="t", notes=[]), "## Dice and HD95")

    assert head[2:8] == ["runs", "Dice, mean", "median", "difference [95 % CI]", "CI with runs", "p (Holm)"]
    assert control[5:8] == ["control", "", ""] and head[8:10] == ["HD95 (mm), mean", "median"]
    assert (full[2], full[5], full[10]) == ("2", "+2.00 [+2.00, +2.00]", "-2.00 [-2.00, -2.00]")
    assert (full[6], full[11]) == ("[+2.00, +2.00]", "[-2.00, -2.00]")
    # All 8 patients on one side: 2 / 2^8, times two arms.
    assert full[7] == full[12] == "0.016"
    values = compared(*GAINS).main_rows("dice")[0].values
    assert control[3:5] == [f"{values.mean():.2f}", f"{np.median(values):.2f}"] and control[3] != control[4]


def test_searched_cells_are_compared_with_random_ones() -> None:
    head, _, full, pruned, _ = rows(paper_markdown([section()], title="t", notes=[]), "## Searched cells")

    assert head[:4] == ["host", "pair", "Dice difference [95 % CI]", "median"]
    assert full[1:5] == ["full-search minus random", "+0.50 [+0.50, +0.50]", "+0.50", "[+0.50, +0.50]"]
    assert pruned[1:3] == ["pruned-search minus random", "+0.25 [+0.25, +0.25]"] and set(pruned[12:]) == {""}


def test_a_verdict_needs_both_intervals() -> None:
    """Runs that lie 3 points on either side of the control's, patients that do not differ."""
    found = compared("full-search", "pruned-search").scores
    means = {
        metric: (of_arms[0], tuple(m + s for m, s in zip(of_arms[1], (-3, 3), strict=True)))
        for metric, of_arms in found.run_means.items()
    }
    pair = build_comparison(replace(found, run_means=means), margins={"dice": 0.5, "hd95": 1}, unit="mm")

    *_, row = rows(paper_markdown([replace(section(), pair=pair)], title="t", notes=[]), "## Searched cells")

    assert row[2] == "-0.25 [-0.25, -0.25]" and row[4].startswith("[-") and row[6].startswith("no (-")


def test_what_is_not_finished_says_how_far_it_is() -> None:
    assert rows(paper_markdown([section()], title="t", notes=[]), "## Dice and HD95")[-1][1:3] == [
        "dense",
        "3 of 10 done",
    ]


def test_pruned_is_compared_with_full_and_its_cost_is_that_of_the_same_runs() -> None:
    head, *_, row = rows(paper_markdown([section()], title="t", notes=[]), "## Searched cells")

    shown = dict(zip(head, row, strict=True))
    assert shown["Dice difference [95 % CI]"] == "-0.25 [-0.25, -0.25]"
    assert (shown["pair"], row[6]) == (PAIRS[-1], "yes (-0.25), margin 0.5")
    assert (shown["epochs, full"], shown["epochs, pruned"]) == ("200", "25")
    assert (shown["edges decided, full"], shown["edges decided, pruned"]) == ("28 of 28", "20 of 28")
    # 3000 seconds against 200; the run that has no full search does not count.
    assert (shown["seconds, full"], shown["seconds, pruned"], row[-1]) == ("1500", "100", "15.0")


def test_searches_alone_have_their_cost_and_arms_alone_their_row() -> None:
    searched = replace(section(), arms=None, searched=None, pair=None)
    trained = replace(section(), full={}, pruned={})

    text = paper_markdown([searched, trained], title="t", notes=[])

    assert [row[1:3] for row in rows(text, "## Dice and HD95")[2:3]] == [["dense", "3 of 10 done"]]
    costs = [row for row in rows(text, "## Searched cells") if row[1] == PAIRS[-1]]
    assert [(row[2][:12], row[-1]) for row in costs] == [("not finished", "15.0"), ("-0.25 [-0.25", "")]
    assert len({len(row) for row in rows(text, "## Searched cells")}) == 1


def test_with_nothing_finished_the_tables_are_empty() -> None:
    empty = Section("plain", True, None, None, None, {}, {}, {})

    text = paper_markdown([empty], title="t", notes=["a note"])

    assert len(rows(text, "## Dice and HD95")) == len(rows(text, "## Searched cells")) == 2
    assert "- a note" in text and comparisons_csv([empty]) == ""


@pytest.mark.parametrize(("values", "lines"), [(False, 2 * 2 * (3 + 3 + 2)), (True, 2 * 2 * (3 + 3 + 2) * 8)])
def test_the_csv_of_compare_is_there_for_each_table(values: bool, lines: int) -> None:
    found = list(csv.DictReader(io.StringIO(comparisons_csv([section(), section("residual-M", False)], values=values))))

    assert len(found) == 2 * lines  # metrics x (class and mean) x arms of all tables
    assert {(row["host"], row["control"]) for row in found} == {
        (host, control) for host in ("plain", "residual-M") for control in ("identity", "random", "full-search")
    }
    assert {row["augmented"] for row in found} == {"yes", "no"}


def test_every_search_has_its_line() -> None:
    found = list(csv.DictReader(io.StringIO(searches_csv([section(augmented=False)]))))

    assert {row["augmented"] for row in found} == {"no"}
    assert [(r["arm"], r["fold"], r["seed"], r["full_over_pruned_seconds"]) for r in found] == [
        ("full-search", "0", "0", ""),
        ("full-search", "0", "1", ""),
        ("pruned-search", "0", "0", "16.0"),
        ("pruned-search", "0", "1", "14.0"),
        ("pruned-search", "1", "0", ""),
    ]
