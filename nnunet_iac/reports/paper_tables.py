"""The papers' tables: every arm against the control, searched cells against random ones, what the searches cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from nnunet_iac.markdown import table_text
from nnunet_iac.reports.comparison import Comparison, Row, comparison_markdown, statistics_csv, values_csv
from nnunet_iac.reports.paired_texts import difference_text, interval_text, p_text, verdict_text, yes_or_no
from nnunet_iac.reports.result import SearchResult
from nnunet_iac.statistics.patients import METRICS

Run = tuple[int, int]
"""Fold and seed."""


@dataclass(frozen=True, eq=False)
class Section:
    """One host, trained and searched with or without augmentation; its controls are its own.

    Attributes:
        host: name.
        augmented: whether all its trainings and searches saw augmented batches.
        arms: all arms against the control; None while the control or all others are unfinished.
        searched: the searches against random cells, which are the control here; None while random cells or both
            searches are unfinished.
        pair: the pruned search against the full one, which is the control here; None while one is unfinished.
        absent: arms that are not in the table of arms, with the reason.
        full: how the full searches ended, by run; searches can be there before their training is.
        pruned: the same of the pruned searches.
    """

    host: str
    augmented: bool
    arms: Comparison | None
    searched: Comparison | None
    pair: Comparison | None
    absent: Mapping[str, str]
    full: Mapping[Run, SearchResult]
    pruned: Mapping[Run, SearchResult]

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.host}, {'' if self.augmented else 'not '}augmented"

    @property
    def comparisons(self) -> tuple[tuple[str, Comparison], ...]:
        """What is there, each with the words that name it."""
        found = (
            ("against the control", self.arms),
            ("searched against random", self.searched),
            ("pruned against full", self.pair),
        )
        return tuple((what, comparison) for what, comparison in found if comparison is not None)

    @property
    def both(self) -> tuple[Run, ...]:
        """Runs of which both searches are there."""
        return tuple(sorted(self.full.keys() & self.pruned.keys()))

    @property
    def ratio(self) -> float | None:
        """Seconds of the full searches, all together, divided by those of the pruned ones; None without both."""
        pruned = sum(self.pruned[run].seconds for run in self.both)
        return sum(self.full[run].seconds for run in self.both) / pruned if pruned > 0 else None


def paper_markdown(sections: Sequence[Section], *, title: str, notes: Sequence[str]) -> str:
    """Return the two tables, each in a block with augmentation and one without; the notes; the details behind them.

    The details are the tables of ``nnunet-iac compare``.
    """
    parts = [
        f"# {title}",
        "## Dice and HD95 of every arm against the control without cells",
        *_blocks(sections, _arm_rows),
        "## Searched cells against random ones, and the pruned search against the full one",
        *_blocks(sections, _search_rows),
        "## How to read the tables",
        "\n".join(f"- {note}" for note in (*notes, *_READING)),
    ]
    for section in sections:
        for what, comparison in section.comparisons:
            parts += [f"## Details: {section.name}, {what}", comparison_markdown(comparison).rstrip()]
    return "\n\n".join(parts) + "\n"


def comparisons_csv(sections: Sequence[Section], *, values: bool = False) -> str:
    """Return the CSV of ``nnunet-iac compare`` for all tables: statistics, or the values of patients.

    Columns ``host``, ``augmented`` and ``control`` come first.
    """
    write: Callable[[Comparison], str] = values_csv if values else statistics_csv
    lines: list[str] = []
    for section in sections:
        for _, comparison in section.comparisons:
            head, *body = write(comparison).splitlines()
            key = f"{section.host},{yes_or_no(section.augmented)},{comparison.scores.arms[0]}"
            lines += [] if lines else [f"host,augmented,control,{head}"]
            lines += [f"{key},{line}" for line in body]
    return "".join(f"{line}\n" for line in lines)


def searches_csv(sections: Sequence[Section]) -> str:
    """Return one line for each search: epochs, seconds, edges decided; the pruned ones with their ratio."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = "host augmented arm fold seed status epochs seconds decided_edges edges full_over_pruned_seconds"
    writer.writerow(columns.split())
    for section in sections:
        for arm, results in (("full-search", section.full), ("pruned-search", section.pruned)):
            for run, found in sorted(results.items()):
                ratio = (
                    section.full[run].seconds / found.seconds if arm != "full-search" and run in section.full else ""
                )
                cost = (found.status, found.epochs, found.seconds, found.decided_edges, found.edges, ratio)
                writer.writerow((section.host, yes_or_no(section.augmented), arm, *run, *cost))
    return buffer.getvalue()


def _blocks(sections: Sequence[Section], rows: Callable[[Sequence[Section]], Iterator[Sequence[str]]]) -> Iterator[str]:
    for augmented in dict.fromkeys(section.augmented for section in sections):
        yield f"### {'With' if augmented else 'Without'} augmentation"
        yield _table(rows([section for section in sections if section.augmented == augmented]))


def _arm_rows(sections: Sequence[Section]) -> Iterator[Sequence[str]]:
    unit = next((comparison.unit for section in sections for _, comparison in section.comparisons), "mm")
    head = ["host", "arm", "runs"]
    for name in ("Dice", f"HD95 ({unit})"):
        head += [f"{name}, mean", "median", "difference [95 % CI]", "CI with runs", "p (Holm)"]
    yield head
    for section in sections:
        if section.arms is not None:
            rows = [section.arms.main_rows(metric) for metric in METRICS]
            for *of_metrics, of_arm in zip(*rows, section.arms.scores.run_means["dice"], strict=True):
                cells = [cell for row in of_metrics for cell in _against(row)]
                yield [section.host, of_metrics[0].arm, str(len(of_arm)), *cells]
        yield from ([section.host, arm, why, *[""] * (len(head) - 3)] for arm, why in section.absent.items())


def _against(row: Row) -> list[str]:
    middle = [f"{row.values.mean():.2f}", f"{np.median(row.values):.2f}"]
    if row.result is None:
        return [*middle, "control", "", ""]
    return [*middle, difference_text(row.result), interval_text(row.of_runs), p_text(row.result.holm)]


def _search_rows(sections: Sequence[Section]) -> Iterator[Sequence[str]]:
    head = ["host", "pair"]
    for name in ("Dice", "HD95"):
        head += [f"{name} difference [95 % CI]", "median", "CI with runs", "p", "non-inferior"]
    costs = [f"{what}, {arm}" for what in ("epochs", "edges decided", "seconds") for arm in ("full", "pruned")]
    yield [*head, *costs, "seconds full / pruned"]
    for section in sections:
        if section.searched is not None:
            yield from ([section.host, *cells, *[""] * 7] for cells in _pairs(section.searched))
        if section.pair is not None:
            yield from ([section.host, *cells, *_costs(section)] for cells in _pairs(section.pair))
        elif section.both:
            yield [section.host, "pruned-search minus full-search", "not finished", *[""] * 9, *_costs(section)]


def _pairs(comparison: Comparison) -> Iterator[list[str]]:
    """Give the cells of every arm minus the control."""
    control, *_ = comparison.scores.arms
    for of_metrics in zip(*(comparison.main_rows(metric)[1:] for metric in METRICS), strict=True):
        cells = [cell for row in of_metrics for cell in _difference(row)]
        yield [f"{of_metrics[0].arm} minus {control}", *cells]


def _difference(row: Row) -> list[str]:
    if row.result is None or row.verdict is None:
        return [""] * 5
    verdict = f"{verdict_text(row.verdict)}, margin {row.result.margin:g}"
    middle = (f"{np.median(row.differences):+.2f}", interval_text(row.of_runs))
    return [difference_text(row.result), *middle, p_text(row.result.p_value), verdict]


def _costs(section: Section) -> list[str]:
    if section.ratio is None:
        return [""] * 7
    searches = [[results[run] for run in section.both] for results in (section.full, section.pruned)]
    epochs = [f"{median(s.epochs for s in of_arm):g}" for of_arm in searches]
    edges = [f"{sum(s.decided_edges for s in of_arm)} of {sum(s.edges for s in of_arm)}" for of_arm in searches]
    seconds = [f"{sum(s.seconds for s in of_arm) / len(of_arm):.0f}" for of_arm in searches]
    return [*epochs, *edges, *seconds, f"{section.ratio:.1f}"]


def _table(rows: Iterator[Sequence[str]]) -> str:
    head, *body = rows
    return table_text(head, body)


_READING = (
    "Dice in points; means over patients of the mean over classes, a patient's value is the mean over its cases and "
    "the arm's runs (one run: all folds of one seed). Differences are paired by patient; how they are tested, and what "
    "the intervals leave out, is said under the tables of details. Median: over patients, of their values or of their "
    "differences. The CI with runs has the scatter of trainings in it; with one run of an arm and less than three "
    "folds there is none.",
    "Non-inferior: neither CI reaches the margin on the bad side; the end in brackets decides. The p-values of pairs "
    "are not corrected; searched minus random is the question of the search itself.",
    "With and without nnU-Net's augmentation means the whole run: host, search and training with cells. The two blocks "
    "share no training; each has a control and searches of its own, and nothing is tested across them. Without "
    "augmentation prediction mirrors nothing, as after nnU-Net's own training without it.",
    "Searches: median epochs, mean seconds of one search, edges decided of all edges, over the runs that have both. "
    "The ratio is that of the sums of seconds; it means something only if both ran on the same kind of machine with "
    "the same load.",
)
