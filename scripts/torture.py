"""Kill the real commands, fill their disks, take their folders away, and see what is lost.

    python scripts/torture.py --kills 200 --faults 60 --jobs 2 --json torture.json
    python scripts/torture.py --short

Each trial takes a command (search, training, implantation, pretraining, building a zoo, adding to one, retrieval,
``configure``) on a tiny data set, hurts it again and again (each time going on as a user would: ``--c``, or the same
command), then lets it finish, and checks

- that nothing was lost but the running epoch: what the command had said was done is on the disk, and never less than
  before;
- that every file is whole after every fault, and that no temporary file is left in the end;
- that the finished run equals an undisturbed one: weights, genotype, trace and predicted masks bit for bit, ids of
  entries (digests of their content), plans;
- that it ends, and all processes that it started with it: a run is taken to hang after five minutes.

Kills are SIGKILL or SIGTERM: at a drawn write of a file, within 50 ms after it began, or at any moment (half of these
with slowed writes). The other faults: calls that fail (disk full, quota, read-only, no permission, input/output error)
from a drawn write on, a limit of the file size, a small file system that really fills up (where it can be mounted), a
folder of results that is moved away, a clock that jumps, and the same command twice at once. Draws depend on ``--seed``
and the number of the trial.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from torture_commands import VICTIMS, Victim, prepare
from torture_faults import FAULTS, KILLS, Attempt, Fault, announced, can_mount, draw_fault, draw_kill, run
from torture_files import examine

from nnunet_iac.atomic import write_json
from nnunet_iac.markdown import table_text

TWICE = "twice at once"
ATTEMPTS = 6
LOADERS = 0.2
"""Share of the runs whose batches are drawn by a process of their own (it takes seconds to start)."""
WEIGHTS = {"search": 3, "training": 3, "implant": 2, "pretraining": 3, "zoo build": 3, "zoo add": 3, "retrieve": 1}
WEIGHTS["configure"] = 2
SHORT = ("search", "pretraining", "zoo build", "zoo add", "configure")
"""Commands that take seconds: the others validate with nnU-Net's processes at their end."""


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nobody hurts it.

    Attributes:
        digest: of what it made.
        events: writes of files.
        seconds: from the first write to the end.
    """

    digest: dict[str, str]
    events: int
    seconds: float


@dataclass
class Trial:
    """A command that is hurt until it is let go.

    Attributes:
        number: of the trial.
        victim: name of the command.
        kind: of fault.
        hits: faults that came before the end of a run.
        problems: ``lost``, ``half-written``, ``hung`` or ``left behind``, with what was seen.
        of_nnunet: files that nnU-Net wrote half, mended when the run went on.
        attempts: exit status of each run.
    """

    number: int
    victim: str
    kind: str
    hits: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    of_nnunet: int = 0
    attempts: list[int] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Run trials until enough faults have hit, print the table; the status is 1 if something was lost."""
    args = _parse(argv)
    folder = Path(args.folder or tempfile.mkdtemp(prefix="torture"))
    folder.mkdir(parents=True, exist_ok=True)
    victims = [VICTIMS[name] for name in args.only]
    stages = Stages(folder, victims)
    kinds = [kind for kind in (*FAULTS, TWICE) if kind in (args.kinds or (*FAULTS, TWICE))]
    if "full file system" in kinds and not can_mount(folder):
        print("full file system: not run, no file system can be mounted here", flush=True)
        kinds.remove("full file system")
    print(f"{len(victims)} commands prepared in {folder}", flush=True)
    trials = [*run_trials(stages, KILLS, args.kills, args), *run_trials(stages, kinds, args.faults, args)]
    print("\n" + markdown(trials))
    if args.json:
        about = {"seed": args.seed, "kills": args.kills, "faults": args.faults, "commands": args.only}
        write_json(Path(args.json), {**about, "trials": [asdict(trial) for trial in trials]})
    if not args.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return int(any(trial.problems for trial in trials))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="that hit (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=60, help="other faults that hit (default: %(default)s)")
    parser.add_argument(
        "--short", action="store_true", help="12 kills and 11 other faults of the quick commands, for CI"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(VICTIMS), metavar="COMMAND", help="default: all")
    parser.add_argument("--kinds", nargs="+", choices=[*FAULTS, TWICE], metavar="FAULT", help="default: all")
    parser.add_argument("--folder", metavar="DIR", help="work here and keep it (default: a temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write every trial to this file")
    args = parser.parse_args(argv)
    if args.short:
        args.kills, args.faults = 12, 11
    args.only = args.only or list(SHORT if args.short else VICTIMS)
    return args


class Stages:
    """Folders in which the commands can start, and what each makes of them undisturbed."""

    def __init__(self, folder: Path, victims: Sequence[Victim]) -> None:
        self.folder, self.victims = folder, victims
        if not (folder / "prepared.json").is_file():
            shutil.rmtree(folder / "prepared", ignore_errors=True)
            prepare(folder / "prepared")
            write_json(folder / "prepared.json", {})
        self.undisturbed = {victim.name: self._of(victim) for victim in victims}

    def copy(self, victim: Victim, name: str) -> Path:
        """Return a fresh folder in which a command can start."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / f"stage {victim.name}".replace(" ", "_"), place)
        return place

    def _of(self, victim: Victim) -> Undisturbed:
        record = self.folder / f"{victim.name}.json".replace(" ", "_")
        if record.is_file():
            return Undisturbed(**json.loads(record.read_text(encoding="utf-8")))
        stage = self.folder / f"stage {victim.name}".replace(" ", "_")
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(self.folder / "prepared", stage)
        for command in victim.needs:
            _succeed(run(Victim("before", command, command, lambda _: {}), stage, None, resume=False), command)
        digests, attempts = [], []
        for place in (self.copy(victim, "undisturbed"), self.copy(victim, "undisturbed_again")):
            attempts.append(run(victim, place, None, resume=False))
            _succeed(attempts[-1], victim.name)
            digests.append(victim.digest(place))
        if digests[0] != digests[1]:
            raise RuntimeError(f"{victim.name}: two undisturbed runs differ in {_different(*digests)}")
        found = Undisturbed(digests[0], attempts[0].events, attempts[0].seconds)
        write_json(record, asdict(found))
        print(f"{victim.name}: {found.events} writes in {found.seconds:.1f} s; twice the same", flush=True)
        return found


def _succeed(attempt: Attempt, name: str) -> None:
    if attempt.status:
        raise RuntimeError(f"{name}: expected status 0 undisturbed, got {attempt.status}\n{attempt.output[-3000:]}")


def _different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]


def run_trials(stages: Stages, kinds: Sequence[str], goal: int, args: argparse.Namespace) -> list[Trial]:
    """Run trials until ``goal`` faults have hit; kinds take turns, commands are drawn by their weight."""
    trials: list[Trial] = []
    turns = [victim for victim in stages.victims for _ in range(WEIGHTS[victim.name])]
    lock, numbers = threading.Lock(), iter(range(10_000))

    def work() -> None:
        while True:
            with lock:
                if sum(trial.hits for trial in trials) >= goal:
                    return
                number = next(numbers)
            seed = (args.seed, len(kinds), number)
            victim = turns[np.random.default_rng((*seed, 0)).integers(len(turns))]
            done = run_trial(stages, victim, kinds[number % len(kinds)], seed)
            with lock:
                trials.append(done)
                total = sum(trial.hits for trial in trials)
                words = "; ".join(f"{what}: {seen}" for what, seen in done.problems) or "nothing lost"
                print(f"{total}/{goal} {victim.name}, {done.kind} x{done.hits}: {words}", flush=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(work) for _ in range(args.jobs)]:
            future.result()
    return sorted(trials, key=lambda trial: trial.number)


def run_trial(stages: Stages, victim: Victim, kind: str, seed: tuple[int, int, int]) -> Trial:
    """Hurt a command one to five times, let it finish, and compare."""
    trial, draw = Trial(seed[2], victim.name, kind), np.random.default_rng(seed)
    base = stages.copy(victim, f"trial_{seed[1]}_{seed[2]}")
    known, reached, events = stages.undisturbed[victim.name], victim.progress(base), 0
    resume = finished = False
    for _ in range(1 if kind == TWICE else int(draw.integers(1, ATTEMPTS))):
        left = max(3, known.events - events), max(0.5, known.seconds * (1 - events / known.events))
        attempts = _hurt(victim, base, kind, draw, left, resume)
        reached = _check(trial, victim, base, attempts, reached)
        events += max(attempt.events for attempt in attempts)
        resume = True
        finished = any(attempt.finished for attempt in attempts)
        if finished or trial.problems:
            break
    _finish(trial, victim, base, known, finished)
    if not trial.problems:
        shutil.rmtree(base)
        for path in (base.with_name(f"{base.name}.events"), base.with_name(f"{base.name}.output")):
            path.unlink(missing_ok=True)
    return trial


def _hurt(
    victim: Victim, base: Path, kind: str, draw: np.random.Generator, left: tuple[int, float], resume: bool
) -> list[Attempt]:
    if kind == TWICE:
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(run, victim, base, Fault(kind), resume=resume, name=name) for name in ("a", "b")]
            return [future.result() for future in both]
    fault = (draw_kill if kind in KILLS else draw_fault)(kind, draw, *left)
    return [run(victim, base, fault, resume=resume, loaders=int(draw.random() < LOADERS))]


def _check(
    trial: Trial, victim: Victim, base: Path, attempts: Sequence[Attempt], before: dict[str, int]
) -> dict[str, int]:
    """Look at what a hurt run left, note what is wrong, and return how far it got."""
    found, reached = examine(base), victim.progress(base)
    trial.attempts += [attempt.status for attempt in attempts]
    trial.hits += 1 if trial.kind == TWICE else sum(attempt.hit for attempt in attempts)
    trial.of_nnunet += len(found.of_nnunet)
    trial.problems += [("half-written", name) for name in found.ours]
    for attempt in attempts:
        said = announced(victim, attempt.output)
        trial.problems += [("hung", attempt.output[-300:])] if attempt.hung else []
        trial.problems += [("left behind", f"{attempt.left_behind} processes")] if attempt.left_behind else []
        for phase in {*before, *said}:
            if reached.get(phase, 0) < max(before.get(phase, 0), said.get(phase, 0)):
                trial.problems.append(
                    ("lost", f"{phase}: was {before.get(phase)}, said {said.get(phase)}, is {reached.get(phase)}")
                )
    return reached


def _finish(trial: Trial, victim: Victim, base: Path, known: Undisturbed, finished: bool) -> None:
    """Let the run finish and compare it with the undisturbed one."""
    if not finished:
        attempt = run(victim, base, None, resume=True)
        trial.attempts.append(attempt.status)
        if attempt.status or attempt.hung:
            trial.problems.append(("hung" if attempt.hung else "lost", attempt.output[-600:]))
            return
    found = examine(base)
    trial.problems += [("half-written", name) for name in (*found.ours, *found.of_nnunet)]
    trial.problems += [("half-written", f"left: {name}") for name in found.leftovers]
    try:
        different = _different(victim.digest(base), known.digest)
    except Exception as error:  # whatever a missing or damaged file leads to
        trial.problems.append(("lost", f"{type(error).__name__}: {error}"))
    else:
        trial.problems += [("lost", f"differs from the undisturbed run in {different}")] if different else []


def markdown(trials: Sequence[Trial]) -> str:
    """Return the table, a row for each kind of fault.

    Example:
        >>> print(markdown([Trial(0, "search", "disk full", hits=3)]).splitlines()[-1])
        | all | 3 | 3 | 0 | 0 | 0 | 0 |
    """
    columns = ("lost", "half-written", "hung", "left behind")
    rows = []
    for kind in [*dict.fromkeys(trial.kind for trial in trials), "all"]:
        of_kind = [trial for trial in trials if kind in (trial.kind, "all")]
        seen = Counter(what for trial in of_kind for what in {what for what, _ in trial.problems})
        hits = sum(trial.hits for trial in of_kind)
        survived = hits - sum(1 for trial in of_kind if trial.problems)
        rows.append([kind, *map(str, (hits, survived, *(seen[c] for c in columns)))])
    return table_text(["fault", "times", "survived", *columns[:-1], "processes left behind"], rows)


if __name__ == "__main__":
    sys.exit(main())
