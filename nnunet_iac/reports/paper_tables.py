"""The papers' tables: every arm against the control, the pruned search against the full one, what the searches cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nnunet_iac.reports.comparison import Comparison, comparison_markdown, statistics_csv, values_csv
from nnunet_iac.reports.paired_texts import difference_text, p_text, verdict_text
from nnunet_iac.reports.result import SearchResult
from nnunet_iac.statistics.paired import PairedResult
from nnunet_iac.statistics.patients import Metric

Run = tuple[int, int]
"""Fold and seed."""


@dataclass(frozen=True, eq=False)
class Section:
    """One host, trained and searched with or without augmentation; its controls are its own.

    Attributes:
        host: name.
        augmented: whether all its trainings and searches saw augmented batches.
        arms: all arms against the control; None while the control or all others are unfinished.
        pair: the pruned search against the full one, which is the control here; None while one is unfinished.
        absent: arms that are not in the table of arms, with the reason.
        full: how the full searches ended, by run; searches can be there before their training is.
        pruned: the same of the pruned searches.
    """

    host: str
    augmented: bool
    arms: Comparison | None
    pair: Comparison | None
    absent: Mapping[str, str]
    full: Mapping[Run, SearchResult]
    pruned: Mapping[Run, SearchResult]

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.host}, {'' if self.augmented else 'not '}augmented"

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
        "## The pruned search against the full search",
        *_blocks(sections, _search_rows),
        "## How to read the tables",
        "\n".join(f"- {note}" for note in (*notes, *_READING)),
    ]
    for section in sections:
        for what, comparison in (("against the control", section.arms), ("pruned against full", section.pair)):
            if comparison is not None:
                parts += [f"## Details: {section.name}, {what}", comparison_markdown(comparison).rstrip()]
    return "\n\n".join(parts) + "\n"


def comparisons_csv(sections: Sequence[Section], *, values: bool = False) -> str:
    """Return the CSV of ``nnunet-iac compare`` for all tables: statistics, or the values of patients.

    Columns ``host``, ``augmented`` and ``control`` come first.
    """
    write: Callable[[Comparison], str] = values_csv if values else statistics_csv
    lines: list[str] = []
    for section in sections:
        for comparison in (section.arms, section.pair):
            if comparison is not None:
                head, *body = write(comparison).splitlines()
                key = f"{section.host},{_yes(section.augmented)},{comparison.scores.arms[0]}"
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
                writer.writerow((section.host, _yes(section.augmented), arm, *run, *cost))
    return buffer.getvalue()


def _blocks(sections: Sequence[Section], rows: Callable[[Sequence[Section]], Iterator[Sequence[str]]]) -> Iterator[str]:
    for augmented in dict.fromkeys(section.augmented for section in sections):
        yield f"### {'With' if augmented else 'Without'} augmentation"
        yield _table(rows([section for section in sections if section.augmented == augmented]))


def _arm_rows(sections: Sequence[Section]) -> Iterator[Sequence[str]]:
    unit = next((c.unit for s in sections for c in (s.arms, s.pair) if c is not None), "mm")
    difference = "difference [95 % CI]"
    head = ["host", "arm", "runs", "Dice", difference, "p (Holm)"]
    yield [*head, f"HD95 ({unit})", difference, "p (Holm)"]
    for section in sections:
        if section.arms is not None:
            rows = [section.arms.main_rows(metric) for metric in _METRICS]
            for dice, hd95, of_arm in zip(*rows, section.arms.scores.run_means["dice"], strict=True):
                cells = [cell for row in (dice, hd95) for cell in (f"{row.values.mean():.2f}", *_against(row.result))]
                yield [section.host, dice.arm, str(len(of_arm)), *cells]
        yield from ([section.host, arm, why, *[""] * 6] for arm, why in section.absent.items())


def _search_rows(sections: Sequence[Section]) -> Iterator[Sequence[str]]:
    head = ["host", "Dice difference [95 % CI]", "p", "non-inferior", "HD95 difference [95 % CI]"]
    costs = [f"{what}, {arm}" for what in ("epochs", "edges decided", "seconds") for arm in ("full", "pruned")]
    yield [*head, "p", "non-inferior", *costs, "seconds full / pruned"]
    for section in sections:
        if section.pair is None and not section.both:
            continue
        cells = [cell for metric in _METRICS for cell in _pruned_against_full(section.pair, metric)]
        yield [section.host, *cells, *_costs(section)]


def _pruned_against_full(pair: Comparison | None, metric: Metric) -> list[str]:
    result = None if pair is None else pair.main_rows(metric)[1].result
    if result is None:
        return ["not finished", "", ""]
    return [difference_text(result), p_text(result.p_value), f"{verdict_text(result)}, margin {result.margin:g}"]


def _costs(section: Section) -> list[str]:
    if section.ratio is None:
        return [""] * 7
    searches = [[results[run] for run in section.both] for results in (section.full, section.pruned)]
    epochs = [f"{median(s.epochs for s in of_arm):g}" for of_arm in searches]
    edges = [f"{sum(s.decided_edges for s in of_arm)} of {sum(s.edges for s in of_arm)}" for of_arm in searches]
    seconds = [f"{sum(s.seconds for s in of_arm) / len(of_arm):.0f}" for of_arm in searches]
    return [*epochs, *edges, *seconds, f"{section.ratio:.1f}"]


def _against(result: PairedResult | None) -> list[str]:
    return ["control", ""] if result is None else [difference_text(result), p_text(result.holm)]


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _table(rows: Iterator[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))


_METRICS: tuple[Metric, Metric] = ("dice", "hd95")

_READING = (
    "Dice in points; means over patients of the mean over classes, a patient's value is the mean over its cases and "
    "the arm's runs (one run: all folds of one seed). Differences are paired by patient; how they are tested, and what "
    "the intervals leave out, is said under the tables of details.",
    "With and without nnU-Net's augmentation means the whole run: host, search and training with cells. The two blocks "
    "share no training; each has a control and searches of its own, and nothing is tested across them. Without "
    "augmentation prediction mirrors nothing, as after nnU-Net's own training without it.",
    "Searches: median epochs, mean seconds of one search, edges decided of all edges, over the runs that have both. "
    "The ratio is that of the sums of seconds; it means something only if both ran on the same kind of machine with "
    "the same load.",
)
