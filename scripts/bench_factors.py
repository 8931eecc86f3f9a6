"""Where do cells pay? One factor changed at a time, cells against none in each, several seeds.

    python scripts/bench_factors.py -d 4 -c 2d --batch-size 12 --seeds 0 1 2 --json factors.json

Needs nnU-Net's three folders and a planned and preprocessed data set. Every condition is a ``bench_dice.py --host
scratch --arms identity random``: a host is trained, then host and cells together, against the same training without
cells. ``base`` is the budget of that script; each other condition changes one thing of it, see :data:`CONDITIONS`. The
cells are random ones, because searched cells were never seen to be better (README), and because a factor that matters
only with the right cells could not be used by anybody.

Conditions that change the cells alone have the trainings without cells of ``base``, which is then run as well: what is
wrong with those is in all of these rows.

What is finished is not repeated, so seeds can be added later. A study of ``bench_dice.py`` with the same ``--tag`` and
budget is the condition ``base``. With k conditions, one in twenty intervals misses its truth by chance: a single
condition that stands out is a reason to measure it again with other seeds, not a finding.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_dice
from bench_arguments import add_data_arguments, add_run_arguments, add_study_arguments
from dice_study import CONTROL, RANDOM, Study
from study_variants import copy_plans, few_cases, thinned

from nnunet_iac.atomic import write_json
from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.markdown import table_text
from nnunet_iac.nnunet.files.plans import plans_path, preprocessed_folder, read_plans
from nnunet_iac.nnunet.studies.study_plans import ensure_plans

if TYPE_CHECKING:
    from nnunet_iac.reports.comparison import Row


@dataclass(frozen=True)
class Condition:
    """One thing that differs from the base.

    Attributes:
        meaning: in words, for the table.
        budget: settings over those of the base.
        thin: the network has this fraction of its channels, 1 / ``thin``.
        patients: that the fold trains on; None for all.
    """

    meaning: str
    budget: tuple[str, ...] = ()
    thin: int = 1
    patients: int | None = None

    @property
    def is_of_cells(self) -> bool:
        """Whether a training without cells is that of the base."""
        return bool(self.budget) and all(word.startswith("cell.") for word in self.budget)


BASE = "base"
CONDITIONS: Mapping[str, Condition] = {
    BASE: Condition("as bench_dice.py has it"),
    "longer": Condition("three times the epochs with cells", ("training.epochs=60",)),
    "thin": Condition("a host of a quarter of the channels", thin=4),
    "few": Condition("12 patients to train on", patients=12),
    "encoder": Condition("second input of a cell: the encoder's, not the decoder's", ("cell.second_input=encoder",)),
    "wide": Condition("cells as wide as the skip, not half", ("cell.width=1",)),
    "gain": Condition("a random projection behind a gain of zero", ("cell.projection=gain",)),
    "normalised": Condition("the same, normalised before the gain", ("cell.projection=normalised",)),
    "from1": Condition("no cell at full resolution", ("cell.first_level=1",)),
    "from2": Condition("no cell at the two highest resolutions", ("cell.first_level=2",)),
    "plain": Condition("no augmentation", ("training.augment=false",)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the table; the status is that of the first condition that fails."""
    args = _parse(argv)
    if args.read:
        print(markdown([json.loads(Path(path).read_text(encoding="utf-8")) for path in args.read]))
        return 0
    folder = Path(args.json).resolve().with_suffix("")
    rows, found = [], {}
    for name in args.conditions:
        record = folder.with_name(f"{folder.name}_{name}.json")
        try:
            words = _words(args, name, CONDITIONS[name])
        except (ValueError, FileNotFoundError) as error:
            print(f"bench_factors.py: {error}", file=sys.stderr)
            return 2
        if status := bench_dice.main([*words, "--json", str(record)]):
            return status
        found[name] = Study(**json.loads(record.read_text(encoding="utf-8"))["study"])
        rows.append(_row(name, found[name], found[BASE if CONDITIONS[name].is_of_cells else name]))
        write_json(Path(args.json), {"rows": rows})
    print("\n" + markdown([{"rows": rows}]))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    add_study_arguments(parser, "factor", "of all conditions")
    parser.add_argument("--read", nargs="+", metavar="FILE", help="only print the table of these records")
    args = parser.parse_args(argv)
    if any(CONDITIONS[name].is_of_cells for name in args.conditions):
        args.conditions = [BASE, *(name for name in args.conditions if name != BASE)]
    return args


def _words(args: argparse.Namespace, name: str, condition: Condition) -> list[str]:
    """Return the words of ``bench_dice.py``; plans and data set of the condition are there afterwards."""
    folder, plans, fold = preprocessed_folder(args.dataset), "nnUNetPlans", args.fold
    if condition.patients is not None:
        variant = folder.with_name(few_cases(folder, fold, condition.patients))
        copy_plans(folder, variant, plans)
        folder, fold = variant, 0
    if condition.thin > 1:
        thin = thinned(read_plans(plans_path(folder, plans)), args.configuration, condition.thin)
        ensure_plans(folder, [thin], args.configuration)
        plans = thin["plans_name"]
    words = ["-d", str(dataset_number(folder.name)), "-c", args.configuration, "-f", str(fold), "-p", plans]
    arms = [RANDOM] if condition.is_of_cells else [CONTROL, RANDOM]
    words += ["--host", "scratch", "--arms", *arms, "--seeds", *map(str, args.seeds)]
    words += ["--tag", args.tag if name == BASE else f"{args.tag}_{name}"]
    words += ["--jobs", str(args.jobs), "--threads", str(args.threads), "--device", args.device]
    if budget := [*args.budget, *condition.budget]:
        words += ["--budget", *budget]
    if args.batch_size is not None:
        words += ["--batch-size", str(args.batch_size)]
    if args.patch_size:
        words += ["--patch-size", *map(str, args.patch_size)]
    return words


def _row(name: str, found: Study, control: Study) -> dict[str, Any]:
    """Compare a condition's cells with the trainings without cells of ``control``, measured together.

    Together, because what counts (a class that is empty everywhere does not) must be the same for both.
    """
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms

    arms = [bench_dice.predictions(control, CONTROL), bench_dice.predictions(found, RANDOM)]
    table = bench_dice.compare(measure_arms(arms), (CONTROL, RANDOM), bench_dice.MARGIN)
    row, runs = table.main_rows("dice")[1], table.scores.run_means["dice"]
    return {
        "dataset": found.dataset,
        "configuration": found.configuration,
        "condition": name,
        "patients": len(row.values),
        "identity": list(runs[0]),
        "random": list(runs[1]),
        **_difference(name, row),
        "hd95": {**_difference(name, table.main_rows("hd95")[1]), "unit": table.unit},
    }


def _difference(name: str, row: Row) -> dict[str, Any]:
    if row.result is None:
        raise ValueError(f"{name}: expected patients with a structure, got none; give another data set or fold")
    of_runs = None if row.of_runs is None else asdict(row.of_runs)
    return {"difference": row.result.difference, "interval": asdict(row.result)["interval"], "of_runs": of_runs}


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all records' conditions."""
    head = ["data set", "condition", "Dice, no cells, by seed", "random cells", "difference, 95 % CI", "CI with runs"]
    body = [
        [
            f"{row['dataset']} {row['configuration']}, {row['patients']} patients",
            f"{row['condition']}: {CONDITIONS[row['condition']].meaning}",
            *(_numbers(row["identity"]), _numbers(row["random"])),
            *_texts(row),
            *_hd95_texts(row.get("hd95")),
        ]
        for record in records
        for row in record["rows"]
    ]
    return table_text([*head, "HD95: difference, 95 % CI", "CI with runs"], body)


def _texts(found: Mapping[str, Any]) -> tuple[str, str]:
    of_runs = "" if found["of_runs"] is None else _interval(found["of_runs"])
    return f"{found['difference']:+.2f} {_interval(found['interval'])}", of_runs


def _hd95_texts(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """With the unit, because one table can have several; records of before 2026-11-23 have no HD95."""
    if found is None:
        return "", ""
    difference, of_runs = _texts(found)
    return f"{difference} {found['unit']}", of_runs


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _interval(found: Mapping[str, float]) -> str:
    return f"[{found['low']:+.2f}, {found['high']:+.2f}]"


if __name__ == "__main__":
    sys.exit(main())
