"""Make samples of all file formats, with this commit or with an old one.

    python tests/samples/make.py                                  # what this commit writes
    python tests/samples/make.py --commit 4d9dcf8 --only training # what an old one wrote

A sample is named ``<format>/<schema>-<commit>.<ext>``; 0 stands for a format without a number. ``golden.json`` holds
what the writing commit knew about it. Samples that are there are never made again: they are what users have on disks.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from writers import WRITERS

SAMPLES = Path(__file__).parent
REPOSITORY = SAMPLES.parents[1]
GOLDEN = SAMPLES / "golden.json"
TORCH = (".pt", ".pth")
"""Files of torch hold many small tensors with gaps between them; they are kept as ``.xz``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the samples, say which."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="HEAD", help="whose code writes (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=WRITERS, default=list(WRITERS))
    args = parser.parse_args(argv)
    commit = _git("rev-parse", "--short=7", args.commit)
    with tempfile.TemporaryDirectory() as temporary, _checkout(commit) as source:
        out = Path(temporary)
        words = [sys.executable, str(SAMPLES / "writers.py"), str(out), *args.only]
        subprocess.run(words, check=True, env=_environment(source, out), cwd=out, stdout=sys.stderr)
        for line in _keep(out, commit):
            print(line)
    return 0


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "source"
        _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _environment(source: Path, out: Path) -> dict[str, str]:
    """The old package before the installed one, and today's helpers of the tests."""
    tests = [REPOSITORY / "tests" / name for name in ("", "nnunet", "zoo", "metaspace", "reference")]
    paths = os.pathsep.join(map(str, (source, *tests)))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HOME": str(out)}


def _keep(out: Path, commit: str) -> Iterator[str]:
    found = json.loads((out / "golden.json").read_text(encoding="utf-8"))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}
    for name, known in found.items():
        (file,) = out.glob(f"{name}.*")
        packed = ".xz" if file.suffix in TORCH else ""
        kept = SAMPLES / name / f"{known['schema']}-{commit}{file.suffix}{packed}"
        if kept.exists():
            yield f"{kept.relative_to(SAMPLES)}: is there"
            continue
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(
            lzma.compress(file.read_bytes(), preset=9 | lzma.PRESET_EXTREME) if packed else file.read_bytes()
        )
        golden[kept.relative_to(SAMPLES).as_posix()] = known
        yield f"{kept.relative_to(SAMPLES)}: {kept.stat().st_size} bytes"
    GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n", encoding="utf-8")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
