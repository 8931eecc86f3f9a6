"""Do the robust search options pay? Each against the plain search, from the same trained hosts, several seeds.

    python scripts/bench_options.py -d 4 -c 2d --batch-size 12 --seeds 0 1 2 --json options.json

Needs nnU-Net's three folders and a planned and preprocessed data set. Every option is a ``bench_dice.py --host trained
--arms "pruned search"`` that changes one thing of the search, see :data:`OPTIONS`; the hosts, of 300 steps by default,
are trained once under ``--tag``. ``random`` are cells without a search: if the plain search does not beat them, an
option can only be better by finding what it did not. What is finished is not repeated, so seeds and options can be
added later.

Differences are paired by patient, and p-values corrected (Holm) over all options at once. Skips are ``skip_connect``
among the cells' edges, by seed: a search that collapses ends in them, which is what these options are against.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_dice
from bench_arguments import add_data_arguments, add_run_arguments, add_study_arguments
from dice_study import PRUNED, RANDOM, Study

from nnunet_iac.atomic import write_json
from nnunet_iac.markdown import table_text
from nnunet_iac.reports.class_table import METRIC_NAMES
from nnunet_iac.reports.paired_texts import difference_text, interval_text, p_text

if TYPE_CHECKING:
    from nnunet_iac.reports.comparison import Row

PLAIN = "plain"
OPTIONS: Mapping[str, tuple[str, ...]] = {
    PLAIN: (),
    "SDARTS-RS": ("search.perturbation=random",),
    "SDARTS-ADV": ("search.perturbation=adversarial",),
    "beta-decay": ("search.beta_decay=50",),
    "auxiliary skip": ("search.auxiliary_skip=true",),
    "at most two skips": ("search.max_skips=2",),
    "inherit": ("search.inherit=true",),
    "draw": ("search.select=draw",),
}
"""What each one sets. 0.3 at the end is SmoothDARTS' size; 50 for beta-decay is ours, twice what Beta-DARTS ends at."""

BUDGET = ("search.epochs=40", "search.warmup_epochs=5", "search.iterations=2", "training.epochs=10")
"""Over that of ``bench_dice.py``: 40 epochs of two steps, then 200 steps of host and cells."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is that of the first study that fails."""
    args = _parse(argv)
    if args.read:
        print(markdown(json.loads(Path(args.read).read_text(encoding="utf-8"))))
        return 0
    folder = Path(args.json).resolve().with_suffix("")
    found: dict[str, Any] = {}
    # The plain one first: it trains the hosts.
    for name in sorted(args.options, key=lambda name: name != PLAIN):
        record = folder.with_name(f"{folder.name}_{slug(name)}.json")
        if status := bench_dice.main([*_words(args, name), "--json", str(record)]):
            return status
        found[name] = json.loads(record.read_text(encoding="utf-8"))
    result = {"dataset": args.dataset, "configuration": args.configuration, "rows": rows(found)}
    write_json(Path(args.json), result)
    print("\n" + markdown(result))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--options", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    add_study_arguments(parser, "option", f"over {' '.join(BUDGET)}")
    parser.add_argument("--hosts", metavar="TAG", help="take the trained hosts of an earlier study")
    parser.add_argument("--read", metavar="FILE", help="only print the table of this record")
    args = parser.parse_args(argv)
    if not args.read and PLAIN not in args.options:
        parser.error(f"--options: expected {PLAIN} among them, which all are compared with, got {args.options}")
    return args


def slug(name: str) -> str:
    """Return a name that a file and plans can have.

    Example:
        >>> slug("at most two skips")
        'at-most-two-skips'
    """
    return name.lower().replace(" ", "-")


def _words(args: argparse.Namespace, name: str) -> list[str]:
    """Return the words of ``bench_dice.py``."""
    words = ["-d", args.dataset, "-c", args.configuration, "-f", str(args.fold), "--host", "trained"]
    words += ["--arms", PRUNED, *([RANDOM] if name == PLAIN else []), "--seeds", *map(str, args.seeds)]
    words += ["--budget", *BUDGET, *args.budget, *OPTIONS[name]]
    words += ["--tag", args.tag if name == PLAIN else f"{args.tag}_{slug(name)}"]
    if (hosts := args.hosts or (args.tag if name != PLAIN else None)) is not None:
        words += ["--hosts", hosts]
    words += ["--jobs", str(args.jobs), "--threads", str(args.threads), "--device", args.device]
    if args.batch_size is not None:
        words += ["--batch-size", str(args.batch_size)]
    if args.patch_size:
        words += ["--patch-size", *map(str, args.patch_size)]
    return words


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for random cells, the plain search and each option, all against the plain search.

    All are measured together, because what counts (a class that is empty everywhere does not) must be the same for all.

    Args:
        found: records of ``bench_dice.py`` by option, of the same patients and seeds.
    """
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms

    studies = {name: Study(**record["study"]) for name, record in found.items()}
    arms = [replace(bench_dice.predictions(study, PRUNED), name=name) for name, study in studies.items()]
    arms.insert(1, bench_dice.predictions(studies[PLAIN], RANDOM))
    table = bench_dice.compare(measure_arms(arms), [arm.name for arm in arms], bench_dice.MARGIN)
    dice, hd95 = ({row.arm: row for row in table.main_rows(metric)} for metric in METRIC_NAMES)
    return [
        {
            "option": arm.name,
            "dice_by_seed": list(by_seed),
            "searches": found[arm.name]["search"][PRUNED] if arm.name in found else [],
            **_against_plain(dice[arm.name]),
            "hd95": {**_against_plain(hd95[arm.name]), "unit": table.unit},
        }
        for arm, by_seed in zip(arms, table.scores.run_means["dice"], strict=True)
    ]


def _against_plain(row: Row) -> dict[str, Any]:
    if row.result is None:
        return {}
    texts = [difference_text(row.result), interval_text(row.of_runs), p_text(row.result.holm)]
    of_runs = None if row.of_runs is None else asdict(row.of_runs)
    return {**asdict(row.result), "of_runs": of_runs, "texts": texts}


def markdown(record: Mapping[str, Any]) -> str:
    """Return the table."""
    head = ["search", "Dice by seed", "mean", *(against := ["minus plain, 95 % CI", "CI with runs", "p (Holm)"])]
    units = {row["hd95"]["unit"] for row in record["rows"] if "hd95" in row}
    head += [
        f"HD95 ({', '.join(units) or 'not measured'}) {against[0]}",
        *against[1:],
        "edges decided",
        "skips",
        "seconds",
    ]
    body = []
    for row in record["rows"]:
        dice, searches = row["dice_by_seed"], row["searches"]
        cells = [row["option"], ", ".join(f"{one:.2f}" for one in dice), f"{sum(dice) / len(dice):.2f}"]
        cells += [text for one in (row, row.get("hd95", {})) for text in one.get("texts", ["", "", ""])]
        cells += [", ".join(f"{one['decided_edges']}/{one['edges']}" for one in searches)]
        cells += [", ".join(str(one["operations"].get("skip_connect", 0)) for one in searches)]
        cells += [", ".join(f"{one['seconds']:.0f}" for one in searches)]
        body.append(cells)
    return table_text(head, body)


if __name__ == "__main__":
    sys.exit(main())
