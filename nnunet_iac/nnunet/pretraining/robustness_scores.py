"""Robustness of encoders on a data set's own images: every encoder sees the same perturbed patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nnunet_iac.nnunet.cases.encoders import ImageEncoder
from nnunet_iac.nnunet.cases.image_samples import PreparedData, sample_batches
from nnunet_iac.robustness.encoder_score import score_encoder
from nnunet_iac.robustness.perturbation import perturbation_for
from nnunet_iac.robustness.score import DEFAULT, Score, ScoringConfiguration

CT, MR, RGB = "ct", "mr", "rgb"

WATCHED = ScoringConfiguration(pooled=False, level=-1)
"""How a pretraining is watched: the deepest level, not pooled.

On the published curves this stops with patience 2 at 99.6 % of the best Dice, and the code's defaults (pooled, level
-2) at 96.8 %, less than a random epoch gives (``scripts/reproduce_tis.py``). It was chosen on those very curves. And
nnU-Net normalises by instance: pooled features behind that hardly differ between images, so that their loss is about
the margin for any encoder, pretrained or not.
"""


@dataclass(frozen=True)
class ScoringPlan:
    """On which images encoders are scored, and how.

    Attributes:
        images: patches of the target.
        batch_size: of the forward passes; it does not change the score.
        kind: of image, see :func:`~nnunet_iac.robustness.perturbation.perturbation_for`.
        seed: of patches and perturbations.
        configuration: level, pooling, distance and margin.

    Raises:
        ValueError: for less than two images, an empty batch, or an unknown kind.
    """

    images: int = 64
    batch_size: int = 16
    kind: str = MR
    seed: int = 0
    configuration: ScoringConfiguration = DEFAULT

    def __post_init__(self) -> None:
        perturbation_for(self.kind)
        if self.images < 2 or self.batch_size < 1:
            raise ValueError(
                f"images, batch size: expected at least 2 and 1, got {self.images} and {self.batch_size}; an image is "
                "compared with another one"
            )


@dataclass(frozen=True)
class TargetImages:
    """The patches that encoders are scored on, in batches ``(B, C, *patch)`` on the CPU.

    They are read anew whenever they are iterated, so that only one batch is in memory; that costs a fraction of what
    perturbing them costs. They are the same each time.

    Attributes:
        data: the target.
        plan: how many patches, of which seed.
    """

    data: PreparedData
    plan: ScoringPlan

    def __iter__(self) -> Iterator[torch.Tensor]:
        plan = self.plan
        for images, _ in sample_batches(self.data, count=plan.images, batch_size=plan.batch_size, seed=plan.seed):
            yield images


@dataclass(frozen=True)
class TargetWatch:
    """Scores an encoder in training, on the same images with the same perturbations each time.

    Attributes:
        data: the target.
        plan: how to score.
        device: of the encoder.
    """

    data: PreparedData
    plan: ScoringPlan
    device: torch.device

    @property
    def description(self) -> dict[str, Any]:
        """What losses must agree on to be compared, as JSON has it."""
        plan = asdict(self.plan)
        del plan["batch_size"]
        return {"fold": self.data.fold, "cases": len(self.data.cases), **plan}

    def __call__(self, encoder: nn.Module) -> float:
        """Return the loss; LOWER IS MORE ROBUST.

        Raises:
            ValueError: from :func:`~nnunet_iac.robustness.encoder_score.score_encoder`.
        """
        plan = self.plan
        score = score_encoder(
            _OnDevice(encoder, self.device),
            TargetImages(self.data, plan),
            perturbation_for(plan.kind),
            seed=plan.seed,
            configuration=plan.configuration,
        )
        return score.loss


def image_kind(data: PreparedData) -> str:
    """Return the kind of image that ``dataset.json`` names: ``ct`` for a channel called CT, ``rgb`` for R, G and B.

    Everything else is taken for ``mr``: gamma, contrast, bias field and noise fit any z-scored image (our choice).
    """
    names = [name.strip().casefold() for name in data.channel_names]
    if "ct" in names:
        return CT
    colours = names in (["r", "g", "b"], ["red", "green", "blue"], ["rgb_to_0_1"] * 3)
    return RGB if colours else MR


def score_encoders(encoders: Sequence[ImageEncoder], data: PreparedData, plan: ScoringPlan) -> dict[str, Score]:
    """Return the loss of each encoder by its name; LOWER IS MORE ROBUST.

    Args:
        encoders: with different names.
        data: the target.
        plan: how to score.

    Raises:
        ValueError: from :func:`~nnunet_iac.robustness.encoder_score.score_encoder`, naming the encoder.
    """
    perturbation, images = perturbation_for(plan.kind), TargetImages(data, plan)
    scores: dict[str, Score] = {}
    for encoder in encoders:
        try:
            scores[encoder.name] = score_encoder(
                encoder, images, perturbation, seed=plan.seed, configuration=plan.configuration
            )
        except ValueError as error:
            raise ValueError(f"{encoder.name}: {error}") from error
    return scores


class _OnDevice(nn.Module):
    """An encoder that fetches its images, so that they are perturbed where they were read."""

    def __init__(self, encoder: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.encoder, self.device = encoder, device

    def forward(self, images: torch.Tensor) -> Any:
        return self.encoder(images.to(self.device))
