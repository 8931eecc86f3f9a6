"""The papers' matrix for one data set: hosts x arms x augmented or not x folds x seeds.

    python scripts/reproduce_paper.py -d 27 -c 2d                            # everything, one training at a time
    python scripts/reproduce_paper.py -d 27 -c 2d --gpus 0 1 2 3             # one training at a time on each GPU
    python scripts/reproduce_paper.py -d 27 -c 2d --print > jobs.txt         # one command a line, for a cluster

Needs nnU-Net's three folders and the raw data set (or the preprocessed one). Every training is a job of its own,
``nnUNetv2_train`` with one of this package's trainers on plans that this script derives. A finished job is skipped, an
interrupted one goes on where it was, a failed one is reported and does not stop the others (exit status 1). Plans and
preprocessed data that are there are used as they are. The tables are written after each call, of the arms that are
finished: tables.md, statistics.csv, patients.csv, searches.csv. ``--seeds 0`` gives those of the first seed early.

``--print`` plans, preprocesses and derives the plans (messages go to standard error), then prints the commands that
are not finished. Called again without it when the cluster is done, the script finds nothing to train and writes the
tables. Lines can be given to SLURM as an array: ``sed -n "${SLURM_ARRAY_TASK_ID}p" jobs.txt | bash``; a line that was
stopped goes on when it is run again.

nnU-Net 2.8.1 has no planner for a residual host of size S; the hosts are plain and residual M, L and XL. Augmented or
not is the whole training, host, search and cells (settings ``training.augment`` and ``search.augment``), of every arm:
the tables have a block for each, with controls of its own.

``identity`` is the control: the trainer of the cells without any. Without it among ``--arms`` no arm has a difference
to show, only searched cells to random ones. On a CPU ``stock`` equals it bit for bit and can be left out; on a GPU
their difference shows what the machine's own randomness gives.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.nnunet.studies.paper_matrix import ARMS, CONTROL, FULL, HOSTS, PRUNED, RANDOM, Job, Matrix
from nnunet_iac.nnunet.studies.training_processes import Training, run_trainings

if TYPE_CHECKING:
    from nnunet_iac.nnunet.cases.measured_arms import MeasuredArms
    from nnunet_iac.reports.comparison import Comparison
    from nnunet_iac.reports.paper_tables import Section
    from nnunet_iac.reports.result import SearchResult
    from nnunet_iac.statistics.patients import Metric

Group = tuple[str, str, bool]
"""Host, arm and augmentation; its trainings differ in fold and seed."""

Run = tuple[int, int]
"""Fold and seed."""

_NO_CONTROL = f"no control: add {CONTROL}"


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run (or print) what is not done, write the tables; the status is 1 if a job failed."""
    from nnunet_iac.nnunet.files.hosts import results_folder
    from nnunet_iac.nnunet.files.plans import preprocessed_folder

    args = _parse(argv)
    if CONTROL not in args.arms:
        print(f"reproduce_paper.py: --arms: {_NO_CONTROL} to see their differences", file=sys.stderr)
    preprocessed = preprocessed_folder(args.dataset)
    matrix = Matrix(
        dataset=preprocessed.name,
        configuration=args.configuration,
        hosts=args.hosts,
        arms=args.arms,
        augmentation=[word == "on" for word in args.augmentation],
        folds=args.folds,
        seeds=args.seeds,
        tag=args.tag,
        budget=args.budget,
    )
    results = results_folder()
    with redirect_stdout(sys.stderr):
        _prepare(matrix, preprocessed, args.np)
    trainings = {
        job: Training(job.name, matrix.command(job, args.device), matrix.folder(job, results)) for job in matrix.jobs()
    }
    todo = [training for training in trainings.values() if not training.is_done]
    if args.print:
        for training in todo:
            print(f"nnUNet_extTrainer={shlex.quote(_trainers())} {shlex.join(training.command)}")
        return 0
    print(f"{len(trainings)} trainings, {len(todo)} to do", flush=True)
    failed = run_trainings(todo, gpus=args.gpus or [None] * args.jobs, environment=_environment())
    _write_tables(matrix, trainings, args)
    return 1 if failed else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", required=True, help="data set id or name")
    parser.add_argument("-c", dest="configuration", default="2d", help="default: %(default)s")
    parser.add_argument("--hosts", nargs="+", choices=list(HOSTS), default=["plain", "residual-M"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--augmentation", nargs="+", choices=("on", "off"), default=["on", "off"], help="of all phases")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help="settings for all jobs")
    parser.add_argument("--tag", default="paper", help="part of the plans' names; one for each budget")
    parser.add_argument("--device", choices=("cuda", "cpu", "mps"), default="cuda")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: %(default)s)")
    parser.add_argument(
        "--gpus", nargs="+", help="CUDA devices, one training at a time on each (name one twice for two)"
    )
    parser.add_argument("-np", type=int, default=4, help="processes that preprocess and measure (default: %(default)s)")
    parser.add_argument("--margin", type=float, default=0.5, help="points of Dice that would not matter")
    parser.add_argument("--margin-hd95", type=float, default=1.0, help="mm of HD95 that would not matter")
    parser.add_argument("-o", "--output", type=Path, help="folder of the tables (default: paper_DATASET_CONFIGURATION)")
    parser.add_argument("--print", action="store_true", help="print the commands of what is not done, run none")
    args = parser.parse_args(argv)
    if args.jobs < 1 or args.np < 1:
        parser.error(f"--jobs, -np: expected at least 1, got {args.jobs} and {args.np}")
    if not (args.margin > 0 and args.margin_hd95 > 0):
        parser.error(f"--margin, --margin-hd95: expected positive numbers, got {args.margin} and {args.margin_hd95}")
    return args


def _trainers() -> str:
    from nnunet_iac.cli.trainers import trainers_folder

    return str(trainers_folder())


def _environment() -> dict[str, str]:
    """Return the environment of nnU-Net's commands; those of this Python are found even if it was not activated."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), str(Path(sys.executable).parent)]))
    return {**os.environ, "PATH": path, "nnUNet_extTrainer": _trainers()}


def _prepare(matrix: Matrix, folder: Path, processes: int) -> None:
    """Plan, preprocess, split and derive the plans of all jobs, each only if it is not there."""
    from nnunet_iac.nnunet.files.plans import configuration_of, plans_path, read_plans

    number, configuration = str(dataset_number(matrix.dataset)), matrix.configuration
    for host in (HOSTS[name] for name in matrix.hosts):
        path = plans_path(folder, host.plans)
        if not path.is_file():
            plan = ("-d", number, "-c", configuration, "-pl", host.planner, "--no_pp", "-npfp", str(processes))
            _nnunet("nnUNetv2_plan_and_preprocess", *plan)
        planned = configuration_of(read_plans(path), configuration)
        if not _is_preprocessed(folder, planned["data_identifier"]):
            data = ("-d", number, "-plans_name", host.plans, "-c", configuration, "-np", str(processes))
            _nnunet("nnUNetv2_preprocess", *data)
    _ensure_splits(folder)
    for job in matrix.jobs():
        matrix.ensure_plans(job, folder)


def _nnunet(*words: str) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr, env=_environment())


def _cases(folder: Path) -> list[str]:
    from nnunet_iac.nnunet.files.label_set import read_label_set

    references = folder / "gt_segmentations"
    if not references.is_dir():
        return []
    ending = read_label_set(folder / "dataset.json").ending
    return sorted(path.name.removesuffix(ending) for path in references.glob(f"*{ending}"))


def _is_preprocessed(folder: Path, data: str) -> bool:
    cases = _cases(folder)
    return bool(cases) and all((folder / data / f"{case}.pkl").is_file() for case in cases)


def _ensure_splits(folder: Path) -> None:
    """Write nnU-Net's split (by patient where they are known) now: jobs that start together would all write it."""
    from nnunet_iac.atomic import write_json
    from nnunet_iac.nnunet.files.splits import FOLDS, SPLITS, find_grouping, patient_folds

    cases = _cases(folder)
    grouping = find_grouping(cases, folder)
    if not (folder / SPLITS).is_file() and len(grouping.patients(cases)) >= FOLDS:
        write_json(folder / SPLITS, patient_folds(cases, grouping))


@dataclass(frozen=True)
class Outcome:
    """What the trainings gave.

    Attributes:
        groups: trainings of each host, arm and augmentation, by fold and seed.
        measured: the arms of the finished groups; None if there is none.
        margins: losses that would not matter.
    """

    groups: Mapping[Group, Mapping[Run, Training]]
    measured: MeasuredArms | None
    margins: Mapping[Metric, float]

    def done(self, group: Group) -> int:
        """Return how many trainings of the group are done."""
        return sum(training.is_done for training in self.groups[group].values())

    def is_finished(self, group: Group) -> bool:
        """Whether there is such a group, all of it done."""
        return group in self.groups and self.done(group) == len(self.groups[group])


def _write_tables(matrix: Matrix, trainings: Mapping[Job, Training], args: argparse.Namespace) -> None:
    from nnunet_iac.atomic import write_text
    from nnunet_iac.reports.paper_tables import comparisons_csv, paper_markdown, searches_csv

    groups: dict[Group, dict[Run, Training]] = {}
    for job, training in trainings.items():
        groups.setdefault((job.host, job.arm, job.augmented), {})[job.fold, job.seed] = training
    outcome = Outcome(groups, None, {"dice": args.margin, "hd95": args.margin_hd95})
    outcome = replace(outcome, measured=_measure(outcome, args.np))
    sections = [
        _section(host, on, outcome) for on in dict.fromkeys(matrix.augmentation) for host in dict.fromkeys(matrix.hosts)
    ]
    title = f"{matrix.dataset}, {matrix.configuration}"
    markdown = paper_markdown(sections, title=title, notes=_notes(matrix, outcome))
    folder = args.output or Path(f"paper_{matrix.dataset}_{matrix.configuration}")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "statistics.csv", comparisons_csv(sections))
    write_text(folder / "patients.csv", comparisons_csv(sections, values=True))
    write_text(folder / "searches.csv", searches_csv(sections))
    write_text(folder / "tables.md", markdown)
    print(f"{markdown.partition('## Details')[0].rstrip()}\n\nwritten to {folder}")


def _measure(outcome: Outcome, processes: int) -> MeasuredArms | None:
    """Measure what is finished; a run is all folds of one seed."""
    from nnunet_iac.nnunet.cases.measured_arms import measure_arms
    from nnunet_iac.nnunet.cases.predictions import Arm, Predictions

    arms = []
    for group in filter(outcome.is_finished, outcome.groups):
        of_seed: dict[int, list[Path]] = {}
        for (_, seed), training in outcome.groups[group].items():
            of_seed.setdefault(seed, []).append(training.folder)
        runs = [
            Predictions(folders[0].parent, f"seed {seed}", tuple(folder / "validation" for folder in folders))
            for seed, folders in of_seed.items()
        ]
        arms.append(Arm(str(group), tuple(runs)))
    return measure_arms(arms, processes=processes) if arms else None


def _section(host: str, augmented: bool, outcome: Outcome) -> Section:
    from nnunet_iac.reports.paper_tables import Section

    groups: dict[str, Group] = {arm: (host, arm, augmented) for arm in ARMS}
    known = {arm: group for arm, group in groups.items() if group in outcome.groups}
    finished = {arm: group for arm, group in known.items() if outcome.is_finished(group)}
    arms = _comparison(finished, outcome) if CONTROL in finished else None
    return Section(
        host=host,
        augmented=augmented,
        arms=arms,
        searched=_searched((RANDOM, FULL, PRUNED), finished, outcome),
        pair=_searched((FULL, PRUNED), finished, outcome),
        absent={
            arm: f"{outcome.done(group)} of {len(outcome.groups[group])} done{_why(arm, known, finished)}"
            for arm, group in known.items()
            if arm not in finished or arms is None
        },
        full=_searches(groups[FULL], outcome),
        pruned=_searches(groups[PRUNED], outcome),
    )


def _why(arm: str, known: Mapping[str, Group], finished: Mapping[str, Group]) -> str:
    """Return why an arm that is finished is not in the table."""
    if arm not in finished:
        return ""
    if CONTROL not in known:
        return f"; {_NO_CONTROL}"
    return "; no other arm is finished" if CONTROL in finished else f"; the control, {CONTROL}, is not finished"


def _searched(arms: Sequence[str], finished: Mapping[str, Group], outcome: Outcome) -> Comparison | None:
    """Compare those arms that are finished with the first of them; None if that is not."""
    there = {arm: finished[arm] for arm in arms if arm in finished}
    return _comparison(there, outcome) if arms[0] in there else None


def _comparison(groups: Mapping[str, Group], outcome: Outcome) -> Comparison | None:
    from nnunet_iac.reports.comparison import build_comparison

    if len(groups) < 2 or outcome.measured is None:
        return None
    scores = outcome.measured.scores({str(group): arm for arm, group in groups.items()})
    return build_comparison(scores, margins=outcome.margins, unit=outcome.measured.unit)


def _searches(group: Group, outcome: Outcome) -> dict[Run, SearchResult]:
    from nnunet_iac.reports.result import FILE_NAME, read_result

    files = {run: training.folder / FILE_NAME for run, training in outcome.groups.get(group, {}).items()}
    return {run: read_result(path) for run, path in files.items() if path.is_file()}


def _notes(matrix: Matrix, outcome: Outcome) -> list[str]:
    folds, seeds = (", ".join(map(str, dict.fromkeys(numbers))) for numbers in (matrix.folds, matrix.seeds))
    budget = " ".join(matrix.budget) or "the defaults of `nnunet-iac configure --list`"
    lines = [f"Folds {folds}; seeds {seeds}; settings: {budget}."]
    if outcome.measured is not None:
        cohort, sources = outcome.measured.cohort, outcome.measured.sources
        cases = sum(map(len, cohort.patients.values()))
        known = f"patients as {cohort.source} says" if cohort.source else "every case counts as a patient"
        lines.append(f"{cases} cases of {len(cohort.patients)} patients ({known}); references: {sources.references}.")
    return lines


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the trainings are ended too
    try:
        sys.exit(main())
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"reproduce_paper.py: {error}", file=sys.stderr)
        sys.exit(2)
