"""Commands of a user, run as processes of their own as on a machine with one core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def environment(base: Path, **variables: str) -> dict[str, str]:
    """nnU-Net's folders below ``base``; one core, because ``-device cpu`` takes a thread for each it counts."""
    one_core = base / "one_core"
    one_core.mkdir(exist_ok=True)
    (one_core / "sitecustomize.py").write_text("import os\nos.cpu_count = lambda: 1\n")
    paths = [str(one_core), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **{f"nnUNet_{name}": str(base / name) for name in ("raw", "preprocessed", "results")},
        "nnUNet_extTrainer": str(REPOSITORY / "trainers"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "2",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        **variables,
    }


def run_together(commands: Sequence[Sequence[str]], environment: dict[str, str], timeout: float) -> list[str]:
    """Start commands at the same time and return what each printed; every status must be 0."""
    started = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for words in commands
    ]
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(o[-3000:] for o in outputs)
    return outputs


def run(words: Sequence[str], environment: dict[str, str], folder: Path, timeout: float) -> str:
    """Run a command in ``folder``, end all that it left behind, and return what it printed; its status must be 0."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{' '.join(words)}\n{output[-6000:]}"
    return output
