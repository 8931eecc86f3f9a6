"""The environment of the commands that benchmarks start: this Python's programs, our trainers, few threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def bench_environment(threads: int, *trainers: Path) -> dict[str, str]:
    """Return the variables for ``nnUNetv2_*`` and ``nnunet-iac``.

    Args:
        threads: of each command.
        trainers: further folders of trainers, besides the package's own.
    """
    from nnunet_iac.cli.trainers import trainers_folder

    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    folders = os.pathsep.join(map(str, (trainers_folder(), *trainers)))
    fixed = {"PATH": programs, "nnUNet_extTrainer": folders, "OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **fixed, "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2"}
