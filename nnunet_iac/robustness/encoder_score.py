"""Score an encoder on a target's images: perturb each twice, compare the features of one level.

The features of all images are gathered first and paired then, so that the score does not depend on how the images were
put into batches, each image counts once, and a last batch of one image is no problem. Pooled features are small;
unpooled ones of a shallow level are not: they need ``8 * images * values of a map`` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from nnunet_iac.robustness.perturbation import Perturbation, perturb
from nnunet_iac.robustness.score import DEFAULT, Score, ScoringConfiguration, feature_vectors, score_features

Encoder = Callable[[torch.Tensor], Sequence[torch.Tensor]]
"""Maps images ``(B, C, *spatial)`` to feature maps ``(B, C_l, *spatial_l)``, the deepest last."""


def score_encoder(
    encoder: Encoder,
    batches: Iterable[torch.Tensor],
    perturbation: Perturbation,
    *,
    seed: int,
    configuration: ScoringConfiguration = DEFAULT,
) -> Score:
    """Return the loss of an encoder on images; LOWER IS MORE ROBUST.

    An ``nn.Module`` is run in evaluation mode and gets the modes of all its parts back; no gradient is recorded.

    Args:
        encoder: any callable; images are given to it on the device on which they are.
        batches: images ``(B, C, *spatial)`` in an order that stays the same; at least two images in all. Negatives
            are half the images apart, see :mod:`nnunet_iac.robustness.score`.
        perturbation: see :func:`nnunet_iac.robustness.perturbation.perturbation_for`.
        seed: of the perturbations; compare checkpoints with the same seed.
        configuration: level, pooling, distance and margin.

    Raises:
        ValueError: for less than two images, a level that the encoder does not have, features that are not finite,
            or unpooled features of images of different sizes.
        TypeError: if the encoder does not return a list of feature maps.

    Example:
        >>> images = torch.randn(5, 1, 8, 8)
        >>> identity = lambda x: [x]
        >>> from nnunet_iac.robustness.perturbation import perturbation_for
        >>> last = ScoringConfiguration(level=-1, pooled=False)
        >>> score_encoder(identity, images.split(2), perturbation_for("mr"), seed=0, configuration=last).images
        5
    """
    queries: list[torch.Tensor] = []
    positives: list[torch.Tensor] = []
    count = 0
    with torch.inference_mode(), _evaluation_mode(encoder):
        for images in batches:
            numbers = range(count, count + len(images))
            for view, found in enumerate((queries, positives)):
                changed = perturb(images, perturbation, seed=seed, indices=numbers, view=view)
                found.append(_features(encoder, changed, configuration))
            count += len(images)
    if count < 2:
        raise ValueError(f"batches: expected at least 2 images in all, got {count}; give more of the target's images")
    return score_features(_joined(queries), _joined(positives), configuration)


def _features(encoder: Encoder, images: torch.Tensor, configuration: ScoringConfiguration) -> torch.Tensor:
    levels = encoder(images)
    if not isinstance(levels, (list, tuple)):
        raise TypeError(
            f"encoder: expected a list of feature maps, got {type(levels).__name__}; an encoder of nnU-Net returns one "
            "with return_skips=True"
        )
    if not -len(levels) <= configuration.level < len(levels):
        raise ValueError(
            f"level: expected one of the encoder's {len(levels)} levels, {-len(levels)} to {len(levels) - 1}, got "
            f"{configuration.level}"
        )
    features = levels[configuration.level]
    if len(features) != len(images):
        raise ValueError(f"encoder: expected features of {len(images)} images, got those of {len(features)}")
    return feature_vectors(features, pooled=configuration.pooled).cpu()


def _joined(features: Sequence[torch.Tensor]) -> torch.Tensor:
    sizes = sorted({rows.shape[1] for rows in features})
    if len(sizes) > 1:
        raise ValueError(
            f"batches: expected images of one size, got features of {sizes} values; crop the images to one size, or "
            "pool the features"
        )
    return torch.cat(list(features))


@contextmanager
def _evaluation_mode(encoder: Encoder) -> Iterator[None]:
    if not isinstance(encoder, nn.Module):
        yield
        return
    modes = {part: part.training for part in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
