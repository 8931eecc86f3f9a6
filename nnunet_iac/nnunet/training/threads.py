"""How many threads a training takes on a CPU: what ``OMP_NUM_THREADS`` says, which nnU-Net overrides.

``nnUNetv2_train -device cpu`` calls ``torch.set_num_threads`` with the number of cores, whatever the environment says.
Several trainings at once then fight for the cores: of four on four cores each took sixteen times as long (measured
here), and a benchmark "with one thread" had four.
"""

from __future__ import annotations

import os

import torch

VARIABLE = "OMP_NUM_THREADS"


def respect_thread_limit(device: torch.device) -> str | None:
    """Let torch take as many threads as ``OMP_NUM_THREADS`` allows, if it is set and the device is a CPU.

    Args:
        device: of the run; on a GPU nothing changes.

    Returns:
        What to tell the user: a variable that some cluster or shell profile sets may be news. None if nothing changed.

    Raises:
        ValueError: if the variable is no positive number (of a list, as OpenMP has it for nested regions, the first).
    """
    text = os.environ.get(VARIABLE, "")
    if device.type != "cpu" or not text.strip():
        return None
    first = text.split(",")[0].strip()
    if not (first.isascii() and first.isdigit() and int(first) > 0):
        raise ValueError(
            f"{VARIABLE}: expected a number of threads, such as 4, got {text!r}; unset it to use all cores"
        )
    before, wanted = torch.get_num_threads(), int(first)
    torch.set_num_threads(wanted)
    return (
        None if wanted == before else f"threads: {wanted}, as {VARIABLE} says, not {before}; unset it to use all cores"
    )
