"""``training.deterministic``: torch's deterministic algorithms for the time of a run, and what that does not promise.

On a CPU a run of this package gives the same bits for the same seed, machine and number of threads without it. On CUDA
it needs algorithms that torch otherwise replaces by faster ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

WORKSPACE, VALUE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""What torch asks for, and one of the two values that it takes."""

NOT_PROMISED = (
    "Another machine, GPU, number of threads or version of torch gives other numbers.",
    "A stock nnUNetTrainer cannot be seeded: its loader processes draw from generators that nothing seeds. Trainers of "
    "this package draw every batch from a seed of its own, whatever the number of processes.",
    "Search and training with avg_pool_3x3 in 3D: torch has no deterministic gradient for it on CUDA and stops with "
    "avg_pool3d_backward_cuda; older versions of torch with max_pool_3x3 in 3D too. 2D is not affected.",
    "A search on CUDA that was killed and continued begins with fresh scales of half precision.",
)
"""Lines of the log, from the documentation of torch.use_deterministic_algorithms (2.15) and nnU-Net 2.8."""


@contextmanager
def deterministic(wanted: bool, device: torch.device, log: Callable[[str], None]) -> Iterator[None]:
    """Turn on torch's deterministic algorithms, and put all flags back afterwards.

    An operation that has none then raises a ``RuntimeError`` of torch that names it. cuDNN does not choose its
    algorithms by time, which nnU-Net otherwise lets it do.

    Args:
        wanted: whether to do anything.
        device: of the run.
        log: receives lines for people.

    Example:
        >>> with deterministic(True, torch.device("cpu"), lambda _: None):
        ...     torch.are_deterministic_algorithms_enabled()
        True
        >>> torch.are_deterministic_algorithms_enabled()
        False
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    flags, workspace = (cudnn.benchmark, cudnn.deterministic), os.environ.get(WORKSPACE)
    if device.type == "cuda" and workspace is None:
        os.environ[WORKSPACE] = VALUE
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.deterministic = False, True
    _tell(device, workspace, log)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark, cudnn.deterministic = flags
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


def _tell(device: torch.device, workspace: str | None, log: Callable[[str], None]) -> None:
    log("Deterministic: torch's deterministic algorithms are on until the end of the run. Not promised:")
    for line in NOT_PROMISED:
        log(f"Deterministic: {line}")
    if device.type == "cuda" and workspace is None:
        log(f"Deterministic: set {WORKSPACE}={VALUE} for this run; export it yourself if cuBLAS was in use before.")


class GatheredCrossEntropy(nn.Module):
    """Mean cross-entropy of label maps from operations whose gradients are deterministic on CUDA.

    ``-mean over pixels of log softmax(logits)[target]``, as ``nn.CrossEntropyLoss`` without weights, whose kernel for
    images on CUDA has no deterministic form: torch raises ``nll_loss2d_forward_out_cuda_template``.

    Args:
        ignore_index: pixels with this label do not count.

    Example:
        >>> logits, target = torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3)
        >>> round(float(GatheredCrossEntropy()(logits, target)), 4)
        0.6931
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits ``(B, classes, *spatial)`` and labels ``(B, *spatial)`` or ``(B, 1, *spatial)``."""
        labels = (target if target.ndim == logits.ndim else target.unsqueeze(1)).long()
        counted = labels != self.ignore_index
        picked = F.log_softmax(logits, dim=1).gather(1, labels.where(counted, 0))
        return -(picked * counted).sum() / counted.sum()


def with_deterministic_entropy(loss: Any) -> Any:
    """Replace plain cross-entropies inside a loss by :class:`GatheredCrossEntropy`, in place; return the loss.

    One with weights or smoothing stays as it is.
    """
    for module in list(loss.modules()):
        for name, child in list(module.named_children()):
            plain = isinstance(child, nn.CrossEntropyLoss) and child.reduction == "mean" and not child.label_smoothing
            if plain and child.weight is None:
                setattr(module, name, GatheredCrossEntropy(child.ignore_index))
    return loss
