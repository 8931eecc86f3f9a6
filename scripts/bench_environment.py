"""The environment of the commands that benchmarks start: this Python's programs, our trainers, few threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_iac.nnunet.studies.training_processes import Training


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


def left_to_others(trainings: Sequence[Training], failed: Sequence[Training]) -> bool:
    """Return whether another process is at some of the trainings, and say what to do: nothing can be compared yet."""
    others = [training.name for training in trainings if not training.is_done and training not in failed]
    if others:
        print(
            f"not finished by the other process: {'; '.join(others)}. Repeat the command once it is.", file=sys.stderr
        )
    return bool(others)
