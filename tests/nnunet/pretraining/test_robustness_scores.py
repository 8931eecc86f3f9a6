"""Encoders are scored on the target's own patches; how these are put into batches does not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from prepared_datasets import write_json, write_prepared
from torch import nn

from nnunet_iac.nnunet.cases.encoders import ImageEncoder, load_encoder
from nnunet_iac.nnunet.cases.image_samples import PreparedData, prepared_data
from nnunet_iac.nnunet.pretraining.robustness_scores import (
    WATCHED,
    ScoringPlan,
    TargetImages,
    TargetWatch,
    image_kind,
    score_encoders,
)
from nnunet_iac.robustness.encoder_score import score_encoder
from nnunet_iac.robustness.perturbation import perturbation_for
from nnunet_iac.robustness.score import ScoringConfiguration

CPU = torch.device("cpu")


@pytest.fixture
def data(folders: Folders, stock_plans: dict[str, Any]) -> PreparedData:
    write_prepared(folders, stock_plans)
    return prepared_data("990", "2d", fold=0)


class TinyEncoder(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stages = nn.ModuleList([nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 8, 3, stride=2)])

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [first := self.stages[0](images), self.stages[1](first.relu())]


def tiny(name: str, seed: int) -> ImageEncoder:
    return ImageEncoder(name, TinyEncoder(seed).eval(), 2, 1, CPU)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_does_not_change_the_score(data: PreparedData, batch_size: int) -> None:
    encoders = [tiny("a", 0), load_encoder("random", 2)]
    expected = score_encoders(encoders, data, ScoringPlan(images=5, batch_size=5))

    found = score_encoders(encoders, data, ScoringPlan(images=5, batch_size=batch_size))

    assert list(found) == ["a", "random"]
    for name in found:
        assert found[name].loss == pytest.approx(expected[name].loss, abs=1e-6) and found[name].images == 5


def test_the_patches_are_the_same_each_time_they_are_read(data: PreparedData) -> None:
    images = TargetImages(data, ScoringPlan(images=5, batch_size=2))

    first, second = list(images), list(images)

    assert [len(batch) for batch in first] == [2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_watch_scores_as_the_score_does_and_leaves_the_encoder_as_it_was(data: PreparedData) -> None:
    plan, encoder = ScoringPlan(images=6, batch_size=4, configuration=WATCHED), TinyEncoder().train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}

    found = TargetWatch(data, plan, CPU)(encoder)

    images = TargetImages(data, plan)
    assert found == score_encoder(encoder, images, perturbation_for("mr"), seed=0, configuration=WATCHED).loss > 0
    assert all(part.training for part in encoder.modules())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_losses_are_comparable_where_the_descriptions_agree(data: PreparedData) -> None:
    def described(**changes: Any) -> dict[str, Any]:
        return TargetWatch(data, ScoringPlan(**{"images": 4, **changes}), CPU).description

    assert described() == described(batch_size=3) and described()["fold"] == 0
    other = ScoringConfiguration(margin=1.0)
    for change in ({"images": 5}, {"kind": "ct"}, {"seed": 1}, {"configuration": other}):
        assert described(**change) != described()


@pytest.mark.parametrize(
    ("channels", "kind"),
    [
        (("CT",), "ct"),
        (("PET", " ct "), "ct"),
        (("R", "G", "B"), "rgb"),
        (("red", "green", "blue"), "rgb"),
        (("rgb_to_0_1",) * 3, "rgb"),
        (("T1", "T2"), "mr"),
        (("B", "G", "R"), "mr"),
        (("SEM",), "mr"),
    ],
)
def test_the_kind_of_image_is_that_of_the_channels(data: PreparedData, channels: tuple[str, ...], kind: str) -> None:
    path = data.folder.parent / "dataset.json"
    for names in ({str(i): name for i, name in enumerate(channels)}, list(channels)):
        write_json(path, {**data.content, "channel_names": names})
        assert image_kind(prepared_data("990", "2d")) == kind


def test_an_error_names_the_encoder(data: PreparedData) -> None:
    deepest = ScoringPlan(images=4, configuration=ScoringConfiguration(level=4))

    with pytest.raises(ValueError, match=r"^a: level: expected one of the encoder's 2 levels"):
        score_encoders([tiny("a", 0)], data, deepest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 1}, "expected at least 2 and 1, got 1 and 16"),
        ({"batch_size": 0}, "expected at least 2 and 1, got 64 and 0"),
        ({"kind": "us"}, "kind: expected one of ct, mr, rgb, got 'us'"),
    ],
)
def test_a_plan_without_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoringPlan(**changes)


def test_constant_images_give_the_margin(folders: Folders, stock_plans: dict[str, Any], tmp_path: Path) -> None:
    write_prepared(folders, stock_plans, values=dict.fromkeys([f"case{n}" for n in range(6)], 2.0))
    data = prepared_data("990", "2d")
    flat = ImageEncoder("flat", _Mean(), 2, None, CPU)
    level = ScoringConfiguration(level=-1)

    score = score_encoders([flat], data, ScoringPlan(images=4, configuration=level))["flat"]

    assert score.loss == pytest.approx(0.5, abs=1e-3), "one feature has one direction: all images look alike"


class _Mean(nn.Module):
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images.mean((2, 3), keepdim=True)]
