"""Bad and hostile input through the real commands: is each refused in words, and is nothing touched?

    python scripts/bad_input.py                       # everything, minutes on one core
    python scripts/bad_input.py --short               # some of each kind and no trainings, for CI
    python scripts/bad_input.py --only checkpoints --json found.json

Each input is put into a fresh copy of a healthy little world and given to ``nnunet-iac`` (``cli.main.main`` in this
process) or, for the kind "trainers", to ``nnUNetv2_train`` in a process of its own. It counts as handled if

- the status is 2, or 1 from a trainer or ``zoo verify``;
- standard error says why, naming the file or the argument, without a traceback;
- no file of the world changed and none came into being, but for a lock and nnU-Net's log in the fold's folder;
- a command inside a pickle was not run;
- it took less than SECONDS and less than MIB of memory more than the cases before, and left no temporary file.

The status is 1 if an input is not handled. ``--seed`` moves the places of cuts and flipped bits.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from bad_input_cases import Case
from bad_input_catalogue import catalogue
from bad_input_world import build_world

from nnunet_iac.cli.main import main as command
from nnunet_iac.markdown import table_text

SECONDS, MIB = 60.0, 700
SHORT = 6
"""Inputs of each kind in the short version."""

LOCKS = ("zoo.lock", "run.lock", "probe.lock", "plans.lock", "zoo.sqlite-shm", "zoo.sqlite-wal")
"""What may be left behind: it holds nothing."""

LARGEST = 256 << 20
"""Bytes that a file may have, so that a bomb cannot fill the disk of whoever runs this."""


def main(argv: Sequence[str] | None = None) -> int:
    """Try all inputs and print the table."""
    args = _parse(argv)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with tempfile.TemporaryDirectory() as folder:
        found = [(case, try_case(case, world)) for case, world in _worlds(_chosen(args), Path(folder))]
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(_record(args.seed, found), indent=4) + "\n", encoding="utf-8")
    return 1 if any(problems for _, problems in found) else 0


def try_case(case: Case, base: Path) -> list[str]:
    """Run one case in a world of its own; return what was not handled, in words."""
    case.prepare(base)
    temporary = base / "tmp"
    temporary.mkdir(exist_ok=True)
    before, memory, begin = _contents(base), _peak(), time.monotonic()
    status, said = _trained(case, base) if case.kind == "trainers" else _commanded(case, base)
    seconds, grown = time.monotonic() - begin, _peak() - memory
    problems = _problems_of_words(case, status, said)
    after = _contents(base)
    problems += [f"changed or removed {name}" for name, digest in before.items() if after.get(name) != digest]
    problems += [f"wrote {name}" for name in sorted(set(after) - set(before)) if not _may_be_new(case, Path(name))]
    problems += ["the command in the pickle ran"] if (base / "trap").exists() else []
    problems += [f"{seconds:.0f} s"] if seconds > SECONDS and case.kind != "trainers" else []
    problems += [f"{grown} MiB more memory"] if grown > MIB else []
    return problems


def table(found: Sequence[tuple[Case, list[str]]]) -> str:
    """Return the table, then a line for each input that was not handled."""
    kinds = dict.fromkeys(case.kind for case, _ in found)
    rows = []
    for kind in [*kinds, "all"]:
        results = [problems for case, problems in found if kind in (case.kind, "all")]
        bad = sum(bool(problems) for problems in results)
        rows.append([kind, str(len(results)), str(len(results) - bad), str(bad)])
    lines = [table_text(["kind", "inputs", "handled", "not handled"], rows)]
    return "\n".join([*lines, "", *(f"{c.kind}: {c.name}: {'; '.join(p)}" for c, p in found if p)])


def _worlds(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Case, Path]]:
    healthy, base = folder / "healthy", folder / "world"
    build_world(healthy)
    os.chdir(folder)
    before = {name: os.environ.get(name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "TMPDIR")}
    try:
        for case in cases:
            shutil.rmtree(base, ignore_errors=True)
            shutil.copytree(healthy, base)
            os.environ.update({f"nnUNet_{name}": str(base / name) for name in ("raw", "preprocessed", "results")})
            os.environ["TMPDIR"] = tempfile.tempdir = str(base / "tmp")
            yield case, base
    finally:
        tempfile.tempdir = None
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _commanded(case: Case, base: Path) -> tuple[int, str]:
    said, shown = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            status = command(case.words(base))
        except SystemExit as left:
            status = int(left.code or 0) if isinstance(left.code, (int, type(None))) else 2
    # What zoo verify finds is its answer, and stands on standard output.
    return status, said.getvalue() + (shown.getvalue() if case.line.startswith("zoo verify") else "")


def _trained(case: Case, base: Path) -> tuple[int, str]:
    trainers = Path(__file__).parents[1] / "trainers"
    variables = {"nnUNet_extTrainer": str(trainers), "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        case.words(base), env={**os.environ, **variables}, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stderr


def _problems_of_words(case: Case, status: int, said: str) -> list[str]:
    problems = [] if status in (1, 2) else [f"status {status}"]
    if "Traceback" in said:
        problems.append("a traceback")
    if not said.strip():
        problems.append("no reason given")
    elif not any(name in said for name in case.names):
        problems.append(f"names none of {case.names}: {said.strip().splitlines()[-1][:200]!r}")
    return problems + ([f"said {said.strip()[-300:]!r}"] if problems and said.strip() else [])


def _contents(base: Path) -> dict[str, str]:
    """Digest of every file and link below the world, locks left out."""
    found = {}
    for path in sorted(base.rglob("*")):
        name = path.relative_to(base).as_posix()
        if path.name in LOCKS or path.is_dir():
            continue
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def _may_be_new(case: Case, path: Path) -> bool:
    # A trainer keeps a log in its own folder.
    return path.name in LOCKS or (case.kind == "trainers" and path.name.startswith("training_log_"))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _chosen(args: argparse.Namespace) -> list[Case]:
    cases = [case for case in catalogue(random.Random(args.seed)) if args.only in (None, case.kind)]
    if not cases:
        raise SystemExit(f"--only: expected a kind of the table, got {args.only!r}")
    if not args.short:
        return cases
    kinds = dict.fromkeys(case.kind for case in cases if case.kind != "trainers")
    return [case for kind in kinds for case in _spread([c for c in cases if c.kind == kind])]


def _spread(cases: list[Case]) -> list[Case]:
    step = max(1, len(cases) // SHORT)
    return cases[::step][:SHORT]


def _record(seed: int, found: Sequence[tuple[Case, list[str]]]) -> dict[str, object]:
    inputs = [{"kind": case.kind, "name": case.name, "problems": problems} for case, problems in found]
    return {"schema": 1, "seed": seed, "inputs": inputs}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try bad and hostile input on the real commands.")
    parser.add_argument("--seed", type=int, default=0, help="of cuts and flipped bits (default: %(default)s)")
    parser.add_argument("--only", metavar="KIND", help="one kind of the table")
    parser.add_argument("--short", action="store_true", help=f"{SHORT} inputs of each kind, no trainings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to this file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
