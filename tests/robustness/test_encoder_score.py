"""Scoring an encoder: levels, batches, modes, and that a better encoder scores lower."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_iac.robustness.encoder_score import score_encoder
from nnunet_iac.robustness.perturbation import perturb, perturbation_for
from nnunet_iac.robustness.score import ScoringConfiguration, score_features

MR = perturbation_for("mr")


class TinyEncoder(nn.Module):
    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
        torch.manual_seed(0)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(a, b, 3, stride=2, padding=1), norm(b), nn.ReLU()) for a, b in ((1, 4), (4, 8), (8, 16))
        )
        self.stages[1].eval()

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


def images(count: int = 7, *spatial: int) -> torch.Tensor:
    return torch.randn(count, 1, *(spatial or (16, 16)), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("sizes", [1, 2, 3, [1, 6], 7])
def test_the_score_does_not_depend_on_the_batches(pooled, sizes):
    configuration = ScoringConfiguration(pooled=pooled)
    whole = score_encoder(TinyEncoder(), [images()], MR, seed=3, configuration=configuration)

    split = score_encoder(TinyEncoder(), images().split(sizes), MR, seed=3, configuration=configuration)

    assert split.loss == pytest.approx(whole.loss, abs=1e-6)
    assert split.images == 7 and whole.loss > 0


@pytest.mark.parametrize("spatial", [(16, 16), (8, 16, 16)])
@pytest.mark.parametrize("level", [-1, -2, 0])
def test_the_score_is_that_of_the_levels_features_of_two_versions(spatial, level):
    encoder, x = TinyEncoder(len(spatial)).eval(), images(4, *spatial)
    configuration = ScoringConfiguration(level=level)
    with torch.no_grad():
        versions = [encoder(perturb(x, MR, seed=3, view=view))[level] for view in (0, 1)]

    found = score_encoder(encoder, [x], MR, seed=3, configuration=configuration)

    assert found == score_features(*versions, configuration)


def test_modes_of_all_parts_are_restored_even_after_an_error():
    encoder = TinyEncoder()
    before = [part.training for part in encoder.modules()]

    score_encoder(encoder, [images()], MR, seed=0)
    with pytest.raises(ValueError, match="level"):
        score_encoder(encoder, [images()], MR, seed=0, configuration=ScoringConfiguration(level=3))

    assert [part.training for part in encoder.modules()] == before
    assert True in before and False in before


def test_the_encoder_is_left_as_it_was():
    encoder = TinyEncoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    score_encoder(encoder, [images()], MR, seed=0)

    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_an_encoder_that_tells_images_apart_scores_lower_than_one_that_sees_the_noise():
    x = images()
    last = ScoringConfiguration(level=-1, pooled=False)

    robust = score_encoder(lambda v: [nn.functional.avg_pool2d(v, 2)], [x], MR, seed=0, configuration=last)
    dead = score_encoder(lambda v: [torch.zeros_like(v)], [x], MR, seed=0, configuration=last)

    assert robust.loss < dead.loss == 0.5
    assert (robust.undefined, dead.undefined) == (0, 7)


@pytest.mark.parametrize("level", [3, -4])
def test_a_level_that_is_not_there_is_refused_with_those_that_are(level):
    with pytest.raises(ValueError, match=rf"level: .* 3 levels, -3 to 2, got {level}"):
        score_encoder(TinyEncoder(), [images()], MR, seed=0, configuration=ScoringConfiguration(level=level))


@pytest.mark.parametrize("batches", [[], [images(1)]])
def test_less_than_two_images_are_refused(batches):
    with pytest.raises(ValueError, match=f"at least 2 images in all, got {len(batches)}"):
        score_encoder(TinyEncoder(), batches, MR, seed=0)


def test_a_network_that_returns_one_tensor_is_refused():
    with pytest.raises(TypeError, match="list of feature maps, got Tensor"):
        score_encoder(lambda x: x, [images()], MR, seed=0)


def test_nan_features_are_refused():
    with pytest.raises(ValueError, match=r"query: .* NaN"):
        score_encoder(lambda x: [x / 0 * 0, x], [images()], MR, seed=0)


def test_images_of_different_sizes_need_pooling():
    batches = [images(2), images(2, 24, 24)]

    assert score_encoder(TinyEncoder(), batches, MR, seed=0).images == 4
    with pytest.raises(ValueError, match="images of one size"):
        score_encoder(TinyEncoder(), batches, MR, seed=0, configuration=ScoringConfiguration(pooled=False))


def test_an_encoder_that_loses_images_is_refused():
    with pytest.raises(ValueError, match="features of 7 images, got those of 6"):
        score_encoder(lambda x: [x[1:]] * 2, [images()], MR, seed=0)
