"""Hard Dice of the foreground, summed over all patches, for classes and for regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnunet_iac.zoo.distillation import Activation

Labels = Sequence[int | tuple[int, ...]]
"""The label value of each foreground class, or the values of each region."""


def region_masks(label_maps: torch.Tensor, labels: Labels) -> torch.Tensor:
    """Return where each foreground class or region is, ``(B, K, *spatial)``.

    Args:
        label_maps: ``(B, *spatial)``, integers.
        labels: of the ``K`` classes or regions.

    Example:
        >>> region_masks(torch.tensor([[0, 1, 2]]), [(1, 2), 2]).int().tolist()
        [[[0, 1, 1], [0, 0, 1]]]
    """
    values = [label if isinstance(label, tuple) else (label,) for label in labels]
    return torch.stack([torch.isin(label_maps, label_maps.new_tensor(group)) for group in values], 1)


def predicted_masks(logits: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return what is predicted, ``(B, K, *spatial)``: the most likely class without the background, or likely regions.

    Example:
        >>> predicted_masks(torch.tensor([[[0.0, 2.0], [1.0, 1.0]]]), "softmax").tolist()
        [[[True, False]]]
    """
    if activation == "sigmoid":
        return logits > 0
    return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)[:, 1:].bool()


def overlap_counts(predicted: torch.Tensor, true: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return ``(3, K)``: true positive, false positive and false negative voxels of each class, as doubles.

    Args:
        predicted: ``(B, K, *spatial)``, booleans.
        true: likewise.
        counted: ``(B, 1, *spatial)``, False where nobody annotated.
    """
    parts = (predicted & true, predicted & ~true, ~predicted & true)
    return torch.stack([(part & counted).transpose(0, 1).flatten(1).sum(1).double() for part in parts])


def mean_dice(counts: torch.Tensor) -> float:
    """Return ``mean_k 2 TP_k / (2 TP_k + FP_k + FN_k)`` of summed counts ``(3, K)``.

    As nnU-Net's online Dice, it counts voxels over all patches together, so that small structures in single patches do
    not dominate. A class that is nowhere, in truth or prediction, is left out.

    Raises:
        ValueError: if that is true of all classes.

    Example:
        >>> mean_dice(torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
        0.75
    """
    true, false_positive, false_negative = counts
    sizes = 2 * true + false_positive + false_negative
    if not bool((sizes > 0).any()):
        raise ValueError(
            "patches: expected foreground in at least one of them, got none; measure more patches, or check the labels"
        )
    return float((2 * true / sizes)[sizes > 0].mean())
